import type { Clock } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { OutboundError } from '../../outbound/error.ts'
import type { GuardedFetch } from '../../outbound/guarded-fetch.ts'
import type { Message } from './message.ts'
import type { Notice, Notices } from './notices.ts'
import type { Subscription } from './subscription.ts'
import type { Subscriptions, Told } from './subscriptions.ts'
import { startTelling, tries } from './telling.ts'

/** Tells people's browsers that an answer of theirs is waited for (RFC 8030). */
export interface Pushes extends AsyncDisposable {
  /** Looks now whether somebody is to be told of this approval; nobody waits for it. */
  wake(approval: string): void
  /** Looks for all that is due, and waits until each was tried. */
  run(approval?: string): Promise<void>
}

export interface PushesDeps {
  readonly notices: Notices
  readonly subscriptions: Pick<Subscriptions, 'of' | 'remove'>
  readonly messageFor: (subscription: Subscription, seconds: number) => Message
  readonly fetch: GuardedFetch
  readonly clock: Clock
  readonly log: Log
  /** Throws while it is not known who may act: then nobody is told anything. */
  readonly assertOpen: () => void
  /** Milliseconds between two looks for what nobody woke us for. Default 5,000. */
  readonly everyMs?: number
}

const { timeoutMs, bytesMax, takenMs, pauses } = tries
const retryAfterMax = 300
const ttlMax = 86_400

type Outcome = 'told' | 'gone' | 'refused' | { readonly laterBy: number }

/**
 * Each browser of a person gets one message for each approval and round. A push service that knows the browser no more
 * (404, 410) ends its subscription, as does an endpoint that leads where nobody may be asked; another refusal, a redirect
 * included, is final for this notice; what may pass by itself is tried five times while the question is open. Nothing that
 * comes back is read. A crash between a message and its note sends that one once more, which takes the place of the
 * first. NOT promised: that anybody looks.
 */
export function createPushes(deps: PushesDeps): Pushes {
  const { notices, subscriptions, messageFor, fetch, clock, log, assertOpen, everyMs = 5_000 } = deps

  async function send(notice: Notice): Promise<void> {
    const seconds = Math.ceil((notice.expiresAt.getTime() - clock.now()) / 1_000)
    const open = (await subscriptions.of(notice.person, notice.newsAt)).filter(
      ({ hash }) => !notice.told.includes(hash),
    )
    // Stood still until others took it: it is theirs to tell.
    if (clock.now() >= notice.takenUntil.getTime()) return
    const waits = await Promise.all(open.map((one) => tell(notice, one, seconds)))
    const longest = Math.max(0, ...waits)
    const pause = longest === 0 ? undefined : pauses[notice.tries - 1]
    const next =
      pause === undefined ? 'never' : { after: new Date(clock.now() + Math.max(pause, longest) * 1_000) }
    await notices.set(notice, next)
  }

  /** How long to wait before it is tried again, in seconds; 0: not again. */
  async function tell(notice: Notice, { hash, subscription }: Told, seconds: number): Promise<number> {
    const outcome = await post(subscription, seconds)
    if (typeof outcome === 'object') return outcome.laterBy
    if (outcome === 'gone') await subscriptions.remove(hash)
    await notices.told(notice, hash)
    return 0
  }

  async function post(subscription: Subscription, seconds: number): Promise<Outcome> {
    const { headers, body } = messageFor(subscription, Math.min(ttlMax, Math.max(1, seconds)))
    try {
      const response = await fetch(subscription.endpoint, {
        method: 'POST',
        headers,
        body,
        timeoutMs,
        bytesMax,
        signal: telling.signal,
      })
      return judged(response)
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error
      // Its text holds no address: an endpoint is a capability.
      log('push_failed', { reason: error.message })
      return error.reason === 'url_refused' || error.reason === 'address_refused' ? 'gone' : { laterBy: 1 }
    }
  }

  function judged({ status, headers }: { readonly status: number; readonly headers: Headers }): Outcome {
    if (status >= 200 && status < 300) return 'told'
    if (status === 404 || status === 410) return 'gone'
    log('push_refused', { status })
    if (status < 500 && status !== 429) return 'refused'
    const wished = Number(headers.get('retry-after') ?? 1)
    return { laterBy: wished >= 1 ? Math.min(wished, retryAfterMax) : 1 }
  }

  async function run(approval?: string): Promise<void> {
    assertOpen()
    const due = await notices.take({ forMs: takenMs, ...(approval !== undefined && { approval }) })
    await Promise.all(due.map(send))
  }

  const telling = startTelling({ name: 'pushes', run, log, everyMs })
  return {
    wake: telling.wake,
    run,
    [Symbol.asyncDispose]: () => telling[Symbol.asyncDispose](),
  }
}
