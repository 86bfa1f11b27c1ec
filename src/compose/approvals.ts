import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Fga } from '../authz/fga.ts'
import type { Gate } from '../authz/gate.ts'
import { type Approvals, openApprovals } from '../delegation/approvals/approvals.ts'
import { createOwnApprovals, type OwnApprovalsDeps } from '../delegation/approvals/own.ts'
import {
  createResolveDetail,
  type ResolveDetail,
  type ResolveDetailDeps,
} from '../delegation/approvals/resolve.ts'
import { createMessages, vapidKeyOf } from '../delegation/notify/message.ts'
import { createNotices } from '../delegation/notify/notices.ts'
import { createPushHandler, startPushes } from '../delegation/notify/pushes.ts'
import { createSubscriptions, type Subscriptions } from '../delegation/notify/subscriptions.ts'
import type { App } from '../http/env.ts'
import type { RequireBearer } from '../http/middleware/bearer.ts'
import type { RequireSession } from '../http/middleware/session.ts'
import { approvalRoutes } from '../http/routes/approvals/approvals.ts'
import { ownApprovalRoutes, pushRoutes } from '../http/routes/approvals/own-approvals.ts'
import type { OwnApprovalRoutesDeps } from '../http/routes/approvals/own-approvals-pages.ts'
import { createPgBossQueue } from '../jobs/pgboss.ts'
import { createSeal } from '../store/encryption.ts'
import { loadSecret } from '../store/secret.ts'
import type { ComposeContext } from './context.ts'
import type { Grants } from './grants.ts'

/** Grants, and the resolution of calls that an approval names. */
export interface ApprovalsPartDeps extends Pick<ComposeContext, 'database' | 'clock' | 'log'> {
  readonly fga: Fga
  readonly gate: Gate
  readonly grants: Grants
  readonly resolveCall: NonNullable<ResolveDetailDeps['resolveCall']>
  /** Throws a 503 while it is not known who may act. */
  readonly assertOpen: () => void
  readonly publicUrl: string
}

/** What agents ask of people: the table with its fronts. */
export interface ApprovalsPart extends AsyncDisposable {
  readonly approvals: Approvals
  /** What a detail of ours asks for. */
  readonly resolve: ResolveDetail
  /**
   * The agents' side. `GET /approvals/{id}` with an Authorization header is theirs, without one the person's.
   */
  routes(face: AgentsFace): App
  /** The person's side: stands before the agents', and passes on what is theirs. */
  ownRoutes(face: PeoplesFace): App
  /** Background tasks, each to be run now and every hour. */
  readonly tasks: Readonly<Record<string, () => Promise<unknown>>>
}

/** What an agent's routes about approvals need. */
export interface AgentsFace {
  readonly requireBearer: RequireBearer
  readonly publicUrl: string
}

/** What the routes on a person's own page need. */
export type PeoplesFace = Omit<OwnApprovalRoutesDeps, 'own' | 'approvals' | 'grants' | 'log' | 'now'> &
  Pick<OwnApprovalsDeps, 'lendables' | 'agents' | 'showCall'>

/** Opens approvals: what people are asked, and the tasks that end what is overdue. */
export async function openApprovalsPart(dependencies: ApprovalsPartDeps): Promise<ApprovalsPart> {
  const { database, grants, resolveCall } = dependencies
  const approvals = await openApprovals({
    ...dependencies,
    sql: database,
    grants: grants.approvalGrants,
    randomBytes,
  })
  const resolve = createResolveDetail({ findOffer: grants.offers.find, resolveCall })
  return {
    approvals,
    resolve,
    routes: (face) => approvalRoutes({ approvals, resolve, ...face }),
    ownRoutes: (face) =>
      ownApprovalRoutes({
        ...face,
        own: createOwnApprovals({ ...face, approvals, grants: grants.approvalGrants }),
        approvals,
        grants: grants.approvalGrants,
        log: dependencies.log,
        now: () => dependencies.clock.now(),
      }),
    tasks: { approvals: () => approvals.mend() },
    [Symbol.asyncDispose]: () => approvals[Symbol.asyncDispose](),
  }
}

/** Of the service, what push messages take. */
interface PushDeps
  extends Pick<ComposeContext, 'config' | 'database' | 'boss' | 'clock' | 'log' | 'pushOutbound'> {
  readonly approvals: Pick<Approvals, 'onChange'>
  readonly requireSession: RequireSession
  readonly assertOpen: () => void
}

/** Telling people, in browsers where they wished it, that an answer of theirs is waited for. */
interface Push extends AsyncDisposable {
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
    createPushHandler({
      ...dependencies,
      notices,
      subscriptions,
      messageFor,
      fetch: dependencies.pushOutbound,
    }),
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
        allowedOrigins: config.pushAllowedOrigins,
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
