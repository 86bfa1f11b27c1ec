import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  createWhoCan,
  type WhoCan,
  type WhoCanPage,
  type WhoCanQuestion,
} from '../../../src/authz/explain/who-can.ts'
import type { Fga } from '../../../src/authz/fga.ts'
import { createLimiter } from '../../../src/authz/gate/limiter.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import { principal } from '../../http/principal.ts'
import { openWorld, type World } from '../../support/world.ts'
import { createTestIndex, type TestIndex } from '../parts.ts'

let world: World
let index: TestIndex
let whoCan: WhoCan
const now = Date.now
const admin: Principal = { ...principal, subject: 'user:dan', scopes: new Set(['security.read']) }
const crowd = Array.from({ length: 25 }, (_, i) => `user:m${String(i).padStart(2, '0')}`)

const lines = [
  'user:anne owner document:plan',
  'user:bob blocked document:plan',
  'group:eng#member viewer folder:plans',
  'folder:plans parent document:plan',
  'group:core#member member group:eng',
  'user:bob member group:eng',
  'user:carol member group:core',
  'user:* viewer document:open',
  'user:bob blocked document:open',
  'user:anne viewer document:open',
  ...crowd.map((user) => `${user} viewer document:crowd`),
]

const limiter = createLimiter(200)
beforeAll(async () => {
  world = await openWorld()
  await world.write(...lines)
  index = createTestIndex(world.service.fga.modelId, now)
  index.add(
    ...lines.map((line) => {
      const [user = '', relation = '', object = ''] = line.split(' ')
      return { user, relation, object: object as FgaObject }
    }),
  )
  whoCan = createWhoCan({ sql: world.database, fga: world.service.fga, index, limiter, now })
})
afterAll(() => world?.[Symbol.asyncDispose]())

const ask = (question: Partial<WhoCanQuestion>, how = whoCan): Promise<WhoCanPage> =>
  how(
    admin,
    { relation: 'can_read', object: 'document:plan', limit: 200, ...question },
    { signal: AbortSignal.timeout(20_000) },
  )

describe('who can', () => {
  test('names people, groups followed to them, with the way of each, and leaves out whom an exclusion takes', async () => {
    const { entries, cursor, complete } = await ask({})
    expect(entries).toEqual([
      { kind: 'person', user: 'user:anne', via: 'owner of document:plan' },
      {
        kind: 'person',
        user: 'user:carol',
        via: 'member of group:core, member of group:eng, viewer of folder:plans, parent of document:plan',
      },
    ])
    expect({ cursor, complete }).toEqual({ cursor: undefined, complete: true })
  })

  test('says everyone once, with those who are left out of it', async () => {
    const { entries } = await ask({ object: 'document:open' })
    expect(entries).toEqual([
      { kind: 'everyone', user: 'user:*', via: 'viewer of document:open' },
      { kind: 'person', user: 'user:anne', via: 'viewer of document:open' },
      { kind: 'excluded', user: 'user:bob', via: undefined },
    ])
  })

  test('comes in pages that hold everybody once', async () => {
    const seen: string[] = []
    let cursor: string | undefined
    let pages = 0
    do {
      const page: WhoCanPage = await ask({ object: 'document:crowd', limit: 10, ...(cursor && { cursor }) })
      expect(page.entries.length).toBeLessThanOrEqual(10)
      expect(page.complete).toBe(true)
      seen.push(...page.entries.map(({ user }) => user))
      cursor = page.cursor
      pages++
    } while (cursor !== undefined)
    expect(seen).toEqual(crowd)
    expect(pages).toBe(3)
  })

  test('has OpenFGA’s word for each: whom only the replica lets in is not named', async () => {
    const stale = createTestIndex(world.service.fga.modelId, now)
    stale.add(
      { user: 'user:anne', relation: 'owner', object: 'document:plan' },
      { user: 'user:mallory', relation: 'owner', object: 'document:plan' },
    )
    const { entries } = await ask(
      {},
      createWhoCan({ sql: world.database, fga: world.service.fga, index: stale, limiter, now }),
    )
    expect(entries.map(({ user }) => user)).toEqual(['user:anne'])
  })

  test.each([
    ['the replica is being built', (copy: TestIndex) => ({ ...copy, view: () => undefined })],
    [
      'the replica cannot catch up',
      (copy: TestIndex) => ({ ...copy, catchUp: () => Promise.reject(new Error('no')) }),
    ],
    [
      'the replica cannot read on',
      (copy: TestIndex) => ({ ...copy, status: () => ({ ...copy.status(), state: 'broken' as const }) }),
    ],
  ])('is not complete when %s', async (_, spoil) => {
    const how = createWhoCan({
      sql: world.database,
      fga: world.service.fga,
      index: spoil(index),
      limiter,
      now,
    })
    expect((await ask({}, how)).complete).toBe(false)
  })

  test('is not complete when OpenFGA did not answer about somebody', async () => {
    const { fga } = world.service
    const silent: Fga = Object.create(fga, {
      batchCheck: {
        value: async (...given: Parameters<Fga['batchCheck']>) => {
          const { verdicts, requestIds } = await fga.batchCheck(...given)
          return { verdicts: verdicts.with(0, 'error'), requestIds }
        },
      },
    })
    const { entries, complete } = await ask(
      {},
      createWhoCan({ sql: world.database, fga: silent, index, limiter, now }),
    )
    expect(entries.map(({ user }) => user)).toEqual(['user:carol'])
    expect(complete).toBe(false)
  })

  test('is on record before it is given', async () => {
    await ask({ object: 'document:crowd', limit: 10 })
    const [row] = await world.database.query<{ subject: string; detail: object }>(
      `select subject, detail from decision_records where event = 'who_can_listed' order by record_no desc limit 1`,
    )
    expect(row).toMatchObject({
      subject: 'user:dan',
      detail: {
        object: 'document:crowd',
        relation: 'can_read',
        continued: false,
        listed: 10,
        complete: true,
      },
    })
    const sql = { ...world.database, query: () => Promise.reject(new Error('down')) }
    await expect(ask({}, createWhoCan({ sql, fga: world.service.fga, index, limiter, now }))).rejects.toThrow(
      'down',
    )
  })

  test.each([
    ['object', { object: 'document' as FgaObject }],
    ['object', { object: 'robot:x' as FgaObject }],
    ['relation', { relation: 'nothing' }],
    ['relation', { relation: 'can_read_delegated' }],
    ['relation', { relation: 'in_scope' }],
    ['relation', { relation: 'filed_in' }],
    ['cursor', { cursor: 'x' }],
    ['cursor', { cursor: Buffer.from('["document:other","can_read","user:a"]').toString('base64url') }],
  ])('is refused with the field %s for %j', async (field, question) => {
    await expect(ask(question)).rejects.toMatchObject({ code: 'invalid_request', field })
  })
})
