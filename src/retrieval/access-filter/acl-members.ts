import { growArray } from '../../kernel/grow-array.ts'

/** Which documents have which ACL, by number: what somebody sees is gone through by the ACLs that they reach. */
export interface AclMembers {
  /** -1: at none. */
  move(docNo: number, acl: number): void
  aclOf(docNo: number): number
  /** The documents with an ACL: the first, and the one after each; -1 after the last. */
  first(acl: number): number
  next(docNo: number): number
}

const noDocument = -1
const roomFor = (index: number): number => 2 * index + 64

/** Makes an empty table of which documents have which ACL. */
export function createAclMembers(): AclMembers {
  // By document, moved up by one: 0 is none, so that room that was never written to stands nowhere.
  let aclOfDocument = new Int32Array(0)
  let nextDocument = new Int32Array(0)
  let previousDocument = new Int32Array(0)
  // By ACL.
  let firsts = new Int32Array(0)

  const doorOf = (docNo: number): number => (aclOfDocument[docNo] ?? 0) + noDocument
  const firstOf = (acl: number): number => (firsts[acl] ?? 0) + noDocument
  const nextOf = (docNo: number): number => (nextDocument[docNo] ?? 0) + noDocument

  function link(previous: number, acl: number, docNo: number): void {
    if (previous === noDocument) firsts[acl] = docNo - noDocument
    else nextDocument[previous] = docNo - noDocument
    if (docNo !== noDocument) previousDocument[docNo] = previous - noDocument
  }

  return {
    aclOf: doorOf,
    first: firstOf,
    next: nextOf,
    move(docNo, acl) {
      const was = doorOf(docNo)
      if (was === acl) return
      if (docNo >= aclOfDocument.length) {
        aclOfDocument = growArray(aclOfDocument, roomFor(docNo))
        nextDocument = growArray(nextDocument, roomFor(docNo))
        previousDocument = growArray(previousDocument, roomFor(docNo))
      }
      if (acl >= firsts.length) firsts = growArray(firsts, roomFor(acl))
      if (was !== noDocument) link((previousDocument[docNo] ?? 0) + noDocument, was, nextOf(docNo))
      aclOfDocument[docNo] = acl - noDocument
      if (acl === noDocument) return
      const successor = firstOf(acl)
      link(docNo, acl, successor)
      link(noDocument, acl, docNo)
    },
  }
}
