import type { FgaObject } from '../../../kernel/ids.ts'
import type { Log } from '../../../kernel/log.ts'
import type { Seal } from '../../../store/encryption.ts'
import type { Sql } from '../../../store/sql.ts'

/** Which question an auth_req_id stands for, and who asked it of whom under what. */
export interface BackchannelRequest {
  readonly approval: string
  readonly subject: FgaObject
  readonly agent: string
  readonly client: string
  readonly delegation: string
  readonly expiresAt: Date
}

/** A request whose client is to be told that it was answered. */
export interface Ping extends Pick<BackchannelRequest, 'approval' | 'client'> {
  readonly idHash: string
  readonly authReqId: string
  /** The client's own bearer token for this one request. */
  readonly token: string
  /** This one included. Also the number under which it was taken: whoever takes it next has another. */
  readonly tries: number
  /** From then on others take it. */
  readonly takenUntil: Date
}

export interface BackchannelRequests {
  /** `notificationToken`: the client wants to be told. */
  save(id: string, request: BackchannelRequest, notificationToken: string | undefined): Promise<void>
  get(id: string): Promise<BackchannelRequest | undefined>
  /**
   * Takes those that were answered and whose clients are not told yet, for the next `forMs`: nobody else takes them
   * until then, and whoever took them and died is not waited for longer. `approval`: only those of this one. What does
   * not open, sealed with another key or changed, is given up and holds up no other.
   */
  takePings(options: { readonly forMs: number; readonly approval?: string }): Promise<readonly Ping[]>
  /** Never: told, or given up, which stays so whoever says it. Later: only while nobody took it since. */
  setPing(ping: Pick<Ping, 'idHash' | 'tries'>, next: { readonly after: Date } | 'never'): Promise<void>
  /** Drops what has been over for an hour, and returns how many. */
  sweep(): Promise<number>
}

const context = (idHash: string) => `backchannel ping ${idHash}`
const keptMs = 3_600_000
const takenMax = 20

export interface BackchannelRequestsDeps {
  readonly sql: Sql
  readonly seal: Seal
  readonly clock: { now(): number }
  readonly log: Log
}

/** One row for each auth_req_id, by its keyed hash; what a ping needs of it is sealed. Each method is one statement. */
export function createBackchannelRequests({
  sql,
  seal,
  clock,
  log,
}: BackchannelRequestsDeps): BackchannelRequests {
  const now = () => new Date(clock.now())
  const hashOf = (id: string) => seal.hash('backchannel request', id)
  const setPing: BackchannelRequests['setPing'] = async ({ idHash, tries }, next) => {
    await (next === 'never'
      ? sql.query('update backchannel_requests set ping = null where id_hash = $1', [idHash])
      : sql.query('update backchannel_requests set ping_after = $2 where id_hash = $1 and pings = $3', [
          idHash,
          next.after,
          tries,
        ]))
  }

  return {
    async save(id, { approval, subject, agent, client, delegation, expiresAt }, token) {
      const idHash = hashOf(id)
      await sql.query(
        `insert into backchannel_requests
           (id_hash, approval, subject, agent, client_id, delegation, expires_at, ping, ping_after)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
        [
          idHash,
          approval,
          subject,
          agent,
          client,
          delegation,
          expiresAt,
          token === undefined ? null : seal.close(context(idHash), { id, token }),
          now(),
        ],
      )
    },
    async get(id) {
      const rows = await sql.query<RequestRow>(
        `select approval, subject, agent, client_id, delegation, expires_at
         from backchannel_requests where id_hash = $1`,
        [hashOf(id)],
      )
      return rows.map(fromRow)[0]
    },
    async takePings({ forMs, approval }) {
      const takenUntil = new Date(clock.now() + forMs)
      const rows = await sql.query<PingRow>(
        `update backchannel_requests set pings = pings + 1, ping_after = $2
         where id_hash in (
           select request.id_hash from backchannel_requests request join approvals on approvals.id = approval
           where request.ping is not null and request.ping_after <= $1 and approvals.state in ('approved', 'denied')
             and ($3::text is null or approval = $3)
           order by request.ping_after limit ${takenMax} for update of request skip locked)
         returning id_hash, approval, client_id, ping, pings`,
        [now(), takenUntil, approval ?? null],
      )
      const pings = rows.flatMap((row) => readPing(row, takenUntil, seal) ?? [])
      const unread = rows.filter(({ id_hash }) => !pings.some(({ idHash }) => idHash === id_hash))
      if (unread.length > 0) log('pings_unreadable', { count: unread.length })
      for (const { id_hash: idHash, pings: tries } of unread) await setPing({ idHash, tries }, 'never')
      return pings
    },
    setPing,
    async sweep() {
      const rows = await sql.query(
        'delete from backchannel_requests where expires_at < $1 returning id_hash',
        [new Date(clock.now() - keptMs)],
      )
      return rows.length
    },
  }
}

interface RequestRow {
  readonly approval: string
  readonly subject: FgaObject
  readonly agent: string
  readonly client_id: string
  readonly delegation: string
  readonly expires_at: Date
}

interface PingRow {
  readonly id_hash: string
  readonly approval: string
  readonly client_id: string
  readonly ping: Uint8Array
  readonly pings: number
}

function readPing(
  { id_hash: idHash, approval, client_id: client, ping, pings: tries }: PingRow,
  takenUntil: Date,
  seal: Seal,
): Ping | undefined {
  try {
    const { id, token } = seal.open(context(idHash), ping) as { readonly id: string; readonly token: string }
    return { idHash, approval, client, authReqId: id, token, tries, takenUntil }
  } catch {
    return undefined
  }
}

const fromRow = ({ client_id: client, expires_at: expiresAt, ...row }: RequestRow): BackchannelRequest => ({
  ...row,
  client,
  expiresAt,
})
