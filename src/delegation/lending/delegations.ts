import { operator, type RecordActor, record } from '../../audit/record.ts'
import type { Fga } from '../../authz/fga.ts'
import { assertNotAborted } from '../../kernel/assert-not-aborted.ts'
import type { Clock } from '../../kernel/clock.ts'
import { eachOf } from '../../kernel/each-of.ts'
import { AppError } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { type Database, readRows, type Sql, type SqlValue } from '../../store/sql.ts'
import { type Agent, changedSinceShown, digestOfAgent, type ShownAgents } from '../registry/agents.ts'
import { canonicalJson } from '../registry/details.ts'
import type { ApprovalGrant } from './approval-grant.ts'
import { endGrantsOf, settleGrants } from './approval-grant.ts'
import {
  checkedDelegation,
  type Delegation,
  delegationTuples,
  type Lending,
  lockAgents,
} from './delegation.ts'

/** Rows in the database and tuples at OpenFGA, written in an order in which a crash lends nothing. */
export interface Delegations {
  /**
   * Row first (not usable), then the tuples, then the row goes live. After a crash nothing is usable and
   * {@link mend} clears up. Whether the scope's objects exist is not asked: an answer would tell, and lending
   * what is not there lends nothing. 409: a standing one is live already, or the id means another lending. On
   * record with the moment from which it counts; `recordedAs`: left out, the operator.
   */
  lend(lending: Lending, recordedAs?: RecordActor): Promise<Delegation>
  /**
   * Dead in every check from the moment the row says so, and with it, on record, the consents of clients and
   * the grants of approvals that hang on it; then the tuples go. False: no such live delegation.
   */
  revoke(id: string, recordedAs?: RecordActor): Promise<boolean>
  /**
   * The same inside somebody else's transaction, which may still fail. Answers with what is left to do once
   * it is committed; where that is not done, {@link mend} does it.
   */
  revokeWithin(sql: Sql, id: string, recordedAs: RecordActor): Promise<() => Promise<void>>
  get(id: string): Promise<Delegation | undefined>
  listOf(subject: FgaObject): Promise<Delegation[]>
  /** The one that the agent's next token for our own APIs would carry: standing first, then the newest. */
  current(subject: FgaObject, agent: string): Promise<Delegation | undefined>
  isLive(id: string): Promise<boolean>
  /** Everybody's that may be used now. */
  listLive(): Promise<Delegation[]>
  /**
   * Removes the tuples of revoked, ended and abandoned delegations. A lending older than a minute is
   * abandoned: its caller died before anybody was told that it stands. Returns how many were settled.
   */
  mend(): Promise<number>
}

export interface DelegationsDeps {
  readonly database: Database
  readonly fga: Fga
  readonly clock: Clock
  readonly randomBytes: (size: number) => Buffer
}

const lendingMsMax = 60_000

