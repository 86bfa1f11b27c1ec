import type { Question } from '../../authz/gate/question.ts'
import { questionFor } from '../../authz/gate.ts'
import type { NominateOptions, Nominator } from '../../authz/nominate.ts'
import type { LocalQuestion } from '../../authz/permission-index.ts'
import { memoize } from '../../kernel/memoize.ts'
import type { Principal } from '../../kernel/principal.ts'
import type { Database } from '../../store/sql.ts'
import type { Corpus } from '../corpus/corpus.ts'
import type { Documents } from '../corpus/documents.ts'
import { createFiled } from './filed.ts'
import { createMatches } from './matches.ts'
import type { Snapshots } from './snapshots.ts'
import { type AccessFilter, type Content, contentOf, except, including, visibleAs } from './visible.ts'
import { type Narrowing, visibleByQuery } from './visible-by-query.ts'

/** What a question may touch. It only nominates and counts: what is in it may still be refused. */
export interface Visibility {
  /** Throws where the filter is wrong, whatever the principal may read. */
  of(principal: Principal, options: SightOptions): Promise<Sight>
}

/** How visibility is narrowed, and whether documents to offer are wanted. */
export interface SightOptions extends NominateOptions, Narrowing {
  /** Documents that grants name which are presented: the replica may not have heard of those yet. */
  readonly granted?: readonly string[]
  /** Also what is kept from the agent only as sensitive. */
  readonly tells?: boolean
  /** False: nothing of it, with the same work, since of nothing the agent may be told now. */
  readonly offers?: boolean
}

/** What somebody may see, as far as the replica knows. The gate decides. */
export interface Sight {
  readonly visible: AccessFilter
  /**
   * Of which the agent may perhaps be told, and which it may not read. Nothing where that was not asked for, or cannot be
   * said from memory.
   */
  readonly untold: AccessFilter
  /** False: documents that this principal may read may be missing. */
  readonly complete: boolean
  /** What is visible without these documents, as it would be if there were none of them. */
  without(documentIds: ReadonlySet<string>): Promise<AccessFilter>
}

/** Snapshots where the index is ready, the nominator where it is not. */
export interface VisibilityDeps {
  readonly database: Database
  readonly snapshots: Snapshots
  readonly corpus: Corpus
  readonly nominator: Nominator
  /** Whether the permission index has heard of all that OpenFGA held a moment ago; it may wait a little for that. */
  readonly hasTail: () => boolean | Promise<boolean>
}

/**
 * From memory, where index and corpus are there; else by lists of ids, which the database is asked about. The same
 * statements are run for those who may read nothing and for everybody else: none without a filter. What the index refuses is
 * not in it, so that nothing of a question, its order, its depth or what it costs, rests on that.
 */
export function createVisibility(dependencies: VisibilityDeps): Visibility {
  const { database, snapshots, corpus, nominator, hasTail } = dependencies
  const filed = createFiled(corpus)
  const matches = createMatches({ database, corpus })

  async function narrow(unnarrowed: Content, documents: Documents, { collections, filter }: Narrowing) {
    const content = collections === undefined ? unnarrowed : filed.within(unnarrowed, documents, collections)
    return filter === undefined ? content : matches.within(content, documents, filter)
  }

  return {
    async of(principal, { grants, granted = [], tells = false, offers = tells, signal, ...narrowing }) {
      const question = questionFor(principal, grants)
      const isWhole = await hasTail()
      const snapshot = snapshots.of(question)
      const tellableSnapshot = offers ? snapshots.of(tellingOf(question)) : undefined
      if (snapshot === undefined) {
        const nomination = await nominator.nominate(principal, {
          ...(signal && { signal }),
          ...(grants && { grants }),
        })
        const ids = [...new Set([...nomination.documentIds, ...granted])]
        const lookUp = (documentIds: readonly string[]) =>
          visibleByQuery({ database, corpus }, documentIds, narrowing)
        return {
          visible: await lookUp(ids),
          untold: visibleAs(nothing, 0),
          complete: nomination.complete && isWhole,
          without: (refusedIds) => lookUp(ids.filter((id) => !refusedIds.has(id))),
        }
      }
      const { documents } = snapshot
      const chunkCount = documents.chunks
      const readable = including(snapshot.content, granted, documents)
      const onlyTellable =
        tellableSnapshot === undefined
          ? nothing
          : except(tellableSnapshot.content, readable.bits(), documents)
      const [content, untold] = await Promise.all([
        narrow(readable, documents, narrowing),
        tells ? narrow(onlyTellable, documents, narrowing) : nothing,
      ])
      return {
        visible: visibleAs(content, chunkCount),
        untold: visibleAs(untold, chunkCount),
        complete: isWhole,
        async without(refusedIds) {
          const numbers = [...refusedIds].flatMap((id) => documents.numberOf(id) ?? [])
          const out = contentOf(Int32Array.from(numbers.sort((a, b) => a - b)), 0)
          return visibleAs(except(content, out.bits(), documents), chunkCount)
        },
      }
    },
  }
}

const nothing = contentOf(new Int32Array(), 0)

const tellingOf = memoize((question: Question): LocalQuestion => ({ ...question, relation: 'can_be_told' }))
