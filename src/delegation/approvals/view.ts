import type { Fga } from '../../authz/fga.ts'
import type { Cleared, Gate, Guarded } from '../../authz/gate.ts'
import { presentedTuples } from '../../authz/presented.ts'
import type { Clock } from '../../kernel/clock.ts'
import { collectionObject, documentObject, type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Principal } from '../../kernel/principal.ts'
import { isStillInForce, readPublications } from '../../store/in-force.ts'
import { isOpenDocument } from '../../store/open-document.ts'
import { readRows, type Sql } from '../../store/sql.ts'
import { titlesOf } from '../lending/lendable.ts'
import { agentObject } from '../registry/agents.ts'
import { canonicalJson } from '../registry/details.ts'
import { isOurs } from '../registry/resources.ts'
import type { Approval } from './approval.ts'
import { digest, type RequestedAccess } from './requested-access.ts'

/** An approval as its person's page shows it: what they can say yes to now, in our words. */
export interface ShownApproval extends Approval {
  readonly agentTitle: string
  /** undefined: a client of another issuer, of which we know its id alone. */
  readonly clientTitle?: string
  /**
   * Those of the documents asked for that the person may read and has lent to this agent, now. What is no
   * longer so is not here and cannot be approved. Empty for what is not about documents.
   */
  readonly documents: readonly ShownDocument[]
  /** What a yes may be remembered for: where one of the documents lies, and the person may look. */
  readonly places: readonly RememberableContainer[]
  /** Of what was lent: no yes lasts longer. */
  readonly lentUntil: Date
  readonly lentFor: string
  /**
   * Whether a yes takes the person in front of their device: what is sensitive, and what is done in their
   * name elsewhere.
   */
  readonly takesVerification: boolean
}

/** A document as the person who decides sees it. Only for one that they may read now. */
export interface ShownDocument {
  readonly id: string
  readonly title: string
  readonly collection: string
  /** `user:bob` */
  readonly owner?: string
  readonly isSensitive: boolean
}

/** A folder or collection. */
export interface RememberableContainer {
  readonly object: FgaObject
  readonly title: string
  /** Those of the shown documents that lie there, in their order. */
  readonly documentIds: readonly string[]
}

export interface ViewDeps {
  readonly sql: Sql
  readonly fga: Fga
  readonly gate: Gate
  readonly clock: Clock
  readonly publicUrl: string
}

const msMax = 5_000

/**
 * Draws the page's view under the approver's own permission: titles are read only for documents that the gate
 * has just cleared for them as a person, and only those stay that OpenFGA says this agent can be told of
 * under this delegation. Throws a 503 where OpenFGA does not answer: then nothing is shown, and nothing
 * decided.
 */
export async function showApproval(deps: ViewDeps, approval: Approval): Promise<ShownApproval> {
  const [lending, documents, verifies] = await Promise.all([
    lendingOf(deps.sql, approval),
    approval.asked.kind === 'documents' ? shownDocuments(deps, approval, approval.asked.documentIds) : [],
    takesVerification(deps, approval.asked),
  ])
  const containers = await rememberableContainers(deps, approval.subject, documents)
  return { ...approval, ...lending, documents, places: containers, takesVerification: verifies }
}

/** A token for an API of ours reads what was lent before. Another's says by its row that it takes none. */
async function takesVerification(
  { sql, publicUrl }: Pick<ViewDeps, 'sql' | 'publicUrl'>,
  access: RequestedAccess,
): Promise<boolean> {
  if (access.kind !== 'access') return true
  if (isOurs(access.resource, publicUrl)) return false
  const [row] = await sql.query<{ takes_verification: boolean }>(
    'select takes_verification from resources where resource = $1',
    [access.resource],
  )
  return row?.takes_verification ?? true
}

/**
 * Of everything that the page shows: whoever decides sends it back, so that they decide what they have seen.
 * Left out: ids that say nothing to a person, and how much time is left.
 */
export function digestOf({ asked: access, ...approval }: ShownApproval): string {
  return digest(
    canonicalJson({
      id: approval.id,
      subject: approval.subject,
      agent: [approval.agent, approval.agentTitle],
      client: [approval.client, approval.clientTitle ?? null],
      asked: access.kind === 'documents' ? [access.queryHmac, access.scopes] : access,
      words: [approval.purpose ?? null, approval.bindingMessage ?? null],
      state: approval.state,
      rounds: approval.rounds.map(({ question, answer }) => [question, answer ?? null]),
      documents: approval.documents.map(({ id, title, collection, owner = null, isSensitive }) => [
        id,
        title,
        collection,
        owner,
        isSensitive,
      ]),
      places: approval.places.map(({ object, title, documentIds }) => [object, title, documentIds]),
      ends: [approval.expiresAt.toISOString(), approval.lentUntil.toISOString()],
      lentFor: approval.lentFor,
    }),
  )
}

