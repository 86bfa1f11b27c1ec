import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { needsPostgres } from '../support/native.ts'
import { openWorld, type World } from '../support/world.ts'

interface Answer {
  readonly stretches: readonly {
    readonly allowed: number
    readonly denied: number
    readonly error: number
    readonly none: number
  }[]
  readonly index: object
}

describe.each([
  { database: 'pglite', options: {} },
  { database: 'postgres', options: needsPostgres },
] as const)('GET /activity', ({ database, options }) => {
  describe(`on ${database}`, options, () => {
    let world: World
    beforeAll(async () => {
      world = await openWorld({ backend: { database, openfga: 'engine' } })
      await world.put({ menu: { text: 'Otters eat.', access: { viewers: ['user:bob'] } } })
      await world.service.administrators.add('user:dan', ['security.read'])
      await world.service.administrators.add('user:carol', ['security.write'])
    })
    afterAll(() => world?.[Symbol.asyncDispose]())

    const ask = async (query = '', user = 'dan') => {
      const response = await world.call('GET', `/activity${query}`, { token: await world.token({ user }) })
      return { status: response.status, body: (await response.json()) as Answer }
    }

    test('counts what was asked by how it went, in stretches of which none is left out, and says of nobody', async () => {
      const token = await world.token({ user: 'bob' })
      await world.retrieve(token, { query: 'otters' })
      await world.call('GET', '/documents/menu', { token: await world.token({ user: 'anne' }) })
      await world.call('GET', '/documents/menu', { token })
      await world.retrieve(token, { query: 'otters', collections: ['finance'] })
      const { status, body } = await ask('?hours=1')
      expect(status).toBe(200)
      const { stretches, index, ...rest } = body
      expect(stretches).toHaveLength(4)
      const sum = (name: 'allowed' | 'denied' | 'error' | 'none') =>
        stretches.reduce((total, one) => total + one[name], 0)
      expect([sum('allowed'), sum('denied'), sum('error'), sum('none')]).toEqual([2, 1, 0, 1])
      expect(rest).toMatchObject({ stretch_seconds: 900, approvals_waiting: 0, drift_mended: 0 })
      expect(index).toMatchObject({ tuples: expect.any(Number), lag_ms: expect.any(Number) })
      expect(JSON.stringify(body)).not.toMatch(/bob|anne|menu/)
    })

    test('answers whoever may read the record, for at most a week', async () => {
      expect((await ask('', 'carol')).body).toMatchObject({ code: 'insufficient_scope' })
      expect((await ask('', 'anne')).body).toMatchObject({ code: 'insufficient_scope' })
      expect((await ask('?hours=169')).body).toMatchObject({ code: 'invalid_request', field: 'hours' })
      expect((await ask('?hours=168')).body.stretches).toHaveLength(168)
    })
  })
})
