import { readFile } from 'node:fs/promises'
import { compileModel } from '@remit/engine'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { embeddedUrl, openEmbedded } from '../../src/authz/embedded.ts'
import { deployModel } from '../../src/authz/model/deploy.ts'
import { digestOf, readDsl } from '../../src/authz/model/dsl.ts'
import { refusalsOf } from '../../src/authz/model/invariants.ts'
import { writePin } from '../../src/authz/model/pin.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import { OperatorError } from '../../src/kernel/operator-error.ts'
import type { Database } from '../../src/store/sql.ts'
import { describeBackends } from '../support/backends.ts'
import { openTestDatabase } from '../support/database.ts'
import { native } from '../support/native.ts'

const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
// Everybody may read everything: what a stray file must never bring about.
const stray = dsl.replace('define can_read: viewer but not blocked', 'define can_read: viewer')
// As it was before the service kept marks of its own in OpenFGA.
const formerDsl = dsl.replace(/\n# Remit's own marks[\s\S]*?(?=\ncondition )/, '')
const former = { id: '' }

const refusedModel = `model
  schema 1.1
type user
type document
  relations
    define viewer: [ghost]
`

describeBackends('the model', (backend) => {
  let database: Database
  beforeEach(async () => {
    database = await openTestDatabase(backend.database)
  })
  afterEach(() => database?.close())

  /** A new start: nothing is left of the process before, the database is. */
  async function openApi() {
    if (backend.openfga === 'server') {
      const { url, token } = native.openfga ?? { url: '', token: '' }
      return createFgaApi({ apiUrl: url, apiToken: token, timeoutMs: 4_000 })
    }
    const { adapter } = await openEmbedded(database, Date.now, () => undefined)
    return createFgaApi({ apiUrl: embeddedUrl, timeoutMs: 4_000, adapter })
  }

  const start = async (
    change: { readonly dsl?: string; readonly redeploy?: boolean; readonly storeId?: string } = {},
  ) =>
    deployModel({
      api: await openApi(),
      database,
      dsl,
      redeploy: false,
      newTxn: () => 't_test',
      now: Date.now,
      ...change,
    })

  const modelsIn = async (storeId: string): Promise<number> =>
    (await (await openApi()).readAuthorizationModels(storeId)).authorization_models.length

  test('is deployed at the first start only, and pinned', async () => {
    const first = await start()
    expect(first.model).toMatchObject({ dsl, activatedBy: [] })
    expect(await start()).toEqual(first)
    expect(await modelsIn(first.storeId)).toBe(1)
  })

  test('that OpenFGA refuses ends the start with what it says and what to do, not with the request', async () => {
    const error = await start({ dsl: refusedModel }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OperatorError)
    expect(error).toMatchObject({
      message: expect.stringMatching(/^OpenFGA refuses the authorization model: .*ghost.*mend/),
      cause: undefined,
    })
  })

  test('stays in force when the file differs', async () => {
    const first = await start()
    expect(await start({ dsl: stray })).toEqual(first)
    expect(await modelsIn(first.storeId)).toBe(1)
  })

  test('decides as before when the file differs', async () => {
    const { storeId, model } = await start()
    const fga = createFga(await openApi(), storeId, () => model.id)
    await fga.write({
      writes: [
        { user: 'user:anne', relation: 'viewer', object: 'document:a' },
        { user: 'user:anne', relation: 'blocked', object: 'document:a' },
      ],
    })
    const later = await start({ dsl: stray })
    const { verdicts } = await createFga(await openApi(), later.storeId, () => later.model.id).batchCheck(
      [{ user: 'user:anne', relation: 'can_read', object: 'document:a' }],
      { now: Date.now() },
    )
    expect(verdicts).toEqual(['denied'])
  })

  test('is deployed again in the same store where that is wanted, as in the demo', async () => {
    const first = await start()
    const second = await start({ dsl: stray, redeploy: true })
    expect(second).toMatchObject({ storeId: first.storeId, model: { dsl: stray } })
    expect(second.model.id).not.toBe(first.model.id)
    expect(await start({ dsl: stray, redeploy: true })).toEqual(second)
    expect(await modelsIn(first.storeId)).toBe(2)
  })

  test('goes into the store that is named, and into no other afterwards', async () => {
    const { id } = await (await openApi()).createStore({ name: 'ours' })
    const { id: other } = await (await openApi()).createStore({ name: 'theirs' })
    expect(await start({ storeId: id })).toMatchObject({ storeId: id })
    expect(await start()).toMatchObject({ storeId: id })
    await expect(start({ storeId: other })).rejects.toThrow('this database belongs to store')
    await expect(start({ storeId: other, redeploy: true, dsl: stray })).rejects.toThrow('belongs to store')
    expect(await modelsIn(other)).toBe(0)
  })

  test('of before there were own marks gets them at the next start, and decides as before', async () => {
    const { storeId, model } = await start()
    await putFormer(storeId)
    const fga = createFga(await openApi(), storeId, () => former.id)
    await fga.write({
      writes: [
        { user: 'user:anne', relation: 'viewer', object: 'document:a' },
        { user: 'user:bob', relation: 'viewer', object: 'document:a' },
        { user: 'user:bob', relation: 'blocked', object: 'document:a' },
      ],
    })
    const mark = { user: 'turn:1', relation: 'turn', object: 'fence:a' } as const
    await expect(fga.write({ writes: [mark] })).rejects.toThrow()

    const later = await start()
    expect(later.model).toMatchObject({ plan: 'm_x', activatedBy: ['user:kim', 'user:lea'] })
    expect(later.model.id).not.toBe(former.id)
    expect(refusalsOf(compileModel(later.model.json))).toEqual([])
    expect(
      readDsl(later.model.dsl ?? '')
        .type_definitions.map(({ type }) => type)
        .sort(),
    ).toEqual(model.json.type_definitions.map(({ type }) => type).sort())
    const after = createFga(await openApi(), storeId, () => later.model.id)
    const checks = ['user:anne', 'user:bob', 'user:carol'].map((user) => ({
      user,
      relation: 'can_read',
      object: 'document:a' as const,
    }))
    expect((await after.batchCheck(checks, { now: Date.now() })).verdicts).toEqual(
      (await fga.batchCheck(checks, { now: Date.now() })).verdicts,
    )
    await after.write({ writes: [mark] })

    expect(await start()).toEqual(later)
    expect(
      await database.query(`select event from decision_records where event = 'model_activated'`),
    ).toHaveLength(1)
  })

  /** As it was deployed before: without the types of own marks, and confirmed by people. */
  async function putFormer(storeId: string): Promise<void> {
    const json = readDsl(formerDsl)
    const { authorization_model_id: id } = await (await openApi()).writeAuthorizationModel(storeId, json)
    former.id = id
    await database.transaction((sql) =>
      writePin(sql, storeId, {
        id,
        digest: digestOf(formerDsl),
        dsl: formerDsl,
        json,
        allowList: undefined,
        plan: 'm_x',
        activatedBy: ['user:kim', 'user:lea'],
        activatedAt: new Date(),
      }),
    )
  }

  test('of before there were own marks gets them once where two processes start at once', async () => {
    const { storeId } = await start()
    await putFormer(storeId)
    const api = await openApi()
    const begin = () =>
      deployModel({ api, database, dsl, redeploy: false, newTxn: () => 't_test', now: Date.now })
    const [one, other] = await Promise.all([begin(), begin()])
    expect(one.model.id).toBe(other.model.id)
  })

  test('that the server has lost does not start, where an empty answer to every read would follow', async () => {
    const { storeId } = await start()
    await (await openApi()).deleteStore(storeId)
    await expect(start()).rejects.toEqual(expect.objectContaining({ code: 'authorization_unavailable' }))
  })
})

describe('a file that is no model', () => {
  test('is refused before anything is made', async () => {
    await using database = await openTestDatabase()
    const { adapter } = await openEmbedded(database, Date.now, () => undefined)
    const api = createFgaApi({ apiUrl: embeddedUrl, timeoutMs: 4_000, adapter })
    await expect(
      deployModel({
        api,
        database,
        dsl: 'model\n  nonsense',
        redeploy: false,
        newTxn: () => 't_test',
        now: Date.now,
      }),
    ).rejects.toThrow()
    expect(await database.query(`select 1 from settings where key = 'authorization_model'`)).toEqual([])
    expect((await api.listStores()).stores).toEqual([])
  })
})
