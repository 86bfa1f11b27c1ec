import { randomBytes } from 'node:crypto'
import { createMessages } from '../../../src/delegation/notify/message.ts'
import { createNotices } from '../../../src/delegation/notify/notices.ts'
import { createPushes, type Pushes, type PushesDeps } from '../../../src/delegation/notify/pushes.ts'
import { createSubscriptions, type Subscriptions } from '../../../src/delegation/notify/subscriptions.ts'
import { vapidKeyOf } from '../../../src/delegation/notify/vapid.ts'
import { createSystemFetch } from '../../../src/outbound/system.ts'
import { createSeal } from '../../../src/store/encryption.ts'
import type { Database } from '../../../src/store/sql.ts'
import type { Backend } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { type PushedBrowser, startPushService } from '../../support/push-service.ts'
import { type MovableClock, movableClock } from '../world.ts'

/** What telling people stands on, and nothing else: a database, a push service, a clock that stands still. */
export interface PushWorld extends AsyncDisposable {
  readonly database: Database
  readonly clock: MovableClock
  readonly subscriptions: Subscriptions
  readonly logged: string[]
  readonly requests: readonly string[]
  /** One process, as far as telling people goes: it looks by itself only when it is asked to. */
  process(over?: Partial<PushesDeps>): Pushes
  /** A browser in which the person is told. */
  browser(person?: string): Promise<PushedBrowser>
  /** A question that waits for its answer, as the table holds it; gives its id. */
  ask(person?: string, seconds?: number): Promise<string>
  /** The rows of what was to be told of it. */
  noted(approval: string): Promise<{ tries: number; done: boolean; told: readonly string[] }[]>
}

export async function openPushWorld(kind: Backend['database']): Promise<PushWorld> {
  const database = await openTestDatabase(kind)
  const service = await startPushService()
  const clock = movableClock()
  const secret = randomBytes(32)
  const key = vapidKeyOf(secret)
  const subscriptions = createSubscriptions({ sql: database, seal: createSeal(secret), clock })
  const logged: string[] = []
  const opened: Pushes[] = []
  await database.query(
    `insert into agents (id, owner, title, purpose, issuer, sub) values ('bot', 'user:dan', 'Bot', 'tests', 'i', 's')`,
  )
  let count = 0
  return {
    database,
    clock,
    subscriptions,
    logged,
    requests: service.requests,
    process(over = {}) {
      const pushes = createPushes({
        notices: createNotices({ sql: database, clock }),
        subscriptions,
        messageFor: createMessages({ key, contact: 'mailto:operator@remit.test' }),
        fetch: createSystemFetch([service.origin]),
        clock,
        log: (event, fields) => logged.push(JSON.stringify({ event, ...fields })),
        assertOpen: () => undefined,
        everyMs: 3_600_000,
        ...over,
      })
      opened.push(pushes)
      return pushes
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
    noted: (approval) =>
      database.query('select tries, done, told from push_notices where approval = $1', [approval]),
    async [Symbol.asyncDispose]() {
      for (const one of opened) await one[Symbol.asyncDispose]()
      await database.close()
      await service[Symbol.asyncDispose]()
    },
  }
}
