import { growArray } from './grow-array.ts'

const none = -1
const roomFor = (index: number): number => 2 * index + 64

/**
 * Numbers that are each in one group at most, also numbers: documents by their ACL. Each group is gone
 * through by itself.
 */
export class GroupedNumbers {
  // By member, moved up by one: 0 is none, so that room that was never written to is in no group.
  #groups = new Int32Array(0)
  #next = new Int32Array(0)
  #previous = new Int32Array(0)
  // By group.
  #first = new Int32Array(0)

  /** -1: in none. */
  groupOf(member: number): number {
    return (this.#groups[member] ?? 0) + none
  }

  /** -1: the group has no member. */
  first(group: number): number {
    return (this.#first[group] ?? 0) + none
  }

  /** The one after it in its group; -1 after the last. */
  next(member: number): number {
    return (this.#next[member] ?? 0) + none
  }

  /** -1: to none. */
  move(member: number, group: number): void {
    const was = this.groupOf(member)
    if (was === group) return
    if (member >= this.#groups.length) {
      this.#groups = growArray(this.#groups, roomFor(member))
      this.#next = growArray(this.#next, roomFor(member))
      this.#previous = growArray(this.#previous, roomFor(member))
    }
    if (group >= this.#first.length) this.#first = growArray(this.#first, roomFor(group))
    if (was !== none) this.#link((this.#previous[member] ?? 0) + none, was, this.next(member))
    this.#groups[member] = group - none
    if (group === none) return
    this.#link(member, group, this.first(group))
    this.#link(none, group, member)
  }

  #link(previous: number, group: number, member: number): void {
    if (previous === none) this.#first[group] = member - none
    else this.#next[previous] = member - none
    if (member !== none) this.#previous[member] = previous - none
  }
}
