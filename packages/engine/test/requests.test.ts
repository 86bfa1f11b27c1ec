import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../src/core/condition-values.ts'
import {
  askCheck,
  createStore,
  engineTarget,
  parseDsl,
  serverTarget,
  type Target,
  writeModel,
} from './support/target.ts'

const targets: readonly (readonly [string, () => Target | undefined])[] = [
  ['the engine', engineTarget],
  ['the real server (OPENFGA_TEST_URL)', serverTarget],
]

const model = parseDsl(`model
  schema 1.1
type user
type document
  relations
    define viewer: [user with since]
condition since(start: timestamp, now: timestamp) {
  start <= now
}
`)
const key = { user: 'user:anne', relation: 'viewer', object: 'document:1' }

const requests: Readonly<Record<string, JsonObject>> = {
  check: { tuple_key: key },
  'batch-check': { checks: [{ tuple_key: key, correlation_id: 'one' }] },
  'list-objects': { user: 'user:anne', relation: 'viewer', type: 'document' },
  'list-users': {
    object: { type: 'document', id: '1' },
    relation: 'viewer',
    user_filters: [{ type: 'user' }],
  },
  write: { writes: { tuple_keys: [key] } },
}

describe.each(targets)('%s', (_, make) => {
  const target = make()
  const here = test.skipIf(target === undefined)
  const call: Target['call'] = (...given) => {
    if (target === undefined) throw new Error('no server')
    return target.call(...given)
  }
  const open = (): Promise<string> => {
    if (target === undefined) throw new Error('no server')
    return createStore(target)
  }

  here.each(Object.entries(requests))(
    'answers %s in a store that is not there by the model that is missing, whichever it names',
    async (path, body) => {
      if (target === undefined) throw new Error('no server')
      const theirs = await writeModel(target, await open(), model)
      const store = '01J0000000000000000000000A'
      const ask = async (more: JsonObject) => {
        const answer = await call('POST', `/stores/${store}/${path}`, { ...body, ...more })
        return [answer.status, answer.body]
      }
      expect(await ask({})).toEqual([
        400,
        {
          code: 'latest_authorization_model_not_found',
          message: `No authorization models found for store '${store}'`,
        },
      ])
      for (const id of ['01HVMMBCMGZNT3SED4Z17ECXCB', theirs])
        expect(await ask({ authorization_model_id: id })).toEqual([
          400,
          { code: 'authorization_model_not_found', message: `Authorization Model '${id}' not found` },
        ])
      const [status, malformed] = await ask({ authorization_model_id: theirs.toLowerCase() })
      expect([status, malformed]).toMatchObject([400, { code: 'validation_error' }])
    },
  )

  describe('reads changes from a start that', () => {
    const code = 'validation_error'
    here.each([
      ['is after year 1', '2020-01-01T00:00:00Z', 200],
      ['is 1970', '1970-01-01T00:00:00Z', 200],
      ['has parts of a second', '2020-01-01T00:00:00.1234567891Z', 200],
      [
        'has a comma for them, an hour of one digit and a zone of 24 hours',
        '2020-01-01T1:00:00,5-24:60',
        200,
      ],
      ['is the first moment of year 1, which stands for none', '0001-01-01T00:00:00Z', 200],
      ['is a part of a second later', '0001-01-01T00:00:00.5Z', 'invalid_start_time'],
      ['is before 1970', '1969-12-31T23:59:59.999Z', 'invalid_start_time'],
      ['is before 1970 by its zone', '1970-01-01T00:00:00+01:00', 'invalid_start_time'],
      ['is before year 1', '0000-12-31T23:59:59Z', code],
      ['is before year 1 by its zone', '0001-01-01T00:00:00+01:00', code],
      ['is after year 9999 by its zone', '9999-12-31T23:59:59-01:00', code],
      ['is still to come', '9999-12-31T23:59:59Z', code],
      ['has a year before it', '-0001-01-01T00:00:00Z', code],
      ['is a day', '2020-01-01', code],
      ['has no zone', '2020-01-01T00:00:00', code],
      ['has a zone without a colon', '2020-01-01T00:00:00+0100', code],
      ['has a zone of 61 minutes', '2020-01-01T00:00:00+23:61', code],
      ['has a zone of 25 hours', '2020-01-01T00:00:00+25:00', code],
      ['is a day that no month has', '2019-02-29T00:00:00Z', code],
      ['is hour 24', '2020-01-01T24:00:00Z', code],
      ['is a leap second', '2016-12-31T23:59:60Z', code],
      ['is in small letters', '2020-01-01t00:00:00z', code],
      ['is a word', 'yesterday', code],
      ['is empty', '', code],
    ])('%s (%s) with %s', async (_what, start, expected) => {
      const answer = await call('GET', `${await open()}/changes?start_time=${encodeURIComponent(start)}`)
      expect(answer.status === 200 ? 200 : answer.body['code'], answer.text).toBe(expected)
    })

    here('is before year 1 in the same words', async () => {
      const start = '0000-12-31T23:59:59Z'
      const { body } = await call('GET', `${await open()}/changes?start_time=${start}`)
      expect(body['message']).toBe(`parsing field "start_time": ${start} before 0001-01-01`)
    })

    here('cannot be read, also where a token goes before it', async () => {
      const { body } = await call('GET', `${await open()}/changes?continuation_token=eHh4&start_time=0000`)
      expect(body['code']).toBe('validation_error')
    })
  })

  here.each([
    ['changes', '1', 200],
    ['changes', '100', 200],
    ['changes', '0', 'validation_error'],
    ['changes', '101', 'page_size_invalid'],
    ['changes', '2147483648', 'validation_error'],
    ['authorization-models', '0', 'page_size_invalid'],
    ['authorization-models', '2147483648', 'validation_error'],
    ['authorization-models', '1.5', 'validation_error'],
  ])('takes a page of %s of size %s with %s', async (path, size, expected) => {
    const answer = await call('GET', `${await open()}/${path}?page_size=${size}`)
    expect(answer.status === 200 ? 200 : answer.body['code'], answer.text).toBe(expected)
  })

  here.each([
    ['2020-01-01T1:00:00Z', true],
    ['2020-01-01T00:00:00-24:60', false],
    ['2020-01-01T00:00:00+24:00', true],
    ['2020-01-01T00:00:00+23:61', 'code:validation_error'],
    ['2020-01-01T24:00:00Z', 'code:validation_error'],
    ['2020-02-30T00:00:00Z', 'code:validation_error'],
  ])('takes %s in a condition as %s', async (start, expected) => {
    if (target === undefined) throw new Error('no server')
    const store = await open()
    await writeModel(target, store, model)
    const tuple = { ...key, condition: { name: 'since', context: { now: '2020-01-01T12:00:00Z' } } }
    await call('POST', `${store}/write`, { writes: { tuple_keys: [tuple] } })
    expect(await askCheck(target, store, { tuple_key: key, context: { start } })).toBe(expected)
  })
})
