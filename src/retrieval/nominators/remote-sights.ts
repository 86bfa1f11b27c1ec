import { isRecent } from '../../authz/gate/precheck.ts'
import type { LocalQuestion } from '../../authz/permission-index.ts'
import { hasBit } from '../../kernel/bits.ts'
import { AppError } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { createLru } from '../../kernel/lru.ts'
import { memoize } from '../../kernel/memoize.ts'
import type { Sights } from '../access-filter/sights.ts'
import { type Content, contentIn } from '../access-filter/visible.ts'
import type { Corpus } from '../corpus/corpus.ts'
import type { Documents } from '../corpus/documents.ts'
import type { Bitmap, Nominators } from './ask.ts'

/** Nominators, and the corpus of this process, by which their numbers are read. */
export interface RemoteSightsDeps {
  readonly nominators: Pick<Nominators, 'ask'>
  readonly corpus: Pick<Corpus, 'current' | 'lastKnown' | 'onChange'>
  readonly now: () => number
  /** Bytes of all bitmaps together that are kept. Default 64 MB. */
  readonly bytesMax?: number
  /** Whether searches go by publications: each bitmap then weighs more (snapshots.ts). */
  readonly byPublications?: boolean
}

interface Kept {
  readonly digest: string
  readonly bits: Buffer
  /** As it was last counted; undefined: a document of it has changed since. */
  content: Content | undefined
}

// Documents that a nominator may know of and this process not yet.
const aheadMax = 100_000

/**
 * Asks nominators what somebody sees, and keeps each bitmap, so that it travels once for as long as it is the
 * same. Documents and chunks are counted here. Throws `authorization_unavailable` where nobody answers or the
 * corpus was never read.
 */
export function createRemoteSights(dependencies: RemoteSightsDeps): Sights {
  const { nominators, corpus, now, bytesMax = 64_000_000, byPublications = false } = dependencies
  const keptByQuestion = createLru<Kept>({
    weightMax: bytesMax,
    // With the numbers that are made of it.
    weightOf: (_, { bits, content }) => bits.length + (byPublications ? 16 : 4) * (content?.size ?? 0),
  })
  corpus.onChange((docNos) => {
    for (const [, kept] of keptByQuestion.entries())
      if (docNos.some((docNo) => hasBit(kept.bits, docNo))) kept.content = undefined
  })

  /** However old: what is missing of it is missing, and numbers never change. */
  function documentsNow(): Documents {
    const documents = corpus.lastKnown()
    if (documents === undefined)
      throw new AppError('authorization_unavailable', { internal: 'the corpus is not read yet' })
    return documents
  }

  function snapshotOf(key: string, known: Kept | undefined, said: Bitmap | null, documents: Documents) {
    if (said === null) return undefined
    const kept = said.bits === undefined ? known : { ...said, bits: said.bits, content: undefined }
    if (kept === undefined) return undefined
    kept.content ??= contentIn(kept.bits, documents.countIn(kept.bits))
    keptByQuestion.set(key, kept)
    return { content: kept.content, documents }
  }

  return {
    async of(questions, signal) {
      const [first] = questions
      if (first === undefined) return { snapshots: [], isWhole: false }
      const asked = questions.map((question) => {
        const key = keyOf(question)
        return { key, relation: question.relation, known: keptByQuestion.peek(key) }
      })
      const told = await nominators.ask(
        {
          user: first.user as FgaObject,
          contextual: first.contextual,
          visible: asked.map(({ relation, known }) => ({ relation, ...(known && { known: known.digest }) })),
        },
        { signal, bitsMax: documentsNow().end + aheadMax },
      )
      const documents = documentsNow()
      return {
        snapshots: asked.map(({ key, known }, number) =>
          snapshotOf(key, known, told.visible[number] ?? null, documents),
        ),
        isWhole: isRecent(told.heardUntil, now()) && corpus.current() !== undefined,
      }
    },
  }
}

const keyOf = memoize(({ user, relation, contextual }: LocalQuestion): string =>
  JSON.stringify([user, relation, contextual]),
)
