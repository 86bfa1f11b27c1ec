import type { DocumentNominator, LocalQuestion, ReachableAcls } from '../../authz/permission-index.ts'
import { hasBit, setBit } from '../../kernel/bits.ts'
import { GroupedNumbers } from '../../kernel/grouped-numbers.ts'
import { growArray } from '../../kernel/grow-array.ts'
import { createLru } from '../../kernel/lru.ts'
import type { Corpus } from '../corpus/corpus.ts'
import type { Documents } from '../corpus/documents.ts'
import { type Content, contentIn } from './visible.ts'

/**
 * What each person, with what they present, may perhaps see of the corpus: a bit for each document, and an
 * exact count. A document that comes, goes or gets another ACL turns one bit in each of them; none is made
 * anew for it.
 */
export interface Snapshots {
  /** undefined where index or corpus are not ready, or the question brings tuples on documents. */
  of(question: LocalQuestion): Snapshot | undefined
}

/** What somebody may see, as bits over documents, at one moment. */
export interface Snapshot {
  readonly content: Content
  /** As they are at this moment: to be used before the next `await`. */
  readonly documents: Documents
}

/** The index that knows ACLs, and the corpus that numbers documents. */
export interface SnapshotsDeps {
  readonly index: Omit<DocumentNominator, 'nominate'>
  readonly corpus: Pick<Corpus, 'current' | 'lastKnown' | 'onChange'>
  /**
   * Bytes of all snapshots together. Default 128 MB: of a million documents those of 30 people who see all of
   * them, or of 800 who see a hundredth; by publications of 8, or of 450.
   */
  readonly bytesMax?: number
  /**
   * Whether searches go by publications, as a search engine's do. A snapshot then gets them twice and a
   * bitmap of them, and is weighed with them from the start: it may not be asked for again.
   */
  readonly byPublications?: boolean
  /** Whether nobody takes anything but the bits: then a snapshot weighs no more than those. */
  readonly onlyBits?: boolean
  /**
   * ACLs, as a part of all documents: whoever reaches fewer pays for their documents, not for all. Default a
   * sixteenth, because going from ACL to ACL costs several times a look at the next document.
   */
  readonly fewAcls?: number
  /** Told of each snapshot that is made. */
  readonly onMake?: () => void
}

interface Kept {
  readonly reach: ReachableAcls
  bits: Buffer
  /** Documents, and their chunks. */
  size: number
  chunks: number
  /** As it was handed out: its bits are not written to any more. */
  content: Content | undefined
}

// Room for so many documents more before a bitmap is copied.
const spareDocuments = 512

/** Keeps bitmaps of what somebody may see, and moves documents between them as ACLs change. */
export function createSnapshots(dependencies: SnapshotsDeps): Snapshots {
  const { index, corpus, bytesMax = 128_000_000, byPublications = false, onlyBits = false } = dependencies
  const bytesEach = onlyBits ? 0 : byPublications ? 16 : 4
  const { fewAcls: fewDoors = 1 / 16, onMake } = dependencies
  const snapshotsByKey = createLru<Kept>({
    weightMax: bytesMax,
    // With the numbers that are made of the bits, as many as there were when it was last asked for.
    weightOf: (_, { bits, size }) => bits.length + bytesEach * size,
  })
  let lastDocuments: Documents | undefined
  // By number, in groups by ACL: what somebody sees is gone through by the ACLs that they reach.
  const stands = new GroupedNumbers()
  // By number: the chunks that a document counts for in every snapshot.
  let counts = new Int32Array(0)

  function make(aclSet: ReachableAcls, documents: Documents): Kept {
    const { end: docNoEnd } = documents
    const bits = Buffer.alloc((docNoEnd + spareDocuments) >> 3)
    if (aclSet.count() < docNoEnd * fewDoors) {
      for (const acl of aclSet.acls())
        for (let docNo = stands.first(acl); docNo !== -1; docNo = stands.next(docNo)) setBit(bits, docNo)
    } else {
      for (let docNo = 0; docNo < docNoEnd; docNo++)
        if (aclSet.has(stands.groupOf(docNo))) setBit(bits, docNo)
    }
    onMake?.()
    return { reach: aclSet, bits, ...documents.countIn(bits), content: undefined }
  }

  function turn(snapshot: Kept, docNo: number, was: number, is: number): void {
    if (was === is) return
    const isShort = snapshot.bits.length <= docNo >> 3
    if (snapshot.content !== undefined || isShort) {
      const copy = Buffer.alloc(isShort ? (docNo + 2 * spareDocuments) >> 3 : snapshot.bits.length)
      copy.set(snapshot.bits)
      snapshot.bits = copy
      snapshot.content = undefined
    }
    setBit(snapshot.bits, docNo, is > 0)
    snapshot.size += Number(is > 0) - Number(was > 0)
    snapshot.chunks += is - was
  }

  /** Documents that came, went, or may have another ACL. */
  function follow(docNos: Iterable<number>, documents: Documents): void {
    if (counts.length < documents.end) counts = growArray(counts, 2 * documents.end)
    for (const [key, { reach: aclSet }] of snapshotsByKey.entries())
      if (aclSet.isOver) snapshotsByKey.delete(key)
    for (const docNo of docNos) {
      const id = documents.idOf(docNo)
      const count = documents.chunksOf(docNo)
      const acl = id === undefined ? -1 : index.aclOf(id)
      for (const [, snapshot] of snapshotsByKey.entries()) {
        const was = hasBit(snapshot.bits, docNo) ? (counts[docNo] ?? 0) : 0
        turn(snapshot, docNo, was, snapshot.reach.has(acl) ? count : 0)
      }
      counts[docNo] = count
      stands.move(docNo, acl)
    }
  }

  // What was read before anybody listened.
  lastDocuments = corpus.lastKnown()
  if (lastDocuments !== undefined) follow(lastDocuments.live(), lastDocuments)
  corpus.onChange((docNos, documents) => {
    lastDocuments = documents
    follow(docNos, documents)
  })
  index.onAclChange((documentIds) => {
    if (lastDocuments === undefined) return
    const documents = lastDocuments
    follow(documentIds?.flatMap((id) => documents.numberOf(id) ?? []) ?? documents.live(), documents)
  })

  return {
    of(question) {
      const documents = corpus.current()
      const aclSet = index.reachableAcls(question)
      if (documents === undefined || aclSet === undefined) return undefined
      let snapshot = snapshotsByKey.get(aclSet.key)
      if (snapshot?.reach !== aclSet) snapshot = make(aclSet, documents)
      snapshotsByKey.set(aclSet.key, snapshot)
      snapshot.content ??= contentIn(snapshot.bits, snapshot)
      return { content: snapshot.content, documents }
    },
  }
}
