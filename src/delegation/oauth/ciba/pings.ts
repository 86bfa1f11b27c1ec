import type { Clock } from '../../../kernel/clock.ts'
import type { Log } from '../../../kernel/log.ts'
import { OutboundError } from '../../../outbound/error.ts'
import type { GuardedFetch } from '../../../outbound/guarded-fetch.ts'
import { startTelling, tries } from '../../notify/telling.ts'
import type { Clients } from '../../registry/clients.ts'
import type { BackchannelRequests, Ping } from './requests.ts'

/** Tells clients that wish it that an answer is there (CIBA §10.2). */
export interface Pings extends AsyncDisposable {
  /** Looks now for clients of this approval that are to be told; nobody waits for it. */
  wake(approval: string): void
  /** Looks for all that are due, and waits until each was tried. */
  run(approval?: string): Promise<void>
}

export interface PingsDeps {
  readonly requests: BackchannelRequests
  readonly clients: Pick<Clients, 'registered'>
  readonly fetch: GuardedFetch
  readonly clock: Clock
  readonly log: Log
  /** Milliseconds between two looks for what nobody woke us for. Default 5,000. */
  readonly everyMs?: number
}

const { timeoutMs, bytesMax, takenMs, pauses } = tries

type Outcome = 'told' | 'refused' | 'later' | 'left'

/**
 * One POST of the auth_req_id to the client's registered address, with the token that the client sent for it. Only the
 * guarded fetcher asks that address; no redirect is followed and nothing that comes back is read. A refusal (4xx) is
 * final: the client can still poll. What may pass by itself is tried five times. Whoever stood still until others took it
 * leaves it to them. NOT promised: exactly once.
 */
export function createPings({ requests, clients, fetch, clock, log, everyMs = 5_000 }: PingsDeps): Pings {
  async function send(ping: Ping): Promise<void> {
    const outcome = await tell(ping)
    if (outcome === 'left') return
    const pause = outcome === 'later' ? pauses[ping.tries - 1] : undefined
    const next = pause === undefined ? 'never' : { after: new Date(clock.now() + pause * 1_000) }
    await requests.setPing(ping, next)
  }

  async function tell({ client, authReqId, token, takenUntil }: Ping): Promise<Outcome> {
    const url = (await clients.registered(client))?.notificationEndpoint
    if (url === undefined) return 'refused'
    if (clock.now() >= takenUntil.getTime()) return 'left'
    try {
      const { status } = await fetch(url, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ auth_req_id: authReqId }),
        timeoutMs,
        bytesMax,
        signal: telling.signal,
      })
      if (status >= 200 && status < 300) return 'told'
      log('ping_refused', { client, status })
      return status >= 500 || status === 429 ? 'later' : 'refused'
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error
      // Its text holds neither the address nor the token.
      log('ping_failed', { client, reason: error.message })
      return error.reason === 'url_refused' || error.reason === 'address_refused' ? 'refused' : 'later'
    }
  }

  async function run(approval?: string): Promise<void> {
    const due = await requests.takePings({ forMs: takenMs, ...(approval !== undefined && { approval }) })
    await Promise.all(due.map(send))
  }

  const telling = startTelling({ name: 'pings', run, log, everyMs })
  return {
    wake: telling.wake,
    run,
    [Symbol.asyncDispose]: () => telling[Symbol.asyncDispose](),
  }
}
