import { randomUUID } from 'node:crypto'
import { ownElapsed } from '../kernel/elapsed.ts'
import { AppError } from '../kernel/errors.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { pluralize } from '../kernel/pluralize.ts'
import type { Restrictions } from '../kernel/restrictions.ts'
import type { Database, Sql } from './sql.ts'

/** This process, among those that use the database. */
export interface LiveProcess extends AsyncDisposable {
  /** Throws `authorization_unavailable` where others may count it as ended, or where it was refused. */
  assertLive(): void
  /** Says that it runs. Throws OperatorError where a restriction is in force that it does not know. */
  beat(): Promise<void>
}

export interface LiveProcessOptions {
  readonly database: Database
  readonly version: string
  readonly known: Restrictions
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
}

/** Seconds without a heartbeat after which a process counts as ended. */
const liveSeconds = 30
// A server that is gone keeps no connection from others for longer.
const beatMsMax = 10_000

/**
 * Registers this process. Throws OperatorError where a restriction is in force that it does not know. Does
 * NOT beat by itself.
 */
export async function registerProcess(options: LiveProcessOptions): Promise<LiveProcess> {
  const { database, version, known, elapsed = ownElapsed } = options
  const id = randomUUID()
  const state = { heardAt: elapsed(), isRefused: false }

  async function beat(): Promise<void> {
    const begunAt = elapsed()
    const saying = async (sql: Sql): Promise<Restriction | undefined> => {
      // Whoever brings one into force waits for this, or is seen here.
      await sql.query('lock table restrictions in share mode')
      const [found] = await sql.query<Restriction>(
        'select name, since from restrictions where name <> all($1::text[]) order by name limit 1',
        [Object.keys(known)],
      )
      if (found !== undefined) {
        await sql.query('delete from processes where id = $1', [id])
        return found
      }
      await sql.query(
        `insert into processes (id, version, knows, seen_at) values ($1, $2, $3, clock_timestamp())
         on conflict (id) do update set seen_at = clock_timestamp()`,
        [id, version, Object.keys(known)],
      )
      return undefined
    }
    const unknown = await database.transaction(saying, { msMax: beatMsMax })
    if (unknown !== undefined) {
      state.isRefused = true
      throw refused(unknown, version)
    }
    state.heardAt = begunAt
  }

  await beat()
  await database.query(`delete from processes where not (${isLive})`)
  return {
    beat,
    assertLive() {
      if (state.isRefused || elapsed() - state.heardAt > liveSeconds * 1_000)
        throw new AppError('authorization_unavailable', {
          headers: { 'retry-after': '5' },
          internal: state.isRefused ? 'a restriction is not known here' : 'no heartbeat for long',
        })
    },
    async [Symbol.asyncDispose]() {
      // Where it cannot be said now, its age says it.
      await database.query('delete from processes where id = $1', [id]).catch(() => undefined)
    },
  }
}

const isLive = `seen_at > clock_timestamp() - interval '${liveSeconds} seconds'`

interface Restriction {
  readonly name: string
  readonly since: string
}

const refused = ({ name, since }: Restriction, version: string): OperatorError =>
  new OperatorError(
    `The restriction ${name} is in force. Remit ${since} brought it, and this version (${version}) does not know it: it would give away what the restriction holds back. Start Remit ${since} or newer.`,
  )

/**
 * Brings a restriction into force, for good, in the caller's transaction. Throws `conflict` while a process
 * runs that does not know it. Until the transaction ends no process starts or beats.
 */
export async function restrict(sql: Sql, { name, since }: Restriction): Promise<void> {
  await sql.query('lock table restrictions in exclusive mode')
  const without = await sql.query<{ version: string; count: number }>(
    `select version, count(*)::int as count from processes where ${isLive} and $1 <> all(knows)
     group by version order by version`,
    [name],
  )
  if (without.length > 0)
    throw new AppError('conflict', {
      public: `Not every process knows the restriction ${name}, which Remit ${since} brought. There ${without.length === 1 && without[0]?.count === 1 ? 'is' : 'are'} still ${without.map((row) => `${pluralize(row.count, 'process', 'processes')} of Remit ${row.version}`).join(', ')}. Replace them, then try again; one that crashed counts for ${liveSeconds} seconds.`,
    })
  await sql.query('insert into restrictions (name, since) values ($1, $2) on conflict do nothing', [
    name,
    since,
  ])
}
