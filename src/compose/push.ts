import { join } from 'node:path'
import type { Approvals } from '../delegation/approvals/approvals.ts'
import { createMessages, vapidKeyOf } from '../delegation/notify/message.ts'
import { createNotices } from '../delegation/notify/notices.ts'
import { createPushHandler, startPushes } from '../delegation/notify/pushes.ts'
import { createSubscriptions, type Subscriptions } from '../delegation/notify/subscriptions.ts'
import type { App } from '../http/env.ts'
import type { RequireSession } from '../http/middleware/session.ts'
import { pushRoutes } from '../http/routes/approvals/push.ts'
import { createPgBossQueue } from '../jobs/pgboss.ts'
import { createSeal } from '../store/encryption.ts'
import { loadSecret } from '../store/secret.ts'
import type { ComposeContext } from './context.ts'

/** Of the service, what push messages take. */
export interface PushDeps
  extends Pick<ComposeContext, 'config' | 'database' | 'boss' | 'clock' | 'log' | 'outbound'> {
  readonly approvals: Pick<Approvals, 'onChange'>
  readonly requireSession: RequireSession
  readonly assertOpen: () => void
}

/** Telling people, in browsers where they wished it, that an answer of theirs is waited for. */
export interface Push extends AsyncDisposable {
  /** To stand before whatever else answers under `/approvals/`. */
  readonly routes: readonly App[]
  readonly subscriptions: Subscriptions
  /** By which browsers know this deployment (`applicationServerKey`), in base64url. */
  readonly publicKey: string
  /** Background tasks, each to be run now and every hour. */
  readonly tasks: Readonly<Record<string, () => Promise<unknown>>>
}

/** Opens web push: its subscriptions, its key and its sender. */
export async function openPush(dependencies: PushDeps): Promise<Push> {
  const { config, database: sql, boss, clock, log, approvals } = dependencies
  await using stack = new AsyncDisposableStack()
  const secret = await loadSecret(join(config.home, 'keys'), 'oauth.key')
  const key = vapidKeyOf(secret)
  const subscriptions = createSubscriptions({ sql, seal: createSeal(secret), clock })
  const notices = createNotices({ sql, clock })
  const queue = stack.use(
    createPgBossQueue({
      database: sql,
      boss,
      name: 'pushes',
      pollSeconds: 5,
      onError: (error) => log('pushes_failed', { reason: error.message }),
    }),
  )
  const messageFor = createMessages({ key, contact: config.pushContact })
  await queue.start(
    createPushHandler({ ...dependencies, notices, subscriptions, messageFor, fetch: dependencies.outbound }),
  )
  const pushes = stack.use(startPushes({ ...dependencies, queue, notices, subscriptions }))
  stack.use(
    approvals.onChange(({ id, state }) => {
      if (state === 'pending') pushes.wake(id)
    }),
  )
  const owned = stack.move()
  return {
    routes: [
      pushRoutes({
        subscriptions,
        requireSession: dependencies.requireSession,
        allowedOrigins: config.outboundAllowedOrigins,
        perMinute: config.ratePerMinute,
        now: () => clock.now(),
      }),
    ],
    subscriptions,
    publicKey: key.publicKey,
    tasks: {
      push_subscriptions: () => subscriptions.sweep(),
      push_notices: () => notices.sweep(),
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
