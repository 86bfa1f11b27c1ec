import type { Connections } from '../../../src/delegation/vault/connections.ts'
import type { OutboundResponse } from '../../../src/outbound/guarded-fetch.ts'
import { openVaultParts, recordedAs } from '../../delegation/vault/world.ts'
import { putDelegation } from '../../delegation/world.ts'
import { atStep, type Outcome, type Pair } from '../../support/interleavings.ts'
import type { ProviderDouble } from '../../support/provider.ts'
import { rowsOf, sends, type Two } from './two.ts'

/** Refreshes whatever another refreshes just now. */
export const refreshesBesideOthers = sends((text) =>
  text.replace(
    ` and lease = $2 and state = 'live' and (leased_until is null or leased_until <= now())`,
    ' and $2::int is not null',
  ),
)

const leaseMs = 31_000

/** An account whose token is over, used by two processes; its provider takes a refresh token once. */
export async function openRefreshes(two: Two, double: ProviderDouble): Promise<Pair> {
  const { database, applications, processes } = two
  const vault = await openVaultParts(database, double)
  const workerOf = (side: 'A' | 'B'): Connections =>
    vault.process({
      own: processes[side].database,
      // What a provider says of itself is kept for minutes.
      outbound: (real) => (url, request) =>
        url.endsWith('/token')
          ? atStep('fetch /token', () => real(url, request), { changes: true }, told)
          : real(url, request),
    })
  const workers = { A: workerOf('A'), B: workerOf('B') }
  const use = (connections: Connections, mark: string) =>
    connections.withToken(`c_${mark}`, async (token) => token, {
      recordedAs: { ...recordedAs, subject: `user:${mark}`, delegation: `d_${mark}` },
    })
  return {
    name: 'refresh × refresh',
    database,
    applications,
    polls: { asks: /^update connections set lease = lease \+ 1/, between: /^select id, subject, provider/ },
    async begin(mark) {
      two.mark = mark
      const id = `c_${mark}`
      const first = double.grant()
      const subject = `user:${mark}` as const
      const expiresAt = new Date(vault.clock.now() + 86_400_000)
      await putDelegation(database, { id: `d_${mark}`, subject, agent: 'research-bot', expiresAt })
      await vault.put({ id, subject, tokens: first, endsIn: -1 })
      const rows = {
        connections: ['id', id],
        decision_records: [`detail ->> 'connection'`, id],
      } as const
      const refreshes = (): number =>
        double.tokenRequests.filter(
          (asked) => asked['grant_type'] === 'refresh_token' && asked['refresh_token'] === first.refreshToken,
        ).length
      return {
        A: () => use(workers.A, mark),
        B: () => use(workers.B, mark),
        look: async () => ({ ...(await rowsOf(database, rows)), asked: refreshes() }),
        held: () => rowsOf(database, { connections: ['id', id] }),
        timePasses: async () => vault.pass(leaseMs),
        async end({ A, B }, said) {
          const [row] = await database.query<{ state: string }>(
            'select state from connections where id = $1',
            [id],
          )
          const last = await use(vault.connections, mark).then(
            (value): Outcome => ({ value }),
            (error: unknown): Outcome => ({ error: String(error) }),
          )
          const isFault = said.some((step) => /^.[!~]/.test(step))
          // After its last look at the clock a process may stand still, since a provider has no number of
          // ours; and what it gave is lost with who ends, or stands still, before it is written.
          const fault = said.findIndex((step) => /^.[!~]/.test(step))
          const own = said.slice(0, fault + 1).filter((step) => step[0] === said[fault]?.[0])
          const mayAskTwice =
            own.some((step) => step.endsWith('fetch /token')) && !own.includes(`${own[0]?.[0]} commit`)
          if (refreshes() > 1 && !mayAskTwice) return `refreshed ${refreshes()} times`
          if (!isFault) {
            const tokens = [A, B, last].map((one) => ('value' in one ? one.value : undefined))
            if (refreshes() !== 1 || tokens[0] === undefined || new Set(tokens).size > 1)
              return `not one token: ${JSON.stringify([A, B, last])}`
          }
          if (row === undefined) return 'lost'
          if ('value' in last && !double.issued.includes(String(last.value))) return 'a token of nobody'
          // What it lost is said: the person connects once more.
          if ('error' in last && row.state === 'live' && (await stateOf(id)) === 'live')
            return `lost: ${last.error}`
          return undefined
        },
        async close() {
          await database.query('delete from connections where id = $1', [id])
          await database.query('delete from delegations where id = $1', [`d_${mark}`])
        },
      }
    },
  }

  async function stateOf(id: string): Promise<string | undefined> {
    const rows = await database.query<{ state: string }>('select state from connections where id = $1', [id])
    return rows[0]?.state
  }
}

/** Its headers tell the time. */
const told = ({ status, body }: OutboundResponse) => ({ status, body })
