import type { Handler, LaterTask, Task } from '../../jobs/queue.ts'
import type { Clock } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { OutboundError } from '../../outbound/error.ts'
import type { GuardedFetch } from '../../outbound/guarded-fetch.ts'
import type { Sql } from '../../store/sql.ts'
import type { Message } from './message.ts'
import type { Notices } from './notices.ts'
import {
  delivery,
  type OutboxDispatcher,
  type OutboxDispatcherDeps,
  pauseAfter,
  startOutboxDispatcher,
} from './outbox-dispatcher.ts'
import type { Subscription } from './subscription.ts'
import type { Subscriptions } from './subscriptions.ts'

/** The queue's handler is {@link createPushHandler}. */
export interface PushesDeps extends Omit<OutboxDispatcherDeps, 'name' | 'take'> {
  readonly notices: Pick<Notices, 'take'>
  readonly subscriptions: Pick<Subscriptions, 'of'>
  /** Throws while it is not known who may act: then nobody is told anything. */
  readonly assertOpen: () => void
}

/** Which browser is to be told of what; `tries`: the one that comes, counted from 1. */
interface PushData {
  readonly approval: string
  readonly round: number
  /** By the keyed hash of its endpoint. */
  readonly browser: string
  readonly tries: number
}

/**
 * Puts one task into the queue for each browser of a person whose answer is waited for. NOT promised: that
 * anybody looks.
 */
export function startPushes(deps: PushesDeps): OutboxDispatcher {
  const { notices, subscriptions, assertOpen } = deps
  async function take(sql: Sql, approval: string | undefined): Promise<readonly Task[]> {
    assertOpen()
    const tasks: Task[] = []
    for (const notice of await notices.take(sql, approval))
      for (const { hash } of await subscriptions.of(notice.person, notice.newsAt, sql))
        tasks.push(taskOf({ approval: notice.approval, round: notice.round, browser: hash, tries: 1 }))
    return tasks
  }
  return startOutboxDispatcher({ ...deps, name: 'pushes', take })
}

const taskOf = (pushData: PushData): Task => ({
  key: `${pushData.approval} ${pushData.round} ${pushData.browser}`,
  data: { ...pushData },
})

export interface PushHandlerDeps {
  readonly notices: Pick<Notices, 'get'>
  readonly subscriptions: Pick<Subscriptions, 'of' | 'remove'>
  readonly messageFor: (subscription: Subscription, seconds: number) => Message
  readonly fetch: GuardedFetch
  readonly clock: Clock
  readonly log: Log
  /** Throws while it is not known who may act: then nobody is told anything, and it is tried again. */
  readonly assertOpen: () => void
}

const { timeoutMs, bytesMax, standingMs } = delivery
const retryAfterMax = 300
const ttlMax = 86_400
const loggedOriginsMax = 20

type Outcome = 'told' | 'gone' | 'refused' | { readonly laterBy: number }

/**
 * Tells one browser that an answer is waited for (RFC 8030), once for each approval and round. A push service
 * that knows the browser no more (404, 410) ends its subscription; another refusal, a redirect included, is
 * final for this notice, and so is an endpoint that leads where nobody may be asked; what may pass by itself
 * is tried five times while the question is open. Nothing that comes back is read. A crash between a message
 * and the end of its task sends that one once more, which takes the place of the first.
 */
export function createPushHandler(deps: PushHandlerDeps): Handler {
  const { notices, subscriptions, messageFor, fetch, clock, log, assertOpen } = deps
  const loggedOrigins = new Set<string>()

  async function deliver(task: PushData, signal: AbortSignal): Promise<LaterTask | undefined> {
    const { approval, round, browser, tries } = task
    assertOpen()
    const begunAt = clock.now()
    const notice = await notices.get({ approval, round })
    if (notice === undefined) return undefined
    // Asked anew at each try: who was barred or signed out since is told no more.
    const browsers = await subscriptions.of(notice.person, notice.newsAt)
    const found = browsers.find(({ hash }) => hash === browser)
    if (found === undefined) return undefined
    if (clock.now() - begunAt >= standingMs) throw new Error('This process stood still: others tell it.')
    const seconds = Math.ceil((notice.expiresAt.getTime() - clock.now()) / 1_000)
    const outcome = await post(found.subscription, seconds, signal)
    if (outcome === 'gone') await subscriptions.remove(browser)
    if (typeof outcome !== 'object') return undefined
    const pause = pauseAfter(tries)
    if (pause === undefined) return undefined
    return {
      ...taskOf({ ...task, tries: tries + 1 }),
      afterSeconds: Math.max(pause, outcome.laterBy),
    }
  }

  async function post(subscription: Subscription, seconds: number, signal: AbortSignal): Promise<Outcome> {
    const { headers, body } = messageFor(subscription, Math.min(ttlMax, Math.max(1, seconds)))
    try {
      const response = await fetch(subscription.endpoint, {
        method: 'POST',
        headers,
        body,
        timeoutMs,
        bytesMax,
        signal,
      })
      return outcomeOf(response)
    } catch (error) {
      // What was cut off by a shutdown is the next process's to try.
      signal.throwIfAborted()
      if (!(error instanceof OutboundError)) throw error
      const isOurRefusal = error.reason === 'url_refused' || error.reason === 'address_refused'
      if (isOurRefusal) return logOrigin(subscription.endpoint)
      // Its text holds no address: an endpoint is a capability.
      log('push_failed', { reason: error.message })
      return { laterBy: 1 }
    }
  }

  /** Once, and not without end: any person names a push service. */
  function logOrigin(endpoint: string): 'refused' {
    const { origin } = new URL(endpoint)
    if (!loggedOrigins.has(origin) && loggedOrigins.size < loggedOriginsMax) {
      loggedOrigins.add(origin)
      log('push_origin_refused', { origin, setting: 'PUSH_ALLOWED_ORIGINS' })
    }
    return 'refused'
  }

  function outcomeOf({ status, headers }: { readonly status: number; readonly headers: Headers }): Outcome {
    if (status >= 200 && status < 300) return 'told'
    if (status === 404 || status === 410) return 'gone'
    log('push_refused', { status })
    if (status < 500 && status !== 429) return 'refused'
    const wished = Number(headers.get('retry-after') ?? 1)
    return { laterBy: wished >= 1 ? Math.min(wished, retryAfterMax) : 1 }
  }

  return async (pushData, signal, continueLater) => {
    const later = await deliver(pushDataOf(pushData), signal)
    if (later !== undefined) continueLater(later)
  }
}

const pushDataOf = ({ approval, round, browser, tries }: Task['data']): PushData => ({
  approval: String(approval),
  round: Number(round),
  browser: String(browser),
  tries: Number(tries),
})
