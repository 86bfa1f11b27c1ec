import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Listening } from '../../src/kernel/listening.ts'
import { listen } from '../../src/start.ts'
import { faultyDatabase } from '../security/faulty-database.ts'
import { alone } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

const storage = faultyDatabase()
let world: World
let server: Listening
let token: string
beforeAll(async () => {
  const env = { REQUEST_DEADLINE_MS: '500', WRITE_DEADLINE_MS: '2000' }
  world = await openWorld({ backend: alone, env, database: storage.wrap })
  token = await world.token({ service: 'loader' })
  server = await listen({ fetch: world.service.app.fetch, host: '127.0.0.1', port: 0, drainMs: 100 })
})
afterEach(() => storage.set(undefined))
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})

/** Statements that match are sent once `resolve` was called. */
function holding(statement: RegExp) {
  const held = Promise.withResolvers<void>()
  storage.set(statement, () => held.promise)
  return held
}

const body = { collection: 'handbook', title: 'T', text: 'Travel.', mime_type: 'text/plain', access: {} }
const put = (id: string) =>
  world.call('PUT', `/documents/${encodeURIComponent(id)}`, {
    token,
    body,
    headers: { 'idempotency-key': `key-${id}` },
  })

test('a change that the database does not answer ends with a 503 that says that it may be in, and it may: the same again is the same', async () => {
  const held = holding(/insert into revisions/)
  const response = await put('handbook/late')
  expect(response.status).toBe(503)
  expect(await response.json()).toMatchObject({
    code: 'deadline_exceeded',
    detail: expect.stringContaining('may have been accepted'),
  })
  held.resolve()
  storage.set(undefined)
  // A busy machine may take longer than that.
  await expect.poll(async () => (await put('handbook/late')).status).toBe(202)
  expect(
    await world.database.query(`select id from jobs where idempotency_key = 'key-handbook/late'`),
  ).toHaveLength(1)
})

test('readiness says within seconds that the database does not answer, to the public and to operators, and metrics go on', async () => {
  const held = holding(/insert into revisions/)
  let isOver = true
  let write: Promise<Response> | undefined
  await expect
    .poll(() => {
      // On a machine that stands still for a moment its time is over before it comes to that; again then.
      if (isOver && storage.hits() === 0) {
        isOver = false
        write = put('handbook/held').finally(() => {
          isOver = true
        })
      }
      return storage.hits()
    })
    .toBeGreaterThan(0)
  const operators = (path: string) =>
    world.service.ops.request(`http://127.0.0.1:${world.config.ops.port}${path}`)
  const answers = await Promise.all([
    world.call('GET', '/readyz'),
    operators('/readyz'),
    operators('/metrics'),
  ])
  expect(answers.map(({ status }) => status)).toEqual([503, 503, 200])
  expect(await answers[1]?.json()).toMatchObject({ status: 'unavailable', database: false })
  expect(await answers[2]?.text()).toMatch(/^remit_record_unsealed Nan$/im)
  held.resolve()
  expect((await write)?.status).toBe(503)
  await expect.poll(async () => (await world.call('GET', '/readyz')).status).toBe(200)
}, 60_000)

test('the time of a change begins when all of it has arrived: a slow sender is not cut off', async () => {
  const text = JSON.stringify({ ...body, id: 'handbook/slow' })
  const socket = connect({ host: '127.0.0.1', port: server.port })
  socket.write(
    [
      'PUT /documents/handbook%2Fslow HTTP/1.1',
      `Host: ${new URL(world.config.publicUrl).host}`,
      `Authorization: Bearer ${token}`,
      'Content-Type: application/json',
      `Content-Length: ${text.length}`,
      'Connection: close',
      '',
      text.slice(0, 20),
    ].join('\r\n'),
  )
  const parts: Buffer[] = []
  socket.on('data', (part) => parts.push(part))
  await new Promise((resolve) => setTimeout(resolve, 2_600))
  expect(parts).toEqual([])
  socket.write(text.slice(20))
  await once(socket, 'close')
  // The second on a busy machine, which says the truth as well.
  expect(Buffer.concat(parts).toString()).toMatch(/^HTTP\/1.1 (202|503) /)
})