async function lendingOf(sql: Sql, { agent, client, delegation }: Approval) {
  const [lending] = await readRows<
    Pick<ShownApproval, 'agentTitle' | 'clientTitle' | 'lentUntil' | 'lentFor'>
  >(
    sql,
    `select coalesce((select title from agents where id = $1), $1) as "agentTitle",
       (select title from clients where client_id = $2) as "clientTitle", expires_at as "lentUntil",
       purpose as "lentFor" from delegations where id = $3`,
    [agent, client, delegation],
  )
  if (lending === undefined) throw new Error('An approval has no delegation.')
  return lending
}

async function shownDocuments(
  { sql, fga, gate, clock }: ViewDeps,
  approval: Approval,
  documentIds: readonly string[],
): Promise<ShownDocument[]> {
  const { subject, agent, delegation } = approval
  const signal = AbortSignal.timeout(msMax)
  const now = clock.now()
  const publications = await readPublications(sql, documentIds)
  const cleared = await gate
    .named(personOf(approval, now), { documentIds, signal })
    .clear(documentIds.map((documentId) => ({ documentId, publication: publications.get(documentId) ?? 0 })))
  const asAgent = {
    user: subject,
    contextual: presentedTuples({ user: subject, agent: agentObject(agent), delegation }),
  }
  const { verdicts } = await fga.batchCheck(
    cleared.flatMap(({ documentId }) => [
      { ...asAgent, relation: 'can_be_told', object: documentObject(documentId) },
      { user: subject, relation: 'sensitive', object: documentObject(documentId) },
    ]),
    { now, signal, consistency: 'fresh' },
  )
  const visibleDocuments = cleared.filter((_, index) => verdicts[2 * index] === 'allowed')
  // Where nobody knows, it says so: a person who is warned for nothing looks twice.
  const sensitive = new Set(
    cleared.filter((_, index) => verdicts[2 * index + 1] !== 'denied').map(({ documentId }) => documentId),
  )
  const rows = await readTitles(sql, visibleDocuments)
  return rows.map((row) => ({ ...row, isSensitive: sensitive.has(row.id) }))
}

/** Only of what was cleared for the person who looks, and is in force since. In a fixed order. */
const readTitles = (sql: Sql, documents: readonly Cleared<Required<Omit<Guarded, 'isNew'>>>[]) =>
  readRows<Omit<ShownDocument, 'isSensitive'>>(
    sql,
    `select id, coalesce(nullif(title, ''), id) as title, collection, owner
     from unnest($1::text[], $2::int[]) as cleared (id, publication) join documents using (id)
     where ${isStillInForce('documents', 'cleared.publication')} and ${isOpenDocument} order by id`,
    [
      documents.map(({ documentId }) => documentId),
      Int32Array.from(documents, ({ publication }) => publication),
    ],
  )

/** The approver themself, in front of their own page. */
const personOf = ({ subject, txn }: Approval, now: number): Principal => ({
  kind: 'person',
  subject,
  actors: [],
  client: 'remit-pages',
  scopes: new Set(['docs.read']),
  authorizationDetails: [],
  txn,
  expiresAt: Math.floor(now / 1_000) + 60,
})

/**
 * Where a yes may be remembered, later documents included: the collections in which these documents are
 * filed, which their reader may know of (`GET /collections`), and the folders and collections that they lie
 * in, where the person is a viewer there. Give it only documents that they were just cleared for.
 */
async function rememberableContainers(
  { sql, fga, clock }: ViewDeps,
  subject: FgaObject,
  documents: readonly ShownDocument[],
): Promise<RememberableContainer[]> {
  if (documents.length === 0) return []
  const filed = new Set<FgaObject>(documents.map(({ collection }) => collectionObject(collection)))
  const holding = new Map<FgaObject, Set<string>>()
  const hold = (object: FgaObject, id: string) =>
    holding.set(object, (holding.get(object) ?? new Set()).add(id))
  for (const { id, collection } of documents) {
    hold(collectionObject(collection), id)
    for await (const { user } of fga.read({ object: documentObject(id), relation: 'parent' }))
      if (isContainer(user)) hold(user, id)
  }
  const unfiledContainers = [...holding.keys()].filter((object) => !filed.has(object))
  const { verdicts } = await fga.batchCheck(
    unfiledContainers.map((object) => ({ user: subject, relation: 'viewer', object })),
    { now: clock.now(), signal: AbortSignal.timeout(msMax), consistency: 'fresh' },
  )
  const visible = [...filed, ...unfiledContainers.filter((_, index) => verdicts[index] === 'allowed')].sort()
  const titles = await titlesOf(sql, visible)
  return visible.map((object) => ({
    object,
    title: titles.get(object) ?? splitObject(object).id,
    documentIds: [...(holding.get(object) ?? [])],
  }))
}

const isContainer = (object: string): object is FgaObject =>
  object.startsWith('folder:') || object.startsWith('collection:')
