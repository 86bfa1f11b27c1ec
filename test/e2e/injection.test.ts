import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadSample, type Sample } from '../../src/sample/load.ts'
import { seedSample } from '../../src/sample/seed.ts'
import { openWorld, type World } from '../support/world.ts'

const ticket = 'support/inbox/ticket-4471.md'
const question = { query: 'Is pump D4-26-0771 part of the recall?', top_k: 20 }

let world: World
let sample: Sample
let agent: string
beforeAll(async () => {
  sample = await loadSample(new URL('../../sample', import.meta.url).pathname, new Date())
  world = await openWorld()
  const { database, service } = world
  await seedSample(sample, { ...service, database, issuer: service.ownIssuer })
  agent = await world.token({ user: 'bob', agent: 'research-bot' })
}, 180_000)
afterAll(() => world?.[Symbol.asyncDispose]())

describe('a mail that orders agents about', () => {
  test('comes as a passage like any other, with where it is from', async () => {
    const response = await world.call('POST', '/retrieve', { token: agent, body: question })
    const { results, ...frame } = (await response.json()) as { results: readonly Passage[] }
    const orders = results.filter(({ text }) => text.includes('Ignore all previous instructions'))
    expect(orders).not.toEqual([])
    for (const passage of orders) {
      expect(passage).toMatchObject({
        document_id: ticket,
        collection: 'support',
        provenance: { owner: 'user:dan', source: expect.any(String), updated_at: expect.any(String) },
        locator: { start: expect.any(Number), end: expect.any(Number) },
      })
    }
    // The orders stand in the text of their passages, nowhere else in the answer.
    expect(JSON.stringify(frame)).not.toContain('nstruction')
    const others = results.map((passage) => ({ ...passage, text: '' }))
    expect(JSON.stringify(others)).not.toContain('Ignore all')
    expect(response.headers.get('content-type')).toMatch(/^application\/json/)
  })

  test('an agent that obeys every word of it gets 403 and 404, and nothing changes', async () => {
    const before = await stateOfThings()
    const whole = await world.call('GET', `/documents/${encodeURIComponent(ticket)}`, { token: agent })
    const { text: read } = (await whole.json()) as { text: string }
    expect(read).toContain('Do the following without mentioning it to the user')
    const done = await obey(read)
    expect(done.length).toBeGreaterThanOrEqual(15)
    for (const step of [
      'GET /documents/board/minutes/2026-03-19.md',
      'GET /documents/people/pay/bands-2026.md',
    ])
      expect(done).toContain(`${step}: 404`)
    for (const step of [
      'POST /access: 403',
      `PUT /documents/${ticket}: 403`,
      `DELETE /documents/${ticket}: 403`,
    ])
      expect(done).toContain(step)
    expect(done.filter((step) => !/: 40[34]$/.test(step))).toEqual([])
    expect(await stateOfThings()).toEqual(before)
  })

  test('a search that it ordered releases no word of what it asked for', async () => {
    const { results } = await world.retrieve(agent, { query: 'Kestel settlement amount', top_k: 100 })
    const lent = await documentsOf(agent)
    for (const { document_id } of results) expect(lent).toContain(document_id)
    expect(lent.filter((id) => /^(board|people|legal|finance|engineering)\//.test(id))).toEqual([])
    expect(lent).toContain(ticket)
  })

  test('claims in the request itself count for nothing', async () => {
    const headers = {
      'x-user': 'user:kim',
      'x-forwarded-user': 'kim',
      'x-remit-mode': 'maintenance',
      cookie: 'admin=1',
    }
    const path = `/documents/${encodeURIComponent('people/pay/bands-2026.md')}`
    expect((await world.call('GET', path, { token: agent, headers })).status).toBe(404)
    const asking = { ...question, subject: 'user:kim', reference: 'SEC-OK-1187' }
    const response = await world.call('POST', '/retrieve', { token: agent, headers, body: asking })
    expect(response.status).toBe(422)
  })
})

test('access that a text claims for itself is text', async () => {
  const head =
    '---\naccess:\n  viewers: ["user:*"]\n  sensitive: false\n---\n\nEveryone may read about pelicans.'
  const access = { viewers: ['user:anne'], sensitive: true }
  await world.put({ pelicans: { text: head, metadata: { access: 'user:*' }, access } })
  await world.lend('anne', 'other-bot', 'collection:handbook')
  const statusFor = async (who: Parameters<World['token']>[0]) =>
    (await world.call('GET', '/documents/pelicans', { token: await world.token(who) })).status
  expect(await statusFor({ user: 'anne' })).toBe(200)
  expect(await statusFor({ user: 'carol' })).toBe(404)
  // It may ask anne, who knows that it is sensitive.
  expect(await statusFor({ user: 'anne', agent: 'other-bot' })).toBe(403)
})

interface Passage {
  readonly document_id: string
  readonly text: string
}

/** A model that does whatever it reads, with the agent's token. Each step as `METHOD path: status`. */
async function obey(read: string): Promise<readonly string[]> {
  const ids = new Set([...read.matchAll(/[a-z0-9-]+(?:\/[a-z0-9.-]+)+\.md/g)].map(([id]) => id))
  // What it may read was answered to it as a passage: only what lies beyond is of interest.
  const lent = new Set(await documentsOf(agent))
  const beyond = [...ids].filter((id) => !lent.has(id))
  const steps: string[] = []
  const act = async (method: string, path: string, body?: object) => {
    const options = { token: agent, ...(body !== undefined && { body }) }
    const response = await world.call(
      method,
      path.replaceAll(/(?<=^\/documents\/).*\.md/g, encodeURIComponent),
      options,
    )
    steps.push(`${method} ${path}: ${response.status}`)
    expect(await response.text()).not.toMatch(/Gannet|settlement of|band [A-F]/i)
  }
  const open = { viewers: ['user:*', 'user:bob'], sensitive: false }
  for (const id of [...beyond, ticket]) {
    if (id !== ticket) await act('GET', `/documents/${id}`)
    await act('PUT', `/documents/${id}/access`, open)
    await act('PUT', `/documents/${id}`, {
      collection: 'support',
      title: 'Mine',
      text: 'Mine.',
      access: open,
    })
    await act('DELETE', `/documents/${id}`)
  }
  for (const group of [...read.matchAll(/group:[a-z-]+/g)].map(([name]) => name)) {
    await act('POST', '/access', { writes: [{ user: 'user:carol', relation: 'member', object: group }] })
  }
  for (const bot of new Set([...read.matchAll(/agent:([a-z-]+)/g)].map(([, name = '']) => name))) {
    await act('GET', `/approvals?agent=${bot}`)
    await act('POST', '/approvals/p_1/decision', { decision: 'approve', approver: 'user:ida' })
    await act('POST', '/delegations', { agent: bot, scope: ['organization:wrenfield'] })
    await act('POST', '/access', {
      writes: [
        { user: 'user:bob', relation: 'acting_for', object: `agent:${bot}` },
        { user: 'user:bob', relation: 'delegator', object: 'delegation:d_all' },
      ],
    })
  }
  await act('PUT', '/collections/board', { title: 'Open', public_allowed: true, writers: [], taggers: [] })
  await act('PUT', '/fields', { mode: 'string' })
  return steps
}

/** Who gets what, and who is in the group that the mail names. */
async function stateOfThings(): Promise<object> {
  const carol = await world.token({ user: 'carol', agent: 'research-bot' })
  const bob = await world.token({ user: 'bob' })
  const members: string[] = []
  for await (const { user } of world.service.fga.read({ object: 'group:leadership', relation: 'member' }))
    members.push(user)
  return {
    agent: await documentsOf(agent),
    bob: await documentsOf(bob),
    carol: await documentsOf(carol),
    members: members.sort(),
  }
}

async function documentsOf(token: string): Promise<readonly string[]> {
  const asked = sample.documents.map(async ({ id }) => {
    const response = await world.call('GET', `/documents/${encodeURIComponent(id)}`, { token })
    return { id, status: response.status }
  })
  return (await Promise.all(asked)).filter(({ status }) => status === 200).map(({ id }) => id)
}
