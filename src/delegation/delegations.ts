import type { Fga } from '../authz/fga.ts'
import type { Clock } from '../kernel/clock.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import { type FgaObject, isId, splitObject } from '../kernel/ids.ts'
import type { Database, Sql } from '../store/sql.ts'
import { delegationTuples } from './delegation-tuples.ts'

/** One consent: who lent what to which agent until when. */
export interface Delegation {
  readonly id: string
  /** `user:anne` */
  readonly subject: FgaObject
  /** `research-bot` */
  readonly agent: string
  /** Agents to which `agent` may pass it on. */
  readonly subAgents: readonly string[]
  /** Organizations, collections, folders, documents. */
  readonly scope: readonly FgaObject[]
  readonly purpose: string
  /** Used where an external issuer may leave the `delegation` claim out; at most one a (subject, agent). */
  readonly standing: boolean
  readonly expiresAt: Date
  readonly state: 'lending' | 'live' | 'revoked'
}

export interface Lending {
  readonly subject: FgaObject
  readonly agent: string
  readonly scope: readonly FgaObject[]
  readonly subAgents?: readonly string[]
  readonly purpose: string
  readonly expiresAt: Date
  readonly standing?: boolean
  /** Left out: `d_` and randomness. Given: the same lending again answers with what stands. */
  readonly id?: string
}

