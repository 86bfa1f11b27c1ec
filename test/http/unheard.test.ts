import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Database } from '../../src/store/sql.ts'
import { openWorld, type World } from '../support/world.ts'

let world: World
let isCut = false

/** As native Postgres: another process may change something, and is heard over a connection of its own. */
const withEar = (real: Database): Database => ({
  ...real,
  openListener: async () => {
    if (isCut) throw new Error('cut')
    return {
      async query(text, values) {
        if (isCut) throw new Error('cut')
        return real.query(text, values)
      },
      [Symbol.asyncDispose]: async () => undefined,
    }
  },
})

beforeAll(async () => {
  world = await openWorld({ database: withEar })
})
afterAll(() => world[Symbol.asyncDispose]())

const heard = async () => {
  const metrics = await world.service.ops.request(`http://127.0.0.1:${world.config.ops.port}/metrics`)
  return /^remit_changes_heard (.*)$/m.exec(await metrics.text())?.[1]
}
const ask = (token: string) => world.call('GET', '/collections', { token })

test('who has not heard of revocations for five seconds answers 503 to every token, the worst included, says so in its metrics, and then mends itself', {
  timeout: 30_000,
}, async () => {
  const token = await world.token({ user: 'anne' })
  expect((await ask(token)).status).toBe(200)
  expect(await heard()).toBe('1')
  isCut = true
  await expect.poll(async () => (await ask(token)).status, { timeout: 15_000, interval: 200 }).toBe(503)
  const answers = await Promise.all([ask(token), ask('not.a.token')])
  for (const answer of answers) {
    expect(answer.status).toBe(503)
    expect(answer.headers.get('www-authenticate')).toBeNull()
    expect(await answer.json()).toMatchObject({ code: 'authorization_unavailable' })
  }
  expect((await world.call('GET', '/healthz')).status).toBe(200)
  expect(await heard()).toBe('0')
  isCut = false
  await expect.poll(async () => (await ask(token)).status).toBe(200)
})
