import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { openWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const status = async (path: string, token?: string, method = 'GET') =>
  (await world.call(method, path, token === undefined ? {} : { token })).status

test('until recovery has ended nobody is answered and nothing is issued; after it, old tokens are refused and new ones pass', {
  timeout: 30_000,
}, async () => {
  const token = await world.token({ user: 'anne' })
  expect([await status('/collections', token), await status('/readyz')]).toEqual([200, 200])
  await world.database.query('update epochs set recovering_since = now()')
  await expect.poll(() => status('/readyz')).toBe(503)
  const refused = await world.call('GET', '/collections', { token })
  expect(refused.status).toBe(503)
  expect(await refused.json()).toMatchObject({ code: 'authorization_unavailable' })
  for (const [method, path] of [
    ['GET', '/collections'],
    ['POST', '/oauth/token'],
    ['GET', '/oauth/auth'],
    ['GET', '/sign-in'],
    ['GET', '/delegations'],
  ] as const)
    expect([path, await status(path, undefined, method)]).toEqual([path, 503])
  expect([await status('/healthz'), await status('/oauth/jwks')]).toEqual([200, 200])
  const details = await world.service.ops.request(`http://127.0.0.1:${world.config.ops.port}/readyz`)
  expect(await details.json()).toMatchObject({ status: 'unavailable', database_whole: false })

  expect(await world.service.mayHaveForgotten()).toBe(true)
  await world.service.recover('t_tests')
  expect(await world.service.mayHaveForgotten()).toBe(false)
  expect([await status('/readyz'), await status('/collections', token)]).toEqual([200, 401])
  // A token says in whole seconds when it was issued.
  await delay(1_000)
  expect(await status('/collections', await world.token({ user: 'anne' }))).toBe(200)
})

test('recovery fills the permission index from OpenFGA itself: what its log never told of is found again', {
  timeout: 60_000,
}, async () => {
  await using deaf = await openWorld({ openfga: silentAbout('document:travel', 'viewer') })
  await deaf.put({ travel: { text: 'Travel costs are refunded.', access: { viewers: ['user:anne'] } } })
  const found = async () =>
    (await deaf.retrieve(await deaf.token({ user: 'anne' }), { query: 'travel' })).results.length
  await deaf.service.index.catchUp()
  expect(await found()).toBe(0)
  await deaf.service.recover('t_tests')
  // A token says in whole seconds when it was issued.
  await delay(1_000)
  expect(await found()).toBe(1)
})

/** OpenFGA with a log of changes in which some were lost. */
function silentAbout(object: string, relation: string) {
  return (real: FgaApi): FgaApi =>
    new Proxy(real, {
      get(target, name) {
        const value = Reflect.get(target, name, target) as unknown
        if (typeof value !== 'function') return value
        if (name !== 'readChanges') return value.bind(target)
        return async (...given: Parameters<FgaApi['readChanges']>) => {
          const page = await target.readChanges(...given)
          const told = page.changes.filter(
            ({ tuple_key }) => tuple_key.object !== object || tuple_key.relation !== relation,
          )
          return { ...page, changes: told }
        }
      },
    })
}