export interface Delegations {
  /**
   * Row first (not usable), then the tuples, then the row goes live. After a crash nothing is usable and
   * {@link mend} clears up. Whether the scope's objects exist is not asked: an answer would tell, and lending
   * what is not there lends nothing. 409: a standing one is live already, or the id means another lending.
   */
  lend(lending: Lending): Promise<Delegation>
  /** Dead in every check from the moment the row says so; then the tuples go. False: no such live delegation. */
  revoke(id: string): Promise<boolean>
  get(id: string): Promise<Delegation | undefined>
  listOf(subject: FgaObject): Promise<Delegation[]>
  /** The one that the agent's next token for this person would carry: standing first, then the newest. */
  current(subject: FgaObject, agent: string): Promise<Delegation | undefined>
  isLive(id: string): Promise<boolean>
  /** Everybody's that may be used now. */
  listLive(): Promise<Delegation[]>
  /**
   * Removes the tuples of revoked, ended and abandoned delegations. A lending older than a minute is abandoned:
   * its caller died before anybody was told that it stands. Returns how many were settled.
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

export function createDelegations({ database, fga, clock, randomBytes }: DelegationsDeps): Delegations {
  const now = () => new Date(clock.now())

  const get: Delegations['get'] = async (id) =>
    (await database.query<DelegationRow>(`${select} where id = $1`, [id])).map(fromRow)[0]

  async function settle(delegation: Delegation): Promise<void> {
    await fga.write({ deletes: delegationTuples(delegation) })
    await database.query('update delegations set settled_at = $2 where id = $1', [delegation.id, now()])
  }

  return {
    get,
    async lend(lending) {
      const wanted = await checked(
        database,
        lending,
        now(),
        lending.id ?? `d_${randomBytes(16).toString('base64url')}`,
      )
      const row = await begin(database, wanted, now())
      if (row.state === 'live') return row
      await fga.write({ writes: delegationTuples(row) })
      const activated = await database.query<DelegationRow>(
        `update delegations set state = 'live' where id = $1 and state = 'lending' returning ${columns}`,
        [row.id],
      )
      const live = activated.map(fromRow)[0]
      if (live !== undefined) return live
      // Revoked while its tuples were being written: they must not outlive it.
      await settle(row)
      throw new AppError('conflict', { public: 'The delegation was revoked while it was being made.' })
    },
    async revoke(id) {
      const rows = await database.query<DelegationRow & { readonly was: string }>(
        `update delegations set state = 'revoked', revoked_at = $2
           from (select id as old_id, state as was from delegations where id = $1) as old
         where id = old_id and state <> 'revoked' returning ${columns}, was`,
        [id, now()],
      )
      const row = rows[0]
      if (row === undefined) return false
      // One that is still being lent is left to mend(): whoever lends it may be writing its tuples now.
      if (row.was === 'live') await settle(fromRow(row))
      return true
    },
    async listOf(subject) {
      return (
        await database.query<DelegationRow>(`${select} where subject = $1 order by created_at desc, id`, [
          subject,
        ])
      ).map(fromRow)
    },
    async current(subject, agent) {
      const rows = await database.query<DelegationRow>(
        `${select} where subject = $1 and agent = $2 and state = 'live' and expires_at > $3
         order by standing desc, created_at desc, id limit 1`,
        [subject, agent, now()],
      )
      return rows.map(fromRow)[0]
    },
    async isLive(id) {
      const row = await get(id)
      return row !== undefined && row.state === 'live' && row.expiresAt > now()
    },
    async listLive() {
      const rows = await database.query<DelegationRow>(
        `${select} where state = 'live' and expires_at > $1 order by id`,
        [now()],
      )
      return rows.map(fromRow)
    },
    async mend() {
      const abandonedBefore = new Date(clock.now() - lendingMsMax)
      await database.query(
        `update delegations set state = 'revoked', revoked_at = $2 where state = 'lending' and created_at < $1`,
        [abandonedBefore, now()],
      )
      const over = await database.query<DelegationRow>(
        `${select} where settled_at is null and created_at < $1 and (state = 'revoked' or expires_at <= $2)`,
        [abandonedBefore, now()],
      )
      for (const row of over) await settle(fromRow(row))
      return over.length
    },
  }
}

/** Writes the row, or finds the one of an earlier try. */
async function begin(database: Database, wanted: Delegation, now: Date): Promise<Delegation> {
  return database.transaction(async (sql) => {
    const known = (await sql.query<DelegationRow>(`${select} where id = $1 for update`, [wanted.id])).map(
      fromRow,
    )[0]
    if (known !== undefined) return resumed(known, wanted, now)
    if (wanted.standing) await makeRoom(sql, wanted, now)
    await sql.query(
      `insert into delegations (id, subject, agent, sub_agents, scope, purpose, standing, expires_at, state, created_at)
       values ($1, $2, $3, $4, $5, $6, $7, $8, 'lending', $9)`,
      [
        wanted.id,
        wanted.subject,
        wanted.agent,
        wanted.subAgents,
        wanted.scope,
        wanted.purpose,
        wanted.standing,
        wanted.expiresAt,
        now,
      ],
    )
    return wanted
  })
}

function resumed(known: Delegation, wanted: Delegation, now: Date): Delegation {
  const same =
    known.subject === wanted.subject &&
    known.agent === wanted.agent &&
    known.standing === wanted.standing &&
    known.scope.join(' ') === wanted.scope.join(' ') &&
    known.subAgents.join(' ') === wanted.subAgents.join(' ')
  if (!same || known.state === 'revoked' || known.expiresAt <= now) {
    throw new AppError('conflict', { public: `The delegation id ${wanted.id} is taken.` })
  }
  return known
}

/** An ended standing delegation gives way to the next; a live one does not. */
async function makeRoom(sql: Sql, { subject, agent }: Delegation, now: Date): Promise<void> {
  // Two lendings at once would both find room; the unique index would then answer with a bare error.
  await sql.query('select 1 from agents where id = $1 for update', [agent])
  await sql.query(
    `update delegations set state = 'revoked', revoked_at = $3
     where subject = $1 and agent = $2 and standing and state <> 'revoked' and expires_at <= $3`,
    [subject, agent, now],
  )
  const standing = await sql.query(
    `select 1 from delegations where subject = $1 and agent = $2 and standing and state <> 'revoked'`,
    [subject, agent],
  )
  if (standing.length > 0)
    throw new AppError('conflict', { public: 'A standing delegation to this agent is live already.' })
}

const scopeTypes = new Set(['organization', 'collection', 'folder', 'document'])
const scopeMax = 80
const subAgentsMax = 10

async function checked(sql: Sql, lending: Lending, now: Date, id: string): Promise<Delegation> {
  const { subject, agent, scope, subAgents = [], purpose, expiresAt, standing = false } = lending
  if (!isId(id) || id.includes('/')) throw invalid('id', 'The delegation id is not valid.')
  if (!subject.startsWith('user:') || !isId(splitObject(subject).id))
    throw invalid('subject', 'Only a person can lend.')
  if (scope.length < 1 || scope.length > scopeMax) throw invalid('scope', `Name 1 to ${scopeMax} objects.`)
  for (const [index, object] of scope.entries()) {
    const { type, id: objectId } = splitObject(object)
    if (!scopeTypes.has(type) || !isId(objectId)) {
      throw invalid(
        `scope.${index}`,
        'An organization, collection, folder or document is needed, as type:id.',
      )
    }
  }
  if (subAgents.length > subAgentsMax) throw invalid('sub_agents', `At most ${subAgentsMax} agents.`)
  if (subAgents.includes(agent)) throw invalid('sub_agents', 'The agent is not its own sub-agent.')
  if (!(expiresAt > now)) throw invalid('expires_at', 'The end has to be in the future.')
  if (purpose.length < 1 || purpose.length > 500)
    throw invalid('purpose', 'A purpose of 1 to 500 characters is needed.')
  await assertAgents(sql, [agent, ...subAgents])
  return {
    id,
    subject,
    agent,
    purpose,
    standing,
    subAgents: [...new Set(subAgents)],
    scope: [...new Set(scope)],
    expiresAt,
    state: 'lending',
  }
}

async function assertAgents(sql: Sql, ids: readonly string[]): Promise<void> {
  const rows = await sql.query<{ id: string }>(
    'select id from agents where id = any($1) and disabled_at is null',
    [[...ids]],
  )
  const usable = new Set(rows.map(({ id }) => id))
  const missing = ids.find((id) => !usable.has(id))
  if (missing !== undefined)
    throw invalid(missing === ids[0] ? 'agent' : 'sub_agents', 'The agent is not registered, or is disabled.')
}

export interface DelegationRow {
  readonly id: string
  readonly subject: FgaObject
  readonly agent: string
  readonly sub_agents: string[]
  readonly scope: FgaObject[]
  readonly purpose: string
  readonly standing: boolean
  readonly expires_at: Date
  readonly state: Delegation['state']
}

const columns = 'id, subject, agent, sub_agents, scope, purpose, standing, expires_at, state'
const select = `select ${columns} from delegations`

const fromRow = (row: DelegationRow): Delegation => ({
  id: row.id,
  subject: row.subject,
  agent: row.agent,
  subAgents: row.sub_agents,
  scope: row.scope,
  purpose: row.purpose,
  standing: row.standing,
  expiresAt: row.expires_at,
  state: row.state,
})
