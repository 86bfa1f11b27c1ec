import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Sql } from '../../src/store/sql.ts'
import { needsPostgres } from '../support/native.ts'
import { tellingModels } from '../support/told-models.ts'
import { openWorld, type World, type WorldOptions } from '../support/world.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const issuer = 'https://up.test'
const account = { issuer, sub: 'u-1' }
const who = { subject: 'user:dan', actors: [], client: 'remit-pages', txn: 't_1' } as const
const trusted = { issuer, audiences: { api: 'a', mcp: 'm' }, namespace: 'up', preset: 'generic' }

let world: World
/** Called when OpenFGA has a model that is about to come into force. */
let written: () => Promise<unknown> = async () => undefined
let number = 0

async function open(options: WorldOptions = {}): Promise<void> {
  world = await openWorld({
    env: { MODEL_APPLY_APPROVERS: '2', TRUSTED_ISSUERS: JSON.stringify([trusted]) },
    openfga: tellingModels(() => written()),
    ...options,
  })
  const { administrators, people } = world.service
  await people.arrive({ key: 'up/u-1', name: 'Dan elsewhere' }, account)
  for (const key of ['dan', 'carol', 'bob', 'up/u-1'])
    await administrators.add(`user:${key}`, ['security.write'])
}
const reset = async () => {
  written = async () => undefined
  await world.database.query('delete from account_links')
  await world.database.query('delete from account_links_ended')
  await world.database.query('delete from revocations')
}

