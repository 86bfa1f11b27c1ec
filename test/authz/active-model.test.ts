import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type ActiveModel, followModel } from '../../src/authz/model/active.ts'
import { type ModelVersion, readPin, writePin } from '../../src/authz/model/pin.ts'
import { AppError } from '../../src/kernel/errors.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import { openWorld } from '../support/world.ts'

const version = (id: string): ModelVersion => ({
  id,
  digest: `digest of ${id}`,
  dsl: undefined,
  allowList: undefined,
  json: { schema_version: '1.1', type_definitions: [] },
  plan: undefined,
  activatedBy: [],
  activatedAt: new Date(0),
})

let database: Database
let models: ActiveModel[]
let logged: string[]
beforeEach(async () => {
  database = await openTestDatabase()
  models = []
  logged = []
  await pin('one')
})
afterEach(async () => {
  for (const model of models) await model[Symbol.asyncDispose]()
  await database.close()
})

const pin = (id: string, store = 's') => database.transaction((sql) => writePin(sql, store, version(id)))

function follow(pollMs?: number, staleAfterMs = 60_000): ActiveModel {
  const model = followModel({
    sql: database,
    storeId: 's',
    first: version('one'),
    staleAfterMs,
    log: (event) => logged.push(event),
    ...(pollMs !== undefined && { pollMs }),
  })
  models.push(model)
  return model
}

test('another process that puts a model in force is noticed without a word from it', async () => {
  const model = follow(20)
  const told: string[] = []
  model.onChange(({ id }) => void told.push(`${id} ${model.current.id}`))
  await pin('two')
  await expect.poll(() => model.current.id, { interval: 20 }).toBe('two')
  expect(model.current).toEqual(version('two'))
  expect(told).toEqual(['two two'])
})

test('a change is there, and all are told, when refresh resolves', async () => {
  const model = follow()
  const told: string[] = []
  model.onChange(async ({ id }) => {
    await new Promise((resolve) => setTimeout(resolve, 20))
    told.push(id)
  })
  await pin('two')
  await model.refresh()
  await model.refresh()
  expect(model.current.id).toBe('two')
  expect(told).toEqual(['two'])
})

test('a pin that names another store, or a model that is not kept, changes nothing, and soon nobody is answered', async () => {
  const model = follow(20, 200)
  expect(model.idInForce()).toBe('one')
  await pin('two', 'other')
  await expect(model.refresh()).rejects.toThrow('another store')
  expect(model.current.id).toBe('one')
  await database.query(
    `update settings set value = '{"store_id":"s","model_id":"lost","digest":""}' where key = 'authorization_model'`,
  )
  await expect(model.refresh()).rejects.toThrow('not kept')
  await expect.poll(() => logged, { interval: 20 }).toContain('model_unread')
  expect(model.current.id).toBe('one')
  // Under the one in force less may be readable.
  await expect.poll(() => attempt(model.idInForce), { interval: 20 }).toBe('authorization_unavailable')
  await pin('one')
  await expect.poll(() => attempt(model.idInForce), { interval: 20 }).toBe('one')
})

test('a model that could not be looked for in time is asked about no more, also where the clock was set back', async () => {
  const model = follow(20, 200)
  await pin('two', 'other')
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3_600_000 })
  try {
    await expect.poll(() => attempt(model.idInForce), { interval: 20 }).toBe('authorization_unavailable')
  } finally {
    vi.useRealTimers()
  }
})

test('after a sleep nobody is answered by the model from before, until it was looked for again', async () => {
  const model = follow(1e9)
  await model.refresh()
  expect(attempt(model.idInForce)).toBe('one')
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 })
  try {
    expect(model.isKnown).toBe(false)
    expect(attempt(model.idInForce)).toBe('authorization_unavailable')
    await model.refresh()
    expect(attempt(model.idInForce)).toBe('one')
  } finally {
    vi.useRealTimers()
  }
})

test('a refresh that failed is tried again by itself, nobody is answered meanwhile, and all are told once', async () => {
  const model = followModel({
    sql: database,
    storeId: 's',
    first: version('one'),
    retryMs: 50,
    log: (event) => logged.push(event),
  })
  models.push(model)
  const told: string[] = []
  let isBroken = true
  model.onChange(({ id }) => {
    if (isBroken) throw new Error('cannot switch')
    told.push(id)
  })
  await pin('two')
  await expect(model.refresh()).rejects.toThrow('cannot switch')
  expect(attempt(model.idInForce)).toBe('authorization_unavailable')
  isBroken = false
  await expect.poll(() => attempt(model.idInForce), { interval: 20 }).toBe('two')
  expect(told).toEqual(['two'])
})

test('of two first starts one makes the pin, and the other takes it', async () => {
  await database.query('delete from settings')
  const first = (id: string) =>
    database.transaction((sql) => writePin(sql, id, version(id), { isFirst: true }))
  expect(await first('mine')).toBe(true)
  expect(await first('theirs')).toBe(false)
  expect((await readPin(database))?.store_id).toBe('mine')
})

function attempt(ask: () => string): string {
  try {
    return ask()
  } catch (error) {
    return error instanceof AppError ? error.code : 'another error'
  }
}

test('the service says on its operators’ page when the file is not the model in force', async () => {
  await using world = await openWorld()
  const details = async () =>
    (
      (await (await world.service.ops.request('http://127.0.0.1:8788/readyz')).json()) as {
        authorization_model: object
      }
    ).authorization_model
  expect(await details()).toMatchObject({ matches_file: true })
  await world.database.query(
    `insert into models select 'x', 'other', dsl, json, plan, activated_by, activated_at from models`,
  )
  await world.database.query(
    `update settings set value = value || '{"model_id":"x","digest":"other"}' where key = 'authorization_model'`,
  )
  await world.service.activeModel.refresh()
  expect(await details()).toEqual({ id: 'x', known: true, matches_file: false })
})
