import type { Handler, Queue, Task } from '../../../jobs/queue.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import { OutboundError } from '../../../outbound/error.ts'
import type { GuardedFetch } from '../../../outbound/guarded-fetch.ts'
import type { Seal } from '../../../store/encryption.ts'
import type { Runtime } from '../../../store/runtime.ts'
import { countRows, type Sql } from '../../../store/sql.ts'
import {
  delivery,
  type OutboxDispatcher,
  pauseAfter,
  startOutboxDispatcher,
} from '../../notify/outbox-dispatcher.ts'
import type { Clients } from '../../registry/clients.ts'

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
  readonly authReqId: string
  /** The client's own bearer token for this one request. */
  readonly token: string
}

/** Rows of requests by the backchannel, each with its approval. */
export interface BackchannelRequests {
  /** `notificationToken`: the client wants to be told. */
  save(id: string, request: BackchannelRequest, notificationToken: string | undefined): Promise<void>
  get(id: string): Promise<BackchannelRequest | undefined>
  /**
   * Those that were answered, whose clients want to be told, and that nobody has handed over yet, of all or
   * of one approval; by their hashes, marked as handed over.
   */
  takePings(sql: Sql, approval?: string): Promise<readonly string[]>
  /**
   * What the client is to be told; undefined once it was told or given up, or the request is gone. What does
   * not open, sealed with another key or changed, is given up.
   */
  ping(idHash: string): Promise<Ping | undefined>
  /** The client was told, or is given up. */
  endPing(idHash: string): Promise<void>
  /** Drops what has been over for an hour by both clocks, and returns how many. */
  sweep(): Promise<number>
}

const isAnswered = `approvals.state in ('approved', 'denied')`
const context = (idHash: string) => `backchannel ping ${idHash}`
const keptMs = 3_600_000
const batchSize = 100

/**
 * One row for each auth_req_id, by its keyed hash; what a ping needs of it is sealed. Each method is one
 * statement.
 */
export function createBackchannelRequests({
  sql,
  seal,
  clock,
  log,
}: Pick<Runtime, 'sql' | 'seal' | 'clock' | 'log'>): BackchannelRequests {
  const hashOf = (id: string) => seal.hash('backchannel request', id)
  const endPing: BackchannelRequests['endPing'] = async (idHash) => {
    await sql.query('update backchannel_requests set ping = null where id_hash = $1', [idHash])
  }

  return {
    async save(id, { approval, subject, agent, client, delegation, expiresAt }, token) {
      const idHash = hashOf(id)
      await sql.query(
        `insert into backchannel_requests
           (id_hash, approval, subject, agent, client_id, delegation, expires_at, ping)
         values ($1, $2, $3, $4, $5, $6, $7, $8)`,
        [
          idHash,
          approval,
          subject,
          agent,
          client,
          delegation,
          expiresAt,
          token === undefined ? null : seal.close(context(idHash), { id, token }),
        ],
      )
    },
    async get(id) {
      const [request] = await sql.query<BackchannelRequest>(
        `select approval, subject, agent, client_id as client, delegation, expires_at as "expiresAt"
         from backchannel_requests where id_hash = $1`,
        [hashOf(id)],
      )
      return request
    },
    async takePings(transaction, approval) {
      const rows = await transaction.query<{ id_hash: string }>(
        `update backchannel_requests set ping_queued = true
         where id_hash in (
           select request.id_hash from backchannel_requests request join approvals on approvals.id = approval
           where request.ping is not null and not request.ping_queued and ${isAnswered}
             and ($1::text is null or approval = $1)
           order by request.expires_at limit ${batchSize} for update of request skip locked)
         returning id_hash`,
        [approval ?? null],
      )
      return rows.map(({ id_hash: idHash }) => idHash)
    },
    async ping(idHash) {
      const [row] = await sql.query<PingRow>(
        `select approval, client_id as client, ping
         from backchannel_requests request join approvals on approvals.id = approval
         where id_hash = $1 and ping is not null and ${isAnswered}`,
        [idHash],
      )
      const ping = row && readPing(idHash, row, seal)
      if (row === undefined || ping !== undefined) return ping
      log('pings_unreadable', { count: 1 })
      await endPing(idHash)
      return undefined
    },
    endPing,
    // By both clocks: a process that is ahead or behind would forget that an approval has its consent.
    sweep: () =>
      countRows(
        sql,
        `delete from backchannel_requests where expires_at < least(now(), $2) - make_interval(secs => $1)
         returning id_hash`,
        [keptMs / 1_000, new Date(clock.now())],
      ),
  }
}

