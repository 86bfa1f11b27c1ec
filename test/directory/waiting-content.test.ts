import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createWordEmbedder } from '../support/embedder.ts'
import { type DirectoryWorld, openDirectoryWorld, patch } from './world.ts'

const off = patch({ op: 'Replace', path: 'active', value: 'False' })
const on = patch({ op: 'replace', path: 'active', value: true })

let world: DirectoryWorld
/** Content waits for its vectors until this is over. */
let gate = Promise.withResolvers<void>()
beforeAll(async () => {
  gate.resolve()
  const embedder = createWordEmbedder()
  world = await openDirectoryWorld({
    embedder: {
      ...embedder,
      async embedPassages(...args) {
        await gate.promise
        return embedder.embedPassages(...args)
      },
    },
  })
  await world.service.services.save({ name: 'loader', collections: ['handbook'], prefixes: ['eng/'] })
})
afterEach(() => gate.resolve())
afterAll(() => world?.[Symbol.asyncDispose]())

const tokenOf = () => world.token({ service: 'loader', scopes: ['docs.write', 'directory.write'] })
async function wait(id: string, access: object): Promise<void> {
  gate = Promise.withResolvers()
  const body = { collection: 'handbook', title: id, text: `Travel ${id}.`, access }
  const path = `/documents/${encodeURIComponent(id)}`
  expect((await world.call('PUT', path, { token: await tokenOf(), body })).status).toBe(202)
}
async function publish(id: string): Promise<void> {
  gate.resolve()
  const waiting = () =>
    world.database.query('select 1 from revisions join documents using (doc_no) where id = $1', [id])
  await expect.poll(waiting).toEqual([])
}
async function changeMember(operation: 'writes' | 'deletes', user: string, group: string): Promise<void> {
  const tuple = { user: `user:${user}`, relation: 'member', object: `group:${group}` }
  const body = { writes: [], deletes: [], [operation]: [tuple] }
  expect((await world.call('POST', '/access', { token: await tokenOf(), body })).status).toBe(200)
}
const activateAgain = async (id: string): Promise<void> => {
  for (const body of [off, on]) await world.scim('PATCH', `/Users/${id}`, body)
}
const foundBy = async (key: string) =>
  world.found(await world.personToken(key, { now: Date.now() + 2_000, ttl: 60 }))

describe('whom a group keeps from content that is not published yet', () => {
  test('is in it after a deactivation and an activation, itself or through a group', async () => {
    const [anne, bob] = [await world.user('anne'), await world.user('bob')]
    const inner = await world.group('Inner', bob)
    const group = await world.group('Outer', anne, inner)
    await wait('handbook/all', { viewers: ['user:*'], blocked: [`group:acme/${group}#member`] })
    await activateAgain(anne)
    await activateAgain(bob)
    await publish('handbook/all')
    expect([await foundBy('anne'), await foundBy('bob')]).toEqual([[], []])
    expect(await world.members(inner)).toEqual(['user:acme/bob'])
  })

  test('is in it by the new key, where a service then takes out the old one', async () => {
    await changeMember('writes', 'acme/old', 'eng/kept-out')
    await world.service.personMove.move('acme/old', 'acme/new')
    await wait('handbook/moved', { viewers: ['user:acme/new'], blocked: ['group:eng/kept-out#member'] })
    await changeMember('writes', 'acme/new', 'eng/kept-out')
    await changeMember('deletes', 'acme/old', 'eng/kept-out')
    await publish('handbook/moved')
    await world.service.people.arrive(
      { key: 'acme/new', name: 'New' },
      { issuer: world.issuer.issuer, sub: 'new' },
    )
    expect(await foundBy('new')).not.toContain('handbook/moved')
  })
})