async function call(user: string, path: string, body?: object) {
  const token = await world.token({ user })
  const response = await world.call(body === undefined ? 'GET' : 'POST', path, {
    token,
    ...(body && { body }),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}
async function plan(user = 'carol'): Promise<string> {
  number += 1
  const model = dsl.replace('# People, and', `# People ${number}, and`)
  const { status, body } = await call(user, '/model/plan', { model })
  if (status !== 200) throw new Error(JSON.stringify(body))
  return (body['plan'] as { plan_id: string }).plan_id
}
const yes = (user: string, plan_id: string) => call(user, '/model/apply', { plan_id })
const link = () => world.service.accountLinks.link({ ...account, person: 'dan' }, who)
const unlink = () => world.service.accountLinks.unlink({ ...account, person: 'dan' }, who)

describe('of those who confirm a plan', () => {
  beforeAll(() => open())
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(reset)

  test('one who was disabled between the yeses does not count, and enabling brings the yes not back', async () => {
    const id = await plan()
    expect(await yes('dan', id)).toMatchObject({ status: 202 })
    await world.service.issuer.barring.bar('dan')
    expect(await yes('carol', id)).toMatchObject({ status: 202 })
    await world.service.issuer.barring.admit('dan')
    expect((await call('carol', '/model')).body['awaiting']).toMatchObject([{ approved_by: ['user:carol'] }])
    expect(await yes('bob', id)).toMatchObject({
      status: 200,
      body: { approved_by: ['user:carol', 'user:bob'] },
    })
  })

  test('one who is disabled between the last yes and the switch stops it', async () => {
    const id = await plan()
    await yes('dan', id)
    written = () => world.service.issuer.barring.bar('dan')
    expect(await yes('carol', id)).toMatchObject({ status: 403 })
    written = async () => undefined
    expect(await yes('carol', id)).toMatchObject({ status: 202 })
  })

  test('one whose account elsewhere is disabled does not count, and administers nothing', async () => {
    const id = await plan()
    await yes('dan', id)
    await link()
    expect(await call('dan', '/model')).toMatchObject({ status: 200 })
    await world.service.issuer.barring.bar('up/u-1')
    expect(await call('dan', '/model')).toMatchObject({ status: 403 })
    expect(await world.service.administrators.rolesOf('user:dan')).toEqual([])
    expect(await yes('carol', id)).toMatchObject({ status: 202 })
  })

  test('one who ends the link to a disabled account afterwards stays out; one who ended it before does not', async () => {
    const { administrators, issuer: own } = world.service
    await link()
    await own.barring.bar('up/u-1')
    await unlink()
    expect(await administrators.rolesOf('user:dan')).toEqual([])
    await own.barring.admit('up/u-1')
    expect(await administrators.rolesOf('user:dan')).toEqual(['security.write'])
    await own.barring.bar('up/u-1')
    expect(await administrators.rolesOf('user:dan')).toEqual(['security.write'])
  })

  test.each(['before the plan', 'before the first yes', 'before the second yes'])(
    'one with two accounts, linked %s, is one person by either',
    async (moment) => {
      if (moment === 'before the plan') await link()
      // The proposer is the same person, and no more of one for it.
      const id = await plan('up/u-1')
      if (moment === 'before the first yes') await link()
      expect(await yes('up/u-1', id)).toMatchObject({ status: 202 })
      if (moment === 'before the second yes') await link()
      expect(await yes('dan', id)).toMatchObject({ status: 409, body: { code: 'conflict' } })
      expect(await yes('carol', id)).toMatchObject({ status: 200 })
    },
  )

  test('two accounts that become one while the model is tried stop it', async () => {
    const id = await plan()
    await yes('up/u-1', id)
    written = link
    expect(await yes('dan', id)).toMatchObject({ status: 409 })
    written = async () => undefined
    expect(await yes('carol', id)).toMatchObject({ status: 200 })
  })

  test('one who ends the link is not two people: neither after a yes, nor before the first', async () => {
    await link()
    const first = await plan()
    await yes('dan', first)
    await unlink()
    expect(await yes('up/u-1', first)).toMatchObject({ status: 409 })
    const second = await plan()
    await yes('up/u-1', second)
    await link()
    await unlink()
    expect(await yes('dan', second)).toMatchObject({ status: 409 })
  })

  test('two who were one before the plan was made, and are no more, are two', async () => {
    await link()
    await unlink()
    await new Promise((resolve) => setTimeout(resolve, 2))
    const id = await plan()
    await yes('up/u-1', id)
    expect(await yes('dan', id)).toMatchObject({ status: 200 })
  })

  test('no role is given to a name that is linked, and it is said to whom it belongs', async () => {
    await link()
    await expect(world.service.administrators.add('user:up/u-1', ['security.read'])).rejects.toMatchObject({
      field: 'subject',
      public: expect.stringContaining('Give the role to user:dan'),
    })
  })
})

describe('disabling somebody while they are counted', needsPostgres, () => {
  test('waits for whoever counts them, and is waited for', async () => {
    await open({ backend: { database: 'postgres', openfga: 'engine' } })
    await using opened = world
    await reset()
    const {
      administrators,
      issuer: { barring },
    } = opened.service
    const ends: string[] = []
    const counting = heldOpen(async (sql) => {
      expect(await administrators.keeps(sql, 'user:dan', 'security.write')).toBe(true)
    })
    await counting.begun
    const disabling = barring.bar('dan').then(() => ends.push('disabled'))
    await someoneWaits()
    ends.push('counted')
    counting.release()
    await Promise.all([counting.done, disabling])
    expect(ends).toEqual(['counted', 'disabled'])
    expect(await administrators.has('user:dan', 'security.write')).toBe(false)

    await barring.admit('dan')
    // As `bar` does, and then stands still.
    const barred = heldOpen(async (sql) => {
      await sql.query(`select from administrators where subject = 'user:dan' for update`)
      await sql.query(
        `insert into revocations (kind, key, reason, created_at) values ('subject', 'user:dan', 'test', now())`,
      )
    })
    await barred.begun
    const counted = opened.database.transaction((sql) =>
      administrators.keeps(sql, 'user:dan', 'security.write'),
    )
    await someoneWaits()
    barred.release()
    await barred.done
    expect(await counted).toBe(false)
  })
})

/** A transaction that ends when it is told to. */
function heldOpen(work: (sql: Sql) => Promise<unknown>) {
  const begun = Promise.withResolvers<void>()
  const held = Promise.withResolvers<void>()
  const done = world.database.transaction(async (sql) => {
    await work(sql)
    begun.resolve()
    await held.promise
  })
  done.catch(begun.reject)
  return { begun: begun.promise, release: () => held.resolve(), done }
}

async function someoneWaits(): Promise<void> {
  for (;;) {
    const [row] = await world.database.query<{ n: number }>(
      `select count(*) as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
    )
    if (row !== undefined && row.n > 0) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
