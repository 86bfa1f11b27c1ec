import type { AddressInfo } from 'node:net'
import { createEngine } from '@remit/engine'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openFgaTruth } from '../../packages/prove/src/truths/openfga.ts'
import { openFgaProxy } from '../../packages/prove/src/truths/openfga-proxy.ts'

// A server of OpenFGA's API, in whose store anne reads, and carol by a group.
let store: string
let url: string
let proxied: string
const servers: { close(): unknown }[] = []
const askedToken = 'of-the-proxy'

const model = {
  schema_version: '1.1',
  type_definitions: [
    { type: 'user' },
    {
      type: 'group',
      relations: { member: { this: {} } },
      metadata: { relations: { member: { directly_related_user_types: [{ type: 'user' }] } } },
    },
    {
      type: 'document',
      relations: { can_read: { this: {} } },
      metadata: {
        relations: {
          can_read: {
            directly_related_user_types: [{ type: 'user' }, { type: 'group', relation: 'member' }],
          },
        },
      },
    },
  ],
}

const tuples = [
  { user: 'user:anne', relation: 'can_read', object: 'document:a' },
  { user: 'user:carol', relation: 'member', object: 'group:staff' },
  { user: 'group:staff#member', relation: 'can_read', object: 'document:b' },
  // Of an earlier run, which could not remove it.
  { user: 'user:ida', relation: 'can_read', object: 'document:prove-1234-word000001' },
]

beforeAll(async () => {
  const engine = createEngine({ onError: console.error })
  const { createServer } = await import('node:http')
  const server = createServer((request, response) => {
    const pass = async () => {
      let body = ''
      for await (const part of request) body += part
      const { method = 'GET' } = request
      const answer = await engine.fetch(
        new Request(`http://127.0.0.1${request.url}`, { method, ...(method === 'POST' && { body }) }),
      )
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text())
    }
    pass().catch((error: unknown) => response.destroy(error as Error))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  servers.push(server)
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const post = async (path: string, body: object) => {
    const answer = await fetch(`${url}/stores${path}`, { method: 'POST', body: JSON.stringify(body) })
    return (await answer.json()) as { readonly id: string }
  }
  store = (await post('', { name: 'tried' })).id
  await post(`/${store}/authorization-models`, model)
  await post(`/${store}/write`, { writes: { tuple_keys: tuples } })
  const proxy = openFgaProxy({ url, store, token: undefined, askedToken })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  servers.push(proxy)
  proxied = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
})
afterAll(() => {
  for (const server of servers) server.close()
})

const truth = (at: string, token?: string) =>
  openFgaTruth({
    ...(token !== undefined && { token }),
    url: at,
    store,
    relation: 'can_read',
    personPrefix: 'user:',
    documentPrefix: 'document:',
  })

test('OpenFGA says who may read what, through the proxy that passes no Write', async () => {
  const { mayRead } = await truth(proxied, askedToken)
  expect(await Promise.all(['anne', 'bob'].map((person) => mayRead(person, 'a')))).toEqual([true, false])
})

test('whoever stands in any tuple is real, but for what a run planted', async () => {
  const { knows } = await truth(proxied, askedToken)
  const known = await Promise.all(
    ['anne', 'carol', 'bob', 'ida'].map(async (person) => await knows?.(person)),
  )
  expect(known).toEqual([true, true, false, false])
})

test('a key that can write is refused, and nothing was written to find that out', async () => {
  await expect(truth(url)).rejects.toThrow('can write')
  const changes = await fetch(`${url}/stores/${store}/changes`)
  expect(((await changes.json()) as { readonly changes: unknown[] }).changes).toHaveLength(tuples.length)
})

test.each(['write', 'list-objects', 'expand', 'authorization-models', 'read/../write', 'check/more'])(
  'the proxy refuses %s',
  async (call) => {
    const body = JSON.stringify({ deletes: { tuple_keys: [] } })
    const headers = { authorization: `Bearer ${askedToken}` }
    const { status } = await fetch(`${proxied}/stores/${store}/${call}`, { method: 'POST', headers, body })
    expect(status).toBe(403)
  },
)

test('the proxy answers its operator alone: nobody without its token, no page by another name, no endless body', async () => {
  const { request } = await import('node:http')
  const statusOf = (headers: Readonly<Record<string, string>>, body = '{}') =>
    new Promise<number | undefined>((resolve, reject) => {
      const asked = request(`${proxied}/stores/${store}/read`, { method: 'POST', headers })
      asked.on('response', (response) => resolve(response.resume().statusCode)).on('error', reject)
      asked.end(body)
    })
  const authorization = `Bearer ${askedToken}`
  expect(await statusOf({ authorization })).toBe(200)
  expect(await statusOf({})).toBe(401)
  expect(await statusOf({ authorization: `${authorization}x` })).toBe(401)
  expect(await statusOf({ authorization, host: `rebound.example:${new URL(proxied).port}` })).toBe(421)
  expect(await statusOf({ authorization }, JSON.stringify({ page: 'x'.repeat(70_000) }))).toBe(413)
})
