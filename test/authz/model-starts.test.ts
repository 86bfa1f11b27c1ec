import { readFileSync } from 'node:fs'
import { FgaApiValidationError } from '@openfga/sdk'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { embeddedUrl, openEmbedded } from '../../src/authz/embedded.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { type DeployedModel, type DeployOptions, deployModel } from '../../src/authz/model/deploy.ts'
import { digestOf, digestOfVersion, readDsl } from '../../src/authz/model/dsl.ts'
import { type ModelVersion, readPin, writePin } from '../../src/authz/model/pin.ts'
import { createFgaApi } from '../../src/authz/openfga.ts'
import { OperatorError } from '../../src/kernel/operator-error.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'

const textOf = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const dsl = textOf('model.fga')
const list = textOf('model.allow-list.yaml')
const other = `${dsl}\n# Another.\n`
const formerDsl = dsl.replace(/\n# Remit's own marks[\s\S]*?(?=\ncondition )/, '')
const row = '    viewer: { subjects: [ user ], write: administrator, delete: administrator }\n'
const narrow = `schema: 1\ntypes:\n  collection:\n${row}`
const lacking = `${narrow}  contract:\n${row}  invoice:\n${row}`

let database: Database
let api: FgaApi
beforeAll(async () => {
  database = await openTestDatabase()
  const { adapter } = await openEmbedded(database, Date.now, () => undefined)
  api = createFgaApi({ apiUrl: embeddedUrl, timeoutMs: 30_000, adapter })
}, 180_000)
afterAll(() => database?.close())
/** As before the first start. */
beforeEach(async () => {
  await database.query(`delete from settings where key = 'authorization_model'`)
  await database.query('delete from models')
  for (const { id } of (await api.listStores()).stores) await api.deleteStore(id)
})

const start = (change: Partial<DeployOptions> = {}): Promise<DeployedModel> =>
  deployModel({ api, database, dsl, redeploy: false, newTxn: () => 't_test', now: () => 5, ...change })
const stores = async () => (await api.listStores()).stores.map(({ name }) => name)
const modelsIn = async (store: string) =>
  (await api.readAuthorizationModels(store)).authorization_models.length

/** Puts a model in force beside what was, as an older version would. */
async function putInForce(
  storeId: string,
  text: string,
  more: Partial<ModelVersion> = {},
): Promise<ModelVersion> {
  const json = readDsl(text)
  const { authorization_model_id: id } = await api.writeAuthorizationModel(storeId, json)
  const version: ModelVersion = {
    id,
    digest: digestOf(text),
    dsl: text,
    json,
    allowList: undefined,
    plan: 'm_x',
    activatedBy: ['user:kim', 'user:lea'],
    activatedAt: new Date(7),
    ...more,
  }
  await database.transaction((sql) => writePin(sql, storeId, version))
  return version
}
/** OpenFGA that does this in place of one call. */
const answering = (name: keyof FgaApi, answer: (...args: never[]) => Promise<unknown>): FgaApi =>
  new Proxy(api, {
    get(target, asked) {
      if (asked === name) return answer
      const value: unknown = Reflect.get(target, asked)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })

describe('the first start', () => {
  test('makes a store, puts the file’s model and list in force, and is the last that does', async () => {
    const first = await start({ allowList: list })
    expect(first.model).toEqual({
      id: expect.any(String),
      digest: digestOfVersion(dsl, list),
      dsl,
      json: readDsl(dsl),
      allowList: list,
      plan: undefined,
      activatedBy: [],
      activatedAt: new Date(5),
    })
    expect(await stores()).toEqual(['remit'])
    for (const change of [{ allowList: list }, { dsl: other, allowList: narrow }, {}])
      expect(await start(change)).toEqual(first)
    expect(await start({ allowList: list, redeploy: true })).toEqual(first)
    expect(await modelsIn(first.storeId)).toBe(1)
  })

  test('without a list has none', async () => {
    expect((await start()).model.allowList).toBeUndefined()
  })

  test('of two at once puts one model in force for both', async () => {
    const [one, two] = await Promise.all([start(), start({ dsl: other })])
    expect(one).toEqual(two)
    expect(await readPin(database)).toMatchObject({ store_id: one.storeId, model_id: one.model.id })
  })

  test('makes nothing of a list that does not fit or is none, and names each line', async () => {
    const refused = await start({ allowList: lacking }).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(OperatorError)
    expect((refused as Error).message.split('\n')).toEqual([
      expect.stringMatching(
        /^model\.allow-list\.yaml:\d+: contract#viewer: The model has no type contract\.$/,
      ),
      expect.stringMatching(/^model\.allow-list\.yaml:\d+: invoice#viewer: The model has no type invoice\.$/),
    ])
    const none = await start({ allowList: 'types: [' }).catch((error: unknown) => error)
    expect(none).toBeInstanceOf(OperatorError)
    expect((none as Error).message).toContain('model.allow-list.yaml')
    expect(await stores()).toEqual([])
  })

  test('of a model that is refused says why and what to do, whether the engine or OpenFGA refuses it', async () => {
    const ghost = await start({ dsl: dsl.replace('define owner: [user', 'define owner: [ghost') }).catch(
      (error: unknown) => error,
    )
    expect(ghost).toBeInstanceOf(OperatorError)
    expect((ghost as Error).message).toMatch(/^OpenFGA refuses the authorization model: .*ghost/)
    expect(await stores()).toEqual([])
    const refusing = (told: object) =>
      start({
        api: answering('writeAuthorizationModel', () =>
          Promise.reject(Object.assign(Object.create(FgaApiValidationError.prototype), told)),
        ),
      })
    await expect(refusing({ apiErrorMessage: 'too big', apiErrorCode: 'x' })).rejects.toThrow(
      'OpenFGA refuses the authorization model: too big.',
    )
    await expect(refusing({ apiErrorCode: 'no_code' })).rejects.toThrow('model: no_code.')
    const gone = new Error('gone')
    await expect(
      start({ api: answering('writeAuthorizationModel', () => Promise.reject(gone)) }),
    ).rejects.toBe(gone)
    expect(await readPin(database)).toBeUndefined()
  })

  test('uses the store that is named, and no other start names another', async () => {
    const { id } = await api.createStore({ name: 'ours' })
    expect(await start({ storeId: id })).toMatchObject({ storeId: id })
    expect(await start({ storeId: id })).toMatchObject({ storeId: id })
    const { id: theirs } = await api.createStore({ name: 'theirs' })
    await expect(start({ storeId: theirs })).rejects.toThrow(
      `${theirs}, but this database belongs to store ${id}.`,
    )
    expect(await modelsIn(theirs)).toBe(0)
  })
})

describe('a start that deploys anew, as in the demo,', () => {
  test('takes what fits of the list in force where the file has none, and its own where it has one', async () => {
    const first = await start({ allowList: narrow })
    const second = await start({ dsl: other, redeploy: true })
    expect(second).toMatchObject({ storeId: first.storeId, model: { dsl: other, allowList: narrow } })
    const third = await start({ dsl: other, allowList: list, redeploy: true })
    expect(third.model).toMatchObject({ allowList: list, plan: undefined, activatedBy: [] })
    const pin = await readPin(database)
    expect(pin).toMatchObject({ model_id: third.model.id, digest: digestOfVersion(other, list) })
  })

  test('keeps what people confirmed', async () => {
    const { storeId } = await start()
    const confirmed = await putInForce(storeId, other)
    expect((await start({ redeploy: true })).model.id).toBe(confirmed.id)
  })

  test('does so also where the model in force was not kept', async () => {
    await start()
    await database.query('delete from models')
    expect((await start({ dsl: other, redeploy: true })).model.dsl).toBe(other)
  })
})

describe('a start on a model of before', () => {
  test('there were own marks adds them, keeps who confirmed it, and is on record', async () => {
    const { storeId } = await start()
    const older = await putInForce(storeId, formerDsl)
    const later = await start()
    expect(later.model).toMatchObject({
      plan: 'm_x',
      activatedBy: ['user:kim', 'user:lea'],
      activatedAt: new Date(5),
      allowList: undefined,
    })
    expect(later.model.json.type_definitions.map(({ type }) => type).sort()).toEqual(
      readDsl(dsl)
        .type_definitions.map(({ type }) => type)
        .sort(),
    )
    expect(await readPin(database)).toMatchObject({ store_id: storeId, model_id: later.model.id })
    const records = await database.query<{ detail: object }>(
      `select event, subject, txn, detail from decision_records where detail->>'base_model' = $1`,
      [older.id],
    )
    expect(records).toEqual([
      {
        event: 'model_activated',
        subject: expect.any(String),
        txn: 't_test',
        detail: { digest: later.model.digest, base_model: older.id, model_id: later.model.id },
      },
    ])
    expect(await start()).toEqual(later)
    expect(await modelsIn(storeId)).toBe(3)
  })

  test('there were own marks, where two start at once, adds them once', async () => {
    const { storeId } = await start()
    const older = await putInForce(storeId, formerDsl)
    const [one, two] = await Promise.all([start(), start()])
    expect(one.model.id).toBe(two.model.id)
    const records = await database.query(`select from decision_records where detail->>'base_model' = $1`, [
      older.id,
    ])
    expect(records).toHaveLength(1)
  })

  test('is refused where it means something else by the names of own marks', async () => {
    const { storeId } = await start()
    await putInForce(
      storeId,
      dsl.replace(/(type fence\n {2}relations\n {4}define turn: )\[turn\]/, '$1[user]'),
    )
    await expect(start({ allowList: list })).rejects.toThrow(/The model in force cannot be used: fence/)
    await expect(start({ allowList: list })).rejects.toBeInstanceOf(OperatorError)
  })

  test.each([
    ['gets the list that was last in force, whatever the file says', narrow, narrow],
    ['gets what it has a place for of that list', lacking, narrow],
    [
      'gets none where it refuses a row of that list: nobody writes until people confirm another',
      `${narrow}  delegation:\n    delegator: { subjects: [user with until], write: administrator }\n`,
      undefined,
    ],
    ['gets the file’s where there was none', undefined, list],
  ])('there were lists %s', async (_, before, after) => {
    const { storeId } = await start({ allowList: list })
    await database.query('update models set allow_list = $1', [before ?? null])
    const older = await putInForce(storeId, dsl)
    const started = await start({ allowList: list })
    expect(started.model).toMatchObject({
      allowList: after,
      plan: 'm_x',
      activatedBy: ['user:kim', 'user:lea'],
    })
    expect(started.model.id === older.id).toBe(after === undefined)
    expect(await start({ allowList: list })).toEqual(started)
  })

  test('there were lists is refused with the file’s, where that does not fit', async () => {
    const { storeId } = await start()
    await putInForce(storeId, dsl)
    const unfit = `${narrow}  delegation:\n    delegator: { subjects: [user with until], write: administrator }\n`
    await expect(start({ allowList: unfit })).rejects.toBeInstanceOf(OperatorError)
    await expect(start({ allowList: 'types: [' })).rejects.toBeInstanceOf(OperatorError)
  })

  test('models were kept keeps it, with its text where the file still has it', async () => {
    const { model } = await start()
    for (const [file, text] of [
      [dsl, dsl],
      [other, undefined],
    ] as const) {
      await database.query('delete from models')
      const kept = {
        ...model,
        dsl: text,
        json: expect.objectContaining({ schema_version: '1.1' }),
        activatedAt: new Date(9),
      }
      const { model: again } = await start({ dsl: file, now: () => 9 })
      expect(again).toEqual(kept)
      expect(again.json).not.toHaveProperty('id')
      expect(again.json.type_definitions).toHaveLength(model.json.type_definitions.length)
      expect((await start({ dsl: file, now: () => 10 })).model).toEqual(kept)
    }
  })
})

describe('a start does not come about', () => {
  test('where OpenFGA has lost the store or the model', async () => {
    const { storeId } = await start()
    const unavailable = { code: 'authorization_unavailable' }
    await expect(start({ api: answering('readAuthorizationModel', async () => ({})) })).rejects.toMatchObject(
      { ...unavailable, cause: { message: 'no model in the answer' } },
    )
    await api.deleteStore(storeId)
    await expect(start()).rejects.toMatchObject(unavailable)
  })
})