/** Does NOT check that the person may read what they lend, nor who asks. */
export function createDelegations({ database, fga, clock, randomBytes }: DelegationsDeps): Delegations {
  const now = () => new Date(clock.now())
  const newId = (prefix: 'd' | 't') => `${prefix}_${randomBytes(16).toString('base64url')}`

  const find = (condition: string, values: readonly SqlValue[]) =>
    readRows<Delegation>(database, `${select} where ${condition}`, values)
  const get: Delegations['get'] = async (id) => (await find('id = $1', [id]))[0]

  async function settle(delegation: Delegation, grants: readonly ApprovalGrant[] = []): Promise<void> {
    if (grants.length > 0) await settleGrants({ sql: database, fga }, grants, now())
    await fga.write({ deletes: delegationTuples(delegation) })
    await database.query('update delegations set settled_at = $2 where id = $1', [delegation.id, now()])
  }

  /** Who was told that it is over asks again at once: it must not stand in its own way. */
  async function giveUp(delegation: Delegation): Promise<void> {
    const ended = await database.query(
      `update delegations set state = 'revoked', revoked_at = $2 where id = $1 and state = 'lending' returning id`,
      [delegation.id, now()],
    )
    if (ended.length > 0) await settle(delegation)
  }

  return {
    get,
    async lend(lending, recordedAs = operator(newId('t'))) {
      const requested = await checkedDelegation(database, lending, now(), lending.id ?? newId('d'))
      const row = await beginDelegation(database, requested, {
        now: now(),
        recordedAs,
        shownAgents: lending.shownAgents,
      })
      if (row.state === 'live') return row
      await fga.write({ writes: delegationTuples(row) })
      try {
        const liveDelegation = await database.transaction((sql) => activate(sql, row.id, recordedAs))
        if (liveDelegation !== undefined) return liveDelegation
      } catch (error) {
        // Under an id of the caller's the same again goes on with it. What fails here as well is left to
        // mend().
        if (recordedAs.over?.aborted === true && lending.id === undefined)
          await giveUp(row).catch(() => undefined)
        throw error
      }
      // Somebody lent the same at once, by the same id: it stands, and its tuples with it.
      const created = await get(row.id)
      if (created?.state === 'live') return created
      // Revoked while its tuples were being written: they must not outlive it.
      await settle(row)
      throw new AppError('conflict', { public: 'The delegation was revoked while it was being made.' })
    },
    async revoke(id, recordedAs = operator(newId('t'))) {
      const ended = await database.transaction((sql) => endDelegation(sql, id, { now: now(), recordedAs }))
      if (ended === undefined) return false
      // One that is still being lent is left to mend(): whoever lends it may be writing its tuples now.
      if (ended.was === 'live') await settle(ended.delegation, ended.grants)
      return true
    },
    async revokeWithin(sql, id, recordedAs) {
      const ended = await endDelegation(sql, id, { now: now(), recordedAs })
      return async () => {
        if (ended?.was === 'live') await settle(ended.delegation, ended.grants)
      }
    },
    listOf: (subject) => find('subject = $1 order by created_at desc, id', [subject]),
    async current(subject, agent) {
      const [newest] = await find(
        `subject = $1 and agent = $2 and state = 'live' and expires_at > $3 and resource is null
         order by standing desc, created_at desc, id limit 1`,
        [subject, agent, now()],
      )
      return newest
    },
    async isLive(id) {
      const row = await get(id)
      return row !== undefined && row.state === 'live' && row.expiresAt > now()
    },
    listLive: () => find(`state = 'live' and expires_at > $1 order by id`, [now()]),
    async mend() {
      const abandonedBefore = new Date(clock.now() - lendingMsMax)
      await database.query(
        `update delegations set state = 'revoked', revoked_at = $2 where state = 'lending' and created_at < $1`,
        [abandonedBefore, now()],
      )
      const expired = await find(
        `settled_at is null and created_at < $1 and (state = 'revoked' or expires_at <= $2)`,
        [abandonedBefore, now()],
      )
      await eachOf(expired, (delegation) => settle(delegation))
      return expired.length
    },
  }
}

/** From here on it counts, and is on record. Undefined: revoked meanwhile. */
async function activate(sql: Sql, id: string, recordedAs: RecordActor): Promise<Delegation | undefined> {
  const [liveDelegation] = await readRows<Delegation>(
    sql,
    `update delegations set state = 'live' where id = $1 and state = 'lending' returning ${columns}`,
    [id],
  )
  if (liveDelegation === undefined) return undefined
  await record(sql, { ...recordedAs, delegation: id }, eventOf('delegation_made', liveDelegation))
  return liveDelegation
}

interface Ended {
  readonly delegation: Delegation
  readonly was: Delegation['state']
  /** Of approvals, ended with it: their tuples are still there. */
  readonly grants: readonly ApprovalGrant[]
}

/** Revokes the row, ends the consents and the grants that hang on it, and puts it on record, all in one. */
async function endDelegation(
  sql: Sql,
  id: string,
  { now, recordedAs }: { readonly now: Date; readonly recordedAs: RecordActor },
): Promise<Ended | undefined> {
  const [ended] = await readRows<Delegation & Pick<Ended, 'was'>>(
    sql,
    `update delegations set state = 'revoked', revoked_at = $2
       from (select id as old_id, state as was from delegations where id = $1) as old
     where id = old_id and state <> 'revoked' returning ${columns}, was`,
    [id, now],
  )
  if (ended === undefined) return undefined
  // Rows that somebody else is at are theirs to end: waiting for one another, both would be stopped. Without
  // its link and its delegation an artifact gives no token anyway.
  await sql.query(
    `delete from oauth_artifacts where (model, id_hash) in (
       select model, id_hash from oauth_artifacts
       where grant_id in (select grant_id from oauth_grants where delegation = $1) for update skip locked)`,
    [id],
  )
  await sql.query('delete from oauth_grants where delegation = $1', [id])
  const { was, ...delegation } = ended
  await record(sql, { ...recordedAs, delegation: id }, eventOf('delegation_revoked', delegation))
  return { delegation, was, grants: await endGrantsOf(sql, id, { now, recordedAs }) }
}

