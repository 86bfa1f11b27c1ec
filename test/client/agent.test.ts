import { createProofKey, createRemit, exchange, findIssuer, isRemitError, type Person } from '@remit/client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { signInTo } from './people.ts'

// The client on the real service: its own authorization server, real tokens, a port of loopback.
let world: IssuerWorld
let handed: Readonly<Record<'anne' | 'bob', string>>
beforeAll(async () => {
  world = await openIssuerWorld()
  await world.put({
    'handbook/travel': {
      text: 'Travel costs are refunded in a week.',
      access: { viewers: ['user:anne', 'user:bob'] },
    },
    'finance/budget': {
      collection: 'finance',
      text: 'The budget of travel.',
      access: { owner: 'user:anne' },
    },
  })
  await world.lend('anne', 'research-bot', 'collection:handbook', 'collection:finance')
  await world.lend('bob', 'research-bot', 'collection:handbook')
  handed = { anne: await handOver('anne'), bob: await handOver('bob') }
})
afterAll(() => world?.[Symbol.asyncDispose]())

/** What the person's own program gets: a token that is addressed to the agent, and good for nothing else. */
const handOver = (user: string): Promise<string> =>
  signInTo(
    world,
    'cli',
    { resource: `${world.url}/agents/research-bot`, scope: 'docs.search docs.read' },
    { user },
  )

const person = (subject: 'anne' | 'bob'): Person => ({ subject, subjectToken: async () => handed[subject] })

async function agent(more: { readonly proofKey?: Awaited<ReturnType<typeof createProofKey>> } = {}) {
  const { key: privateKey, kid } = world.keys['agent-app']
  const issuer = await findIssuer(world.url)
  const token = exchange({ issuer, clientId: 'agent-app', key: { privateKey, kid }, ...more })
  return createRemit({ url: world.url, token })
}

test('one agent reads for each person what they may read, and lent', async () => {
  const remit = await agent()
  const [anne, bob] = [remit.for(person('anne')), remit.for(person('bob'))]
  const read = async (session: typeof anne) =>
    (await session.retrieve({ query: 'travel' })).results.map(({ document_id }) => document_id).sort()
  expect(await Promise.all([read(anne), read(bob)])).toEqual([
    ['finance/budget', 'handbook/travel'],
    ['handbook/travel'],
  ])
  expect((await anne.collections()).collections.map(({ id }) => id).sort()).toEqual(['finance', 'handbook'])
  expect(await anne.readDocument('finance/budget')).toMatchObject({ text: 'The budget of travel.' })
})

test('a document that may not be read is not found, and a wrong question names its member', async () => {
  const bob = (await agent()).for(person('bob'))
  for (const id of ['finance/budget', 'finance/none']) {
    const error: unknown = await bob.readDocument(id).catch((thrown: unknown) => thrown)
    expect(isRemitError(error, 'not_found')).toBe(true)
    expect(error).toMatchObject({ txn: expect.stringMatching(/^t_/) })
  }
  await expect(bob.retrieve({ query: 'x', top_k: 1_000 })).rejects.toMatchObject({
    code: 'invalid_request',
    field: 'top_k',
  })
})

test('with a key of its own its token is bound to that, and every request proves it', async () => {
  const anne = (await agent({ proofKey: await createProofKey() })).for(person('anne'))
  for (const _ of [1, 2]) expect((await anne.retrieve({ query: 'travel' })).results).toHaveLength(2)
})

test('what somebody handed over for another person is not used', async () => {
  const mixed = { subject: 'anne', subjectToken: async () => handed.bob }
  await expect((await agent()).for(mixed).retrieve({ query: 'travel' })).rejects.toMatchObject({
    code: 'wrong_person',
  })
})

test('what the person took back is refused, and says so to the agent', async () => {
  const bob = (await agent()).for(person('bob'))
  expect((await bob.retrieve({ query: 'travel' })).results).toHaveLength(1)
  for (const { id } of await world.service.delegations.listOf('user:bob'))
    await world.service.delegations.revoke(id)
  await expect(bob.retrieve({ query: 'travel' })).rejects.toMatchObject({ code: 'actor_unauthorized' })
})
