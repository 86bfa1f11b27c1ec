import type { Handler, Queue, Task } from '../../../jobs/queue.ts'
import { OutboundError } from '../../../outbound/error.ts'
import type { GuardedFetch } from '../../../outbound/guarded-fetch.ts'
import type { Runtime } from '../../../store/runtime.ts'
import {
  delivery,
  type OutboxDispatcher,
  pauseAfter,
  startOutboxDispatcher,
} from '../../notify/outbox-dispatcher.ts'
import type { Clients } from '../../registry/clients.ts'
import type { BackchannelRequests, Ping } from './requests.ts'

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