interface PingRow {
  readonly approval: string
  readonly client: string
  readonly ping: Uint8Array
}

function readPing(idHash: string, { approval, client, ping }: PingRow, seal: Seal): Ping | undefined {
  try {
    const { id, token } = seal.open(context(idHash), ping) as { readonly id: string; readonly token: string }
    return { approval, client, authReqId: id, token }
  } catch {
    return undefined
  }
}

export interface PingsDeps extends Pick<Runtime, 'database' | 'log'> {
  /** Its handler is {@link createPingHandler}. */
  readonly queue: Pick<Queue, 'send' | 'wake'>
  readonly requests: Pick<BackchannelRequests, 'takePings'>
  /** Milliseconds between two looks for what nobody woke us for. Default 5,000. */
  readonly everyMs?: number
}

/** Puts one task into the queue for each client that wishes to hear of its answer (CIBA §10.2). */
export const startPings = (deps: PingsDeps): OutboxDispatcher =>
  startOutboxDispatcher({
    ...deps,
    name: 'pings',
    take: async (sql, approval) =>
      (await deps.requests.takePings(sql, approval)).map((idHash) => taskOf(idHash, 1)),
  })

/**
 * `tries`: the one that comes, counted from 1. What the task names is by its keyed hash: the id and the token
 * stay sealed.
 */
const taskOf = (idHash: string, tries: number): Task => ({ key: idHash, data: { request: idHash, tries } })

export interface PingHandlerDeps extends Pick<Runtime, 'clock' | 'log'> {
  readonly requests: Pick<BackchannelRequests, 'ping' | 'endPing'>
  readonly clients: Pick<Clients, 'registered'>
  readonly fetch: GuardedFetch
}

const { timeoutMs, bytesMax, standingMs } = delivery

type Outcome = 'told' | 'refused' | 'later'

/**
 * One POST of the auth_req_id to the client's registered address, with the token that the client sent for it.
 * Only the guarded fetcher asks that address; no redirect is followed and nothing that comes back is read. A
 * refusal (4xx) is final: the client can still poll. What may pass by itself is tried five times. Whoever
 * stood still until others took it leaves it to them. NOT promised: exactly once.
 */
export function createPingHandler({ requests, clients, fetch, clock, log }: PingHandlerDeps): Handler {
  async function post({ client, authReqId, token }: Ping, signal: AbortSignal): Promise<Outcome> {
    const begunAt = clock.now()
    const url = (await clients.registered(client))?.notificationEndpoint
    if (url === undefined) return 'refused'
    if (clock.now() - begunAt >= standingMs) throw new Error('This process stood still: others tell it.')
    try {
      const { status } = await fetch(url, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ auth_req_id: authReqId }),
        timeoutMs,
        bytesMax,
        signal,
      })
      if (status >= 200 && status < 300) return 'told'
      log('ping_refused', { client, status })
      return status >= 500 || status === 429 ? 'later' : 'refused'
    } catch (error) {
      // What was cut off by a shutdown is the next process's to try.
      signal.throwIfAborted()
      if (!(error instanceof OutboundError)) throw error
      // Its text holds neither the address nor the token.
      log('ping_failed', { client, reason: error.message })
      return error.reason === 'url_refused' || error.reason === 'address_refused' ? 'refused' : 'later'
    }
  }

  return async ({ request, tries }, signal, continueLater) => {
    const idHash = String(request)
    const ping = await requests.ping(idHash)
    if (ping === undefined) return
    const outcome = await post(ping, signal)
    const pause = outcome === 'later' ? pauseAfter(Number(tries)) : undefined
    if (pause === undefined) await requests.endPing(idHash)
    else continueLater({ ...taskOf(idHash, Number(tries) + 1), afterSeconds: pause })
  }
}
