import { randomBytes } from 'node:crypto'
import type { Clock } from '../kernel/clock.ts'
import type { Sql } from '../store/sql.ts'
import type { Seal } from './issuer/seal.ts'

/** A signed-in browser of a person with a local account. */
export interface BrowserSession {
  /** Account key, `anne`. */
  readonly person: string
  readonly signedInAt: Date
  /** Proves that a request came from a page of ours. Bound to this session. */
  readonly csrf: string
}

export interface BrowserSessions {
  /** Gives the cookie's value, which is kept nowhere here. */
  open(person: string): Promise<string>
  /** Undefined for what is unknown or over. */
  find(cookie: string): Promise<BrowserSession | undefined>
  close(cookie: string): Promise<void>
  sweep(): Promise<number>
}

const livesMs = 8 * 3_600_000

export interface BrowserSessionsDeps {
  readonly sql: Sql
  readonly seal: Seal
  readonly clock: Clock
}

export function createBrowserSessions({ sql, seal, clock }: BrowserSessionsDeps): BrowserSessions {
  const hashOf = (cookie: string) => seal.hash('browser session', cookie)
  return {
    async open(person) {
      const cookie = randomBytes(32).toString('base64url')
      const now = clock.now()
      await sql.query(
        'insert into browser_sessions (id_hash, person, signed_in_at, expires_at) values ($1, $2, $3, $4)',
        [hashOf(cookie), person, new Date(now), new Date(now + livesMs)],
      )
      return cookie
    },
    async find(cookie) {
      const rows = await sql.query<{ person: string; signed_in_at: Date }>(
        'select person, signed_in_at from browser_sessions where id_hash = $1 and expires_at > $2',
        [hashOf(cookie), new Date(clock.now())],
      )
      return rows.map(({ person, signed_in_at }) => ({
        person,
        signedInAt: signed_in_at,
        csrf: seal.hash('csrf', cookie),
      }))[0]
    },
    async close(cookie) {
      await sql.query('delete from browser_sessions where id_hash = $1', [hashOf(cookie)])
    },
    async sweep() {
      const rows = await sql.query('delete from browser_sessions where expires_at < $1 returning person', [
        new Date(clock.now()),
      ])
      return rows.length
    },
  }
}
