import { record } from '../../audit/record.ts'
import { documentObject, type FgaObject } from '../../kernel/ids.ts'
import { isOpenDocument } from '../../store/open-document.ts'
import type { Check } from '../fga.ts'
import type { DocumentNominator } from '../permission-index.ts'
import { assertPerson, checkOf } from './input.ts'
import { type Asking, type ListedPage, type ListingDeps, listPage, type Nominated } from './listing.ts'
import type { LimitedAgent } from './registry.ts'
import { shutOut, shutOutInWords } from './shut-out.ts'

/** Whose view is asked for, and through which agent and delegation. */
export interface ViewAsQuestion {
  /** `user:anne` */
  readonly user: FgaObject
  /** Id of the agent that reads for them; with it comes the delegation. */
  readonly agent?: string
  readonly delegation?: string
  /** Only what is filed there. */
  readonly collection?: string
  readonly cursor?: string
  /** Most documents asked about for one page. */
  readonly limit: number
}

/** A document that they may read; never its text. */
export interface ViewedDocument {
  readonly id: string
  readonly collection: string
  /** `member of group:eng, viewer of folder:plans`; undefined where the replica shows none. */
  readonly via: string | undefined
}

/** A page of documents, in the order of their ids. */
export interface ViewAsPage extends ListedPage {
  readonly documents: readonly ViewedDocument[]
  /**
   * Why they are given nothing, or less than OpenFGA would let them have; undefined: nothing takes anything
   * away.
   */
  readonly limitedBy: string | undefined
}

/** Lists what somebody may read. Does NOT check that the asker may know it: the route does. */
export type ViewAs = Asking<ViewAsQuestion, ViewAsPage>

/** The replica names the candidates, OpenFGA decides each. */
export interface ViewAsDeps extends ListingDeps {
  readonly index: ListingDeps['index'] & Pick<DocumentNominator, 'nominate'>
  /** From the registry of agents. */
  readonly agentOf: (id: string) => Promise<LimitedAgent | undefined>
  /** Whether a delegation may be used now. */
  readonly isLive: (delegation: string) => Promise<boolean>
}

/**
 * Which documents somebody would be given, by themselves or through an agent: ids alone. The index nominates,
 * a superset; each is confirmed by OpenFGA past its caches, and held to what a request is held to beside it,
 * the row of the delegation and the registry of agents. On record before it is given. NOT looked at:
 * approvals, and what narrows one token. Does NOT check who asks, and opens nothing to them.
 */
export function createViewAs(dependencies: ViewAsDeps): ViewAs {
  return async (asker, question, { signal }) => {
    const { user, agent, delegation, collection, cursor, limit } = question
    assertPerson(user, 'user', 'Choose a person: user:ID.')
    readCheck(question, 'document:x')
    const { answers, page, facts, limitedBy } = await listPage<Row>(
      dependencies,
      {
        named: [user, JSON.stringify([agent ?? null, delegation ?? null, collection ?? null])],
        cursor,
        limit,
        nominate: (_, after) => nominate(dependencies, question, after),
        nameOf: ({ id }) => id,
        checkOf: ({ id }) => readCheck(question, documentObject(id)),
      },
      signal,
    )
    const documents = answers
      .filter(({ verdict }) => verdict === 'allowed')
      .map(({ candidate, via }) => ({ ...candidate, via: via() }))
    await record(dependencies.sql, asker, {
      event: 'viewed_as',
      user,
      ...(agent !== undefined && { agent }),
      ...(delegation !== undefined && { delegation }),
      ...(collection !== undefined && { collection }),
      listed: documents.length,
      ...facts,
    })
    return { documents, limitedBy, ...page }
  }
}

interface Row {
  readonly id: string
  readonly collection: string
}

const relationFor = ({ agent }: ViewAsQuestion) =>
  agent === undefined ? ('can_read' as const) : ('can_read_delegated' as const)

/** Throws `invalid_request` for an agent without its delegation, and the other way round. */
const readCheck = (question: ViewAsQuestion, object: FgaObject): Check => {
  const { user, agent, delegation } = question
  return checkOf({ user, agent, delegation, relation: relationFor(question), object })
}

async function nominate(
  dependencies: ViewAsDeps,
  question: ViewAsQuestion,
  after: string | undefined,
): Promise<Nominated<Row>> {
  const { user, collection, limit } = question
  const limits = await limitsOf(dependencies, question)
  const { contextual = [] } = readCheck(question, 'document:x')
  const nominated = limits.isNothing
    ? []
    : dependencies.index.nominate({ user, relation: relationFor(question), contextual })
  const candidates = await dependencies.sql.query<Row>(
    `select id, collection from documents
     where id = any($1) and live_revision is not null and ($2::text is null or id > $2) and ${isOpenDocument}
       and ($3::text is null or collection = $3) and ($4::text[] is null or collection = any($4))
     order by id limit $5`,
    [nominated ?? [], after ?? null, collection ?? null, limits.collections ?? null, limit + 1],
  )
  return { candidates, complete: nominated !== undefined, limitedBy: limits.inWords }
}

interface Limits {
  readonly isNothing?: true
  readonly collections?: readonly string[]
  readonly inWords?: string
}

async function limitsOf(
  { agentOf, isLive, ...looking }: ViewAsDeps,
  { user, agent: id, delegation }: ViewAsQuestion,
): Promise<Limits> {
  const nothing = (reason: string): Limits => ({ isNothing: true, inWords: reason })
  if ((await shutOut(looking, [user])).size > 0) return nothing(shutOutInWords(user))
  if (id === undefined || delegation === undefined) return {}
  const agent = await agentOf(id)
  if (agent === undefined) return nothing(`agent:${id} is not registered, and is given nothing.`)
  if (agent.disabledAt !== undefined) return nothing(`agent:${id} is disabled, and is given nothing.`)
  if (!(await isLive(delegation)))
    return nothing(`delegation:${delegation} is not in force: it gives nothing.`)
  const { collections } = agent.limits
  if (collections === undefined) return {}
  return {
    collections,
    inWords: `The registry limits agent:${id} to ${collections.join(', ') || 'no collection'}.`,
  }
}
