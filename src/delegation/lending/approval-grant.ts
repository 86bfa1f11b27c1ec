import { type RecordActor, record } from '../../audit/record.ts'
import { type Fga, type Tuple, type TupleKey, tupleId } from '../../authz/fga.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { readRows, type Sql } from '../../store/sql.ts'
import { agentObject } from '../registry/agents.ts'
import type { VaultCall } from '../vault/call.ts'

/** The only ones to whom an offer or a grant means anything: this person, this agent, this delegation. */
export interface GrantHolder {
  /** `user:anne` */
  readonly subject: FgaObject
  /** `research-bot`: the outermost actor, no other. */
  readonly agent: string
  readonly delegation: string
}

/**
 * A person's yes to exactly this: the row that decides, and tuples that OpenFGA reads while the grant is
 * presented. Not to be taken for a `Consent`, which is what an OAuth client holds.
 */
export interface ApprovalGrant extends GrantHolder {
  /** `g_…` */
  readonly id: string
  /** The question that it answers, `ap_…`. */
  readonly approval: string
  /**
   * Documents; of a remembered one folders or collections, later documents included; none of a vault call.
   */
  readonly objects: readonly FgaObject[]
  /** Counts for the question with this digest alone, once. */
  readonly queryHmac: string | undefined
  /** Counts for this call alone. */
  readonly vaultCall: VaultCall | undefined
  readonly until: Date
  /** undefined: as often as wanted. */
  readonly maxUses: number | undefined
  readonly used: number
  /** The service presents it by itself, asked or not. */
  readonly remembered: boolean
  readonly state: 'preparing' | 'live' | 'ended'
}

/**
 * The columns of an {@link ApprovalGrant}, as its members are named. A call is kept as `vaultCallText` writes
 * it.
 */
export const grantColumns = `id, approval, subject, agent, delegation, objects, query_hmac as "queryHmac",
  case when vault_call is not null then jsonb_strip_nulls(jsonb_build_object(
    'connection', vault_call::jsonb -> 'connection', 'method', vault_call::jsonb -> 'method',
    'path', vault_call::jsonb -> 'path', 'contentType', vault_call::jsonb -> 'content_type',
    'bodyDigest', vault_call::jsonb -> 'body_digest')) end as "vaultCall",
  expires_at as "until", max_uses as "maxUses", used, remembered, state`

/**
 * What a grant is in OpenFGA. Its end is a condition, so that a dead process leaves no door open. A vault
 * call is nothing there: OpenFGA is not asked about it.
 */
export function grantTuples({
  id,
  subject,
  agent,
  objects,
  until: expiresAt,
}: Pick<ApprovalGrant, 'id' | 'subject' | 'agent' | 'objects' | 'until'>): Tuple[] {
  if (objects.length === 0) return []
  const grant: FgaObject = `grant:${id}`
  return [
    {
      user: subject,
      relation: 'grantor',
      object: grant,
      condition: { name: 'until', context: { expires_at: expiresAt.toISOString() } },
    },
    { user: agentObject(agent), relation: 'agent', object: grant },
    ...objects.map((object) => ({ user: grant, relation: 'granted_by', object })),
  ]
}

const granting = ['document', 'folder', 'collection']

/** Tuples of a live grant that its row does not know: whoever wrote them, it was not src/delegation. */
export async function strayTuples(fga: Pick<Fga, 'read'>, grant: ApprovalGrant): Promise<TupleKey[]> {
  const expectedIds = new Set(grantTuples(grant).map(tupleId))
  const strays: TupleKey[] = []
  const filters = [
    { object: `grant:${grant.id}` },
    ...granting.map((type) => ({ user: `grant:${grant.id}`, object: `${type}:` })),
  ]
  for (const filter of filters) {
    for await (const { user, relation, object } of fga.read(filter))
      if (!expectedIds.has(tupleId({ user, relation, object }))) strays.push({ user, relation, object })
  }
  return strays
}

/** Why a grant counts no more, as the record says it. */
type GrantEnd = 'revoked' | 'delegation_ended' | 'used_up' | 'forgotten'

/**
 * Ends whatever hangs on a delegation, in the transaction that ends the delegation itself. From its commit on
 * none of it is presented; the tuples of those that it gives back are left to {@link settleGrants}. Whoever
 * calls has locked the delegation's row first.
 */
export async function endGrantsOf(
  sql: Sql,
  delegation: string,
  { now, recordedAs }: { readonly now: Date; readonly recordedAs: RecordActor },
): Promise<ApprovalGrant[]> {
  // In the order of their ids, as a use takes them: neither waits for what the other holds.
  const ended = await readRows<ApprovalGrant & { readonly wasLive: boolean }>(
    sql,
    `update approval_grants set state = 'ended', ended_at = $2
     where id in (
       select id from approval_grants where delegation = $1 and state <> 'ended' order by id for update
     ) returning ${grantColumns}, live_at is not null as "wasLive"`,
    [delegation, now],
  )
  for (const grant of ended) await recordEnd(sql, recordedAs, grant, 'delegation_ended')
  // Of one that is still being prepared somebody may be writing the tuples now: mend() removes them.
  return ended.filter(({ wasLive }) => wasLive)
}

/** Puts the end of a grant on record, in the caller's transaction. */
export const recordEnd = (
  sql: Sql,
  recordedAs: RecordActor,
  { id, approval, subject, agent, delegation }: ApprovalGrant,
  reason: GrantEnd,
): Promise<void> =>
  record(
    sql,
    { ...recordedAs, delegation },
    { event: 'grant_ended', grant: id, approval, grantor: subject, agent, reason },
  )

/** Removes the tuples of grants that have ended. May run twice. */
export async function settleGrants(
  { sql, fga }: { readonly sql: Sql; readonly fga: Pick<Fga, 'write'> },
  grants: readonly ApprovalGrant[],
  now: Date,
): Promise<void> {
  const deletes = grants.flatMap(grantTuples)
  if (deletes.length > 0) await fga.write({ deletes })
  await sql.query('update approval_grants set settled_at = $2 where id = any($1)', [
    grants.map(({ id }) => id),
    now,
  ])
}
