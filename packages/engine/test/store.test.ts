import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../src/core/condition-values.ts'
import {
  type ChangeRow,
  createEngine,
  type Engine,
  type Journal,
  type ModelRow,
  type StoreRow,
  type TupleRow,
} from '../src/index.ts'
import { parseDsl } from './support/target.ts'

const model = parseDsl(`model
  schema 1.1
type user
type document
  relations
    define viewer: [user, user with soon]
condition soon(x: int) {
  x < 3
}
`)

interface Answer {
  readonly status: number
  readonly body: JsonObject
  readonly headers: Headers
}

async function call(engine: Engine, method: string, path: string, body?: JsonObject): Promise<Answer> {
  const response = await engine.fetch(
    new Request(`http://engine${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  )
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text === '' ? {} : JSON.parse(text) }
}

async function openStore(engine: Engine): Promise<string> {
  const { body } = await call(engine, 'POST', '/stores', { name: 'a store' })
  const store = `/stores/${String(body['id'])}`
  expect((await call(engine, 'POST', `${store}/authorization-models`, model)).status).toBe(201)
  return store
}

const key = (user: string, object: string): JsonObject => ({
  user: `user:${user}`,
  relation: 'viewer',
  object: `document:${object}`,
})

const writeBody = (...tuple_keys: JsonObject[]): JsonObject => ({ writes: { tuple_keys } })

const isAllowed = async (engine: Engine, store: string, user: string, object: string): Promise<unknown> =>
  (await call(engine, 'POST', `${store}/check`, { tuple_key: key(user, object) })).body['allowed']

/** A journal on arrays, as a database would keep them. */
function createMemoryJournal() {
  const rows = {
    stores: [] as StoreRow[],
    models: [] as ModelRow[],
    tuples: [] as TupleRow[],
    changes: [] as ChangeRow[],
  }
  const state = { broken: false }
  const guard = (): void => {
    if (state.broken) throw new Error('disk full')
  }
  const isSame = (a: { user: string; object: string; relation: string }, b: typeof a): boolean =>
    a.user === b.user && a.object === b.object && a.relation === b.relation
  const journal: Journal = {
    load: async () => structuredClone(rows),
    async createStore(store) {
      guard()
      rows.stores.push(store)
    },
    async deleteStore(id) {
      guard()
      rows.stores = rows.stores.filter((store) => store.id !== id)
      rows.tuples = rows.tuples.filter((tuple) => tuple.storeId !== id)
    },
    async writeModel(_, row) {
      guard()
      rows.models.push(row)
    },
    async write(_, { deletes, writes, changes }) {
      guard()
      rows.tuples = rows.tuples.filter((tuple) => !deletes.some((gone) => isSame(gone, tuple)))
      rows.tuples.push(...writes)
      rows.changes.push(...changes)
    },
  }
  return { journal, state, rows }
}

describe('persistence', () => {
  test('a new engine on the same journal answers as the old one, changes and order included', async () => {
    const { journal } = createMemoryJournal()
    const first = createEngine({ journal })
    const store = await openStore(first)
    await call(
      first,
      'POST',
      `${store}/write`,
      writeBody(key('anne', '1'), key('bob', '1'), {
        ...key('carl', '1'),
        condition: { name: 'soon', context: { x: 1 } },
      }),
    )
    await call(first, 'POST', `${store}/write`, { deletes: { tuple_keys: [key('bob', '1')] } })
    const second = createEngine({ journal })
    expect(await isAllowed(second, store, 'anne', '1')).toBe(true)
    expect(await isAllowed(second, store, 'bob', '1')).toBe(false)
    expect(await isAllowed(second, store, 'carl', '1')).toBe(true)
    for (const path of ['/changes', '/authorization-models']) {
      expect((await call(second, 'GET', store + path)).body).toEqual(
        (await call(first, 'GET', store + path)).body,
      )
    }
    expect((await call(second, 'POST', `${store}/read`, {})).body).toEqual(
      (await call(first, 'POST', `${store}/read`, {})).body,
    )
  })

  test('a write that the journal refuses changes nothing and is answered with 500', async () => {
    const { journal, state } = createMemoryJournal()
    const seen: unknown[] = []
    const engine = createEngine({ journal, onError: (error) => seen.push(error) })
    const store = await openStore(engine)
    await call(engine, 'POST', `${store}/write`, writeBody(key('anne', '1')))
    state.broken = true
    const failed = await call(engine, 'POST', `${store}/write`, {
      ...writeBody(key('bob', '1')),
      deletes: { tuple_keys: [key('anne', '1')] },
    })
    expect(failed.status).toBe(500)
    expect(JSON.stringify(failed.body)).not.toContain('disk')
    expect(seen.map(String)).toEqual(['Error: disk full'])
    expect(await isAllowed(engine, store, 'anne', '1')).toBe(true)
    expect(await isAllowed(engine, store, 'bob', '1')).toBe(false)
    state.broken = false
    expect((await call(engine, 'POST', `${store}/write`, writeBody(key('bob', '1')))).status).toBe(200)
  })

  test('of two equal writes at the same moment one wins and the other is told', async () => {
    const { journal, rows } = createMemoryJournal()
    const engine = createEngine({ journal })
    const store = await openStore(engine)
    const answers = await Promise.all(
      [1, 2, 3].map(() => call(engine, 'POST', `${store}/write`, writeBody(key('anne', '1')))),
    )
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 400, 400])
    expect(rows.tuples.length).toBe(1)
  })

  test('changes older than memory come from the journal', async () => {
    const { journal, rows } = createMemoryJournal()
    const reads: string[] = []
    const bounded: Journal = {
      ...journal,
      load: async () => ({ ...structuredClone(rows), changes: [] }),
      async readChanges(_, { after, limit }) {
        reads.push(after)
        return rows.changes.filter((change) => change.ulid > after).slice(0, limit)
      },
    }
    const first = createEngine({ journal: bounded })
    const store = await openStore(first)
    for (const object of ['1', '2', '3'])
      await call(first, 'POST', `${store}/write`, writeBody(key('anne', object)))
    const whole = (await call(first, 'GET', `${store}/changes`)).body
    expect(reads).toEqual([])
    const second = createEngine({ journal: bounded })
    expect((await call(second, 'GET', `${store}/changes`)).body).toEqual(whole)
    expect(reads).toEqual([''])
  })
})

describe('reading', () => {
  test('pages through tuples and changes once each, in the order of writing, with removals between', async () => {
    const engine = createEngine()
    const store = await openStore(engine)
    const all = Array.from({ length: 60 }, (_, i) => key(`u${i}`, `d${i}`))
    await call(engine, 'POST', `${store}/write`, writeBody(...all))
    const first = await call(engine, 'POST', `${store}/read`, { page_size: 25 })
    await call(engine, 'POST', `${store}/write`, { deletes: { tuple_keys: [all[24] ?? {}, all[30] ?? {}] } })
    const second = await call(engine, 'POST', `${store}/read`, {
      page_size: 100,
      continuation_token: first.body['continuation_token'] ?? '',
    })
    const users = [...tuplesOf(first), ...tuplesOf(second)].map((tuple) =>
      JSON.stringify(tuple['key']).replace(/.*user:u(\d+).*/, '$1'),
    )
    expect(users).toEqual(all.map((_, i) => String(i)).filter((i) => i !== '30'))
    expect(second.body['continuation_token']).toBe('')
  })

  test('answers the same token and nothing at the tail of the changes, and refuses it for another type', async () => {
    const engine = createEngine()
    const store = await openStore(engine)
    expect((await call(engine, 'GET', `${store}/changes`)).body).toEqual({
      changes: [],
      continuation_token: '',
    })
    await call(engine, 'POST', `${store}/write`, writeBody(key('anne', '1')))
    const token = String((await call(engine, 'GET', `${store}/changes`)).body['continuation_token'])
    const tail = await call(engine, 'GET', `${store}/changes?continuation_token=${token}`)
    expect(tail.body).toEqual({ changes: [], continuation_token: token })
    const other = await call(engine, 'GET', `${store}/changes?type=document&continuation_token=${token}`)
    expect(other.body['code']).toBe('query_string_type_continuation_token_mismatch')
  })

  test('finds the tuples of one object, of one subject, and of one pair among thousands', async () => {
    const engine = createEngine()
    const store = await openStore(engine)
    for (let at = 0; at < 3000; at += 100) {
      await call(
        engine,
        'POST',
        `${store}/write`,
        writeBody(...Array.from({ length: 100 }, (_, i) => key(`u${at + i}`, `d${(at + i) % 7}`))),
      )
    }
    const read = async (tuple_key: JsonObject): Promise<number> =>
      tuplesOf(await call(engine, 'POST', `${store}/read`, { tuple_key, page_size: 100 })).length
    expect(await read({ object: 'document:d3', relation: 'viewer' })).toBe(100)
    expect(await read({ object: 'document:', user: 'user:u17' })).toBe(1)
    expect(await read({ object: 'document:d3', user: 'user:u17' })).toBe(1)
    expect(await read({ object: 'document:d4', user: 'user:u17' })).toBe(0)
    expect(await isAllowed(engine, store, 'u17', 'd3')).toBe(true)
    expect(await isAllowed(engine, store, 'u17', 'd4')).toBe(false)
    await call(engine, 'POST', `${store}/write`, { deletes: { tuple_keys: [key('u17', 'd3')] } })
    expect(await isAllowed(engine, store, 'u17', 'd3')).toBe(false)
    expect(await isAllowed(engine, store, 'u24', 'd3')).toBe(true)
  })
})

describe('the HTTP API', () => {
  test('names the store, the model and the request in every query answer', async () => {
    const engine = createEngine()
    const store = await openStore(engine)
    const { headers } = await call(engine, 'POST', `${store}/check`, { tuple_key: key('anne', '1') })
    expect(`/stores/${headers.get('Openfga-Store-Id')}`).toBe(store)
    expect(headers.get('Openfga-Authorization-Model-Id')).toMatch(/^[0-9A-Z]{26}$/)
    expect(headers.get('X-Request-Id')).toMatch(/^[0-9a-f-]{36}$/)
  })

  test.each([
    ['GET', '/nope', 404, 'undefined_endpoint'],
    ['PUT', '/stores', 404, 'unimplemented'],
    ['POST', '/stores/01ARZ3NDEKTSV4RRFFQ69G5FAV/expand', 404, 'unimplemented'],
    ['GET', '/stores/01ARZ3NDEKTSV4RRFFQ69G5FAV/assertions/01ARZ3NDEKTSV4RRFFQ69G5FAV', 404, 'unimplemented'],
    ['GET', '/stores/01ARZ3NDEKTSV4RRFFQ69G5FAV', 404, 'store_id_not_found'],
    ['GET', '/stores/xyz', 400, 'validation_error'],
    ['GET', '/stores/%E0%A4%A', 404, 'undefined_endpoint'],
    ['GET', '/stores/__proto__/constructor', 404, 'undefined_endpoint'],
  ])('answers %s %s with %i %s', async (method, path, status, code) => {
    const answer = await call(createEngine(), method, path)
    expect([answer.status, answer.body['code']]).toEqual([status, code])
  })

  test('refuses a body above 616,448 bytes and one that is not JSON', async () => {
    const engine = createEngine()
    const large = await call(engine, 'POST', '/stores', { name: 'x'.repeat(700_000) })
    expect([large.status, large.body['code']]).toEqual([500, 'resource_exhausted'])
    const broken = await engine.fetch(new Request('http://engine/stores', { method: 'POST', body: '{bad' }))
    expect([broken.status, await broken.json()]).toMatchObject([400, { code: 'validation_error' }])
  })

  test('limits a batch to 50 checks with ids of their own and shares its work between them', async () => {
    const engine = createEngine()
    const store = await openStore(engine)
    await call(engine, 'POST', `${store}/write`, writeBody(key('anne', '1')))
    const item = (correlation_id: string, object = '1'): JsonObject => ({
      correlation_id,
      tuple_key: key('anne', object),
    })
    const batch = (...checks: JsonObject[]): Promise<Answer> =>
      call(engine, 'POST', `${store}/batch-check`, { checks })
    expect((await batch(item('a'), item('b', '2'))).body).toEqual({
      result: { a: { allowed: true }, b: { allowed: false } },
    })
    expect((await batch(item('a'), item('a'))).status).toBe(400)
    expect((await batch(...Array.from({ length: 51 }, (_, i) => item(String(i))))).status).toBe(400)
    expect(
      (await batch(item('a'), { correlation_id: 'b', tuple_key: { ...key('anne', '1'), relation: 'nope' } }))
        .body,
    ).toMatchObject({ result: { a: { allowed: true }, b: { error: { input_error: 'validation_error' } } } })
  })

  test('writes at most 100 tuples, each key once, all or nothing', async () => {
    const engine = createEngine()
    const store = await openStore(engine)
    const codeOf = async (body: JsonObject): Promise<unknown> =>
      (await call(engine, 'POST', `${store}/write`, body)).body['code']
    expect(await codeOf(writeBody(...Array.from({ length: 101 }, (_, i) => key(`u${i}`, '1'))))).toBe(
      'exceeded_entity_limit',
    )
    expect(
      await codeOf(
        writeBody(key('anne', '1'), { ...key('anne', '1'), condition: { name: 'soon', context: {} } }),
      ),
    ).toBe('cannot_allow_duplicate_tuples_in_one_request')
    expect(
      await codeOf(
        writeBody(key('anne', '1'), { user: 'group:x', relation: 'viewer', object: 'document:1' }),
      ),
    ).toBe('validation_error')
    expect(await isAllowed(engine, store, 'anne', '1')).toBe(false)
    expect(await codeOf(writeBody(key('anne', '1')))).toBeUndefined()
    expect(
      await codeOf({
        writes: {
          tuple_keys: [{ ...key('anne', '1'), condition: { name: 'soon', context: {} } }],
          on_duplicate: 'ignore',
        },
      }),
    ).toBe('Aborted')
  })
})

const tuplesOf = (answer: Answer): readonly JsonObject[] =>
  (answer.body['tuples'] ?? []) as readonly JsonObject[]
