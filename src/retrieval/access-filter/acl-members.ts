import { growArray } from '../../kernel/grow-array.ts'

/** Which documents stand at which door, by number: what somebody sees is gone through by the doors that are open. */
export interface AclMembers {
  /** -1: at none. */
  move(docNo: number, door: number): void
  aclOf(docNo: number): number
  /** The documents at a door: the first, and the one after each; -1 after the last. */
  first(door: number): number
  next(docNo: number): number
}

const none = -1
const roomFor = (at: number): number => 2 * at + 64

export function createAclMembers(): AclMembers {
  // By document, moved up by one: 0 is none, so that room that was never written to stands nowhere.
  let doors = new Int32Array(0)
  let after = new Int32Array(0)
  let before = new Int32Array(0)
  // By door.
  let firsts = new Int32Array(0)

  const doorOf = (docNo: number): number => (doors[docNo] ?? 0) + none
  const first = (door: number): number => (firsts[door] ?? 0) + none
  const next = (docNo: number): number => (after[docNo] ?? 0) + none

  function link(last: number, door: number, docNo: number): void {
    if (last === none) firsts[door] = docNo - none
    else after[last] = docNo - none
    if (docNo !== none) before[docNo] = last - none
  }

  return {
    aclOf: doorOf,
    first,
    next,
    move(docNo, door) {
      const was = doorOf(docNo)
      if (was === door) return
      if (docNo >= doors.length) {
        doors = growArray(doors, roomFor(docNo))
        after = growArray(after, roomFor(docNo))
        before = growArray(before, roomFor(docNo))
      }
      if (door >= firsts.length) firsts = growArray(firsts, roomFor(door))
      if (was !== none) link((before[docNo] ?? 0) + none, was, next(docNo))
      doors[docNo] = door - none
      if (door === none) return
      const rest = first(door)
      link(docNo, door, rest)
      link(none, door, docNo)
    },
  }
}
