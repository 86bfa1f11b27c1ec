import { randomBytes } from 'node:crypto'
import { createMessages, vapidKeyOf } from '../../../src/delegation/notify/message.ts'
import { createNotices } from '../../../src/delegation/notify/notices.ts'
import {
  createPushHandler,
  type PushHandlerDeps,
  startPushes,
} from '../../../src/delegation/notify/pushes.ts'
import { createSubscriptions, type Subscriptions } from '../../../src/delegation/notify/subscriptions.ts'
import { createBoss } from '../../../src/jobs/boss.ts'
import { createPgBossQueue } from '../../../src/jobs/pgboss.ts'
import { createSystemFetch } from '../../../src/outbound/guarded-fetch.ts'
import { createSeal } from '../../../src/store/encryption.ts'
import type { Database } from '../../../src/store/sql.ts'
import type { Backend } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { type PushedBrowser, startPushService } from '../../support/push-service.ts'
import { drain, lapse, makeDue, type StoredTask, tasksOf } from '../../support/tasks.ts'
import { type MovableClock, movableClock } from '../world.ts'

/** What telling people stands on, and nothing else: a database, a push service, a clock that stands still. */
export interface PushWorld extends AsyncDisposable {
  readonly database: Database
  readonly clock: MovableClock
  readonly subscriptions: Subscriptions
  readonly logged: string[]
  readonly requests: readonly string[]
  /** One process, as far as telling people goes: it looks by itself only when it is asked to. */
  process(over?: Partial<PushHandlerDeps> & { readonly everyMs?: number }): PushProcess
  /** Ends all of them: one that is left takes what another is about to be given. */
  endProcesses(): Promise<void>
  /** A browser in which the person is told. */
  browser(person?: string): Promise<PushedBrowser>
  /** A question that waits for its answer, as the table holds it; gives its id. */
  ask(person?: string, seconds?: number): Promise<string>
  /** Whether it was handed to the queue. */
  isQueued(approval: string): Promise<boolean>
  /** What the queue holds of it: one task for each try in each browser. */
  tasks(approval: string): Promise<StoredTask[]>
  /** As if the time of every task that waits had come. */
  makeDue(): Promise<unknown>
  /** Takes what runs from whoever has it: nothing was heard of them for too long. */
  lapse(): Promise<unknown>
}

export interface PushProcess extends AsyncDisposable {
  /** Hands over all that is due, and waits until each was tried. */
  run(approval?: string): Promise<void>
  /** Hands over all that is due, begins it, and does not look again. */
  dispatch(): Promise<void>
}

const name = 'pushes'

export async function openPushWorld(kind: Backend['database']): Promise<PushWorld> {
  const database = await openTestDatabase(kind)
  const service = await startPushService()
  const clock = movableClock()
  const secret = randomBytes(32)
  const key = vapidKeyOf(secret)
  const subscriptions = createSubscriptions({ sql: database, seal: createSeal(secret), clock })
  const logged: string[] = []
  const boss = createBoss({ database, onError: (error) => logged.push(error.message) })
  const opened: PushProcess[] = []
  const starting: Promise<unknown>[] = []
  await database.query(
    `insert into agents (id, owner, title, purpose, issuer, sub) values ('bot', 'user:dan', 'Bot', 'tests', 'i', 's')`,
  )
  let count = 0
  const endProcesses = async (): Promise<void> => {
    for (const one of opened.splice(0)) await one[Symbol.asyncDispose]()
  }
  return {
    database,
    clock,
    subscriptions,
    logged,
    endProcesses,
    requests: service.requests,
    process({ everyMs = 3_600_000, ...over } = {}) {
      const queue = createPgBossQueue({
        database,
        boss,
        name,
        pollSeconds: 3_600,
        onError: (error) => logged.push(error.message),
      })
      const deps = {
        database,
        queue,
        notices: createNotices({ sql: database, clock }),
        subscriptions,
        messageFor: createMessages({ key, contact: 'mailto:operator@remit.test' }),
        fetch: createSystemFetch([service.origin]),
        clock,
        log: (event: string, fields?: object) => void logged.push(JSON.stringify({ event, ...fields })),
        assertOpen: over.assertOpen ?? (() => undefined),
      }
      const started = queue
        .start(createPushHandler({ ...deps, ...over }))
        .then(() => startPushes({ ...deps, everyMs }))
      starting.push(started)
      const process: PushProcess = {
        async run(approval) {
          // Where one begins on PGlite it takes what another one runs.
          await Promise.all(starting)
          await (await started).dispatch(approval)
          await drain(database, name, queue)
        },
        async dispatch() {
          await Promise.all(starting)
          await (await started).dispatch()
        },
        async [Symbol.asyncDispose]() {
          await (await started)[Symbol.asyncDispose]()
          await queue.close()
        },
      }
      opened.push(process)
      return process
    },
    async browser(person = 'anne') {
      const browser = service.browser(key.publicKey)
      const { endpoint, keys } = browser.subscription
      await subscriptions.save({ person, session: 'none' }, { endpoint, ...keys })
      return browser
    },
    async ask(person = 'anne', seconds = 300) {
      count += 1
      const [id, delegation, subject] = [`ap_${count}`, `d_${count}`, `user:${person}`]
      const [now, end] = [new Date(clock.now()), new Date(clock.now() + seconds * 1_000)]
      await database.query(
        `insert into delegations (id, subject, agent, sub_agents, scope, purpose, standing, expires_at, state, created_at)
         values ($1, $2, 'bot', '{}', '{}', 'tests', false, $4, 'live', $3)`,
        [delegation, subject, now, end],
      )
      await database.query(
        `insert into approvals (id, subject, agent, client, delegation, front, asked, digest, state, created_at, expires_at, txn)
         values ($1, $2, 'bot', 'app', $3, 'rest', '{}', $1, 'pending', $4, $5, 't_1')`,
        [id, subject, delegation, now, end],
      )
      return id
    },
    isQueued: async (approval) =>
      (await database.query('select 1 from push_notices where approval = $1', [approval])).length > 0,
    tasks: (approval) => tasksOf(database, name, `${approval} `),
    makeDue: () => makeDue(database, name),
    lapse: () => lapse(database, name),
    async [Symbol.asyncDispose]() {
      await endProcesses()
      await boss[Symbol.asyncDispose]()
      await database.close()
      await service[Symbol.asyncDispose]()
    },
  }
}