const eventOf = (
  event: 'delegation_made' | 'delegation_revoked',
  { id, subject, agent, subAgents, scope, standing: isStanding, expiresAt }: Delegation,
) => ({
  event,
  delegation: id,
  lender: subject,
  agent,
  sub_agents: subAgents,
  scope,
  standing: isStanding,
  expires_at: expiresAt.toISOString(),
})

/** Writes the row, or finds the one of an earlier try. */
async function beginDelegation(
  database: Database,
  requested: Delegation,
  {
    now,
    recordedAs,
    shownAgents,
  }: {
    readonly now: Date
    readonly recordedAs: RecordActor
    readonly shownAgents: ShownAgents | undefined
  },
): Promise<Delegation> {
  return database.transaction(async (sql) => {
    const find = async () =>
      (await readRows<Delegation>(sql, `${select} where id = $1 for update`, [requested.id]))[0]
    const existing = await find()
    if (existing !== undefined) return resumed(existing, requested, now)
    const agents = await lockAgents(sql, requested)
    const isOther = (agent: Agent): boolean =>
      shownAgents !== undefined && shownAgents.get(agent.id) !== digestOfAgent(agent)
    if (agents.some((agent) => agent.disabledAt !== undefined || isOther(agent))) throw changedSinceShown()
    assertNotAborted(recordedAs.over)
    if (requested.standing) await makeRoom(sql, requested, now)
    const inserted = await sql.query(
      `insert into delegations (id, subject, agent, sub_agents, scope, purpose, standing, expires_at, state,
         created_at, resource, authorization_details)
       values ($1, $2, $3, $4, $5, $6, $7, $8, 'lending', $9, $10, $11)
       on conflict (id) do nothing returning id`,
      [
        requested.id,
        requested.subject,
        requested.agent,
        requested.subAgents,
        requested.scope,
        requested.purpose,
        requested.standing,
        requested.expiresAt,
        now,
        requested.resource ?? null,
        requested.details.length > 0 ? JSON.stringify(requested.details) : null,
      ],
    )
    if (inserted.length === 1) return requested
    // Somebody began the same at once, and has committed it.
    const winner = await find()
    if (winner === undefined) throw new Error('A delegation was lost while it was being made.')
    return resumed(winner, requested, now)
  })
}

function resumed(existing: Delegation, requested: Delegation, now: Date): Delegation {
  const isSame = termsOf(existing) === termsOf(requested)
  if (!isSame || existing.state === 'revoked' || existing.expiresAt <= now) {
    throw new AppError('conflict', { public: `The delegation id ${requested.id} is taken.` })
  }
  return existing
}

/** What has to be the same in another try. */
const termsOf = ({ subject, agent, standing: isStanding, resource, details, scope, subAgents }: Delegation) =>
  canonicalJson({
    subject,
    agent,
    standing: isStanding,
    resource: resource ?? null,
    details,
    scope,
    subAgents,
  })

/** An ended or abandoned standing delegation gives way to the next; a live one does not. */
async function makeRoom(sql: Sql, { subject, agent }: Delegation, now: Date): Promise<void> {
  await sql.query(
    `update delegations set state = 'revoked', revoked_at = $3
     where subject = $1 and agent = $2 and standing
       and (state <> 'revoked' and expires_at <= $3 or state = 'lending' and created_at < $4)`,
    [subject, agent, now, new Date(now.getTime() - lendingMsMax)],
  )
  const standingRows = await sql.query(
    `select 1 from delegations where subject = $1 and agent = $2 and standing and state <> 'revoked'`,
    [subject, agent],
  )
  if (standingRows.length > 0)
    throw new AppError('conflict', { public: 'A standing delegation to this agent is live already.' })
}

const columns = `id, subject, agent, sub_agents as "subAgents", scope, resource,
  coalesce(authorization_details, '[]') as details, purpose, standing, created_at as "createdAt",
  expires_at as "expiresAt", state`
const select = `select ${columns} from delegations`
