import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { operator } from '../../../src/audit/record.ts'
import { dokuwikiKind } from '../../../src/sources/kinds/dokuwiki/kind.ts'
import { openWorld } from '../../support/world.ts'
import { needsDokuwiki, openWikiServer } from './server.ts'

const shown = z.object({ source: z.object({ digest: z.string() }) })
const status = z.object({ source: z.object({ problem: z.string().nullable() }) })

/** The service with a DokuWiki as the source `wiki`, which anybody may read once the settings say so. */
async function openService() {
  const server = await openWikiServer()
  const entry = { name: 'wiki', kind: 'dokuwiki', origin: server.url, secret_env: 'WIKI_TOKEN' }
  const world = await openWorld({
    env: {
      SOURCE_ORIGINS: server.url,
      OUTBOUND_ALLOWED_ORIGINS: server.url,
      SOURCE_SECRETS: JSON.stringify([entry]),
      WIKI_TOKEN: server.secret,
      REQUEST_DEADLINE_MS: '30000',
    },
    sourceKinds: [dokuwikiKind],
  })
  const { service, database } = world
  await service.ingest.saveCollection(operator('test'), { id: 'wiki', title: 'Wiki', publicAllowed: true })
  for (const user of ['dan', 'carol']) await service.administrators.add(`user:${user}`, ['security.write'])
  const call = async (user: string, method: string, path: string, body?: object) => {
    const response = await world.call(method, path, {
      token: await world.token({ user }),
      ...(body && { body }),
    })
    const answer: unknown = await response.json()
    return { status: response.status, answer }
  }
  return {
    server,
    /** By two administrators. */
    async add(settings: object) {
      const proposal = { id: 'wiki', kind: 'dokuwiki', settings, collections: ['wiki'], secret: 'wiki' }
      const proposed = await call('dan', 'POST', '/sources', proposal)
      const { digest } = shown.parse(proposed.answer).source
      const confirmed = await call('carol', 'POST', '/sources/wiki', { action: 'confirm', digest })
      expect([proposed.status, confirmed.status]).toEqual([200, 200])
    },
    async sync() {
      await database.query('update sources set next_at = now()')
      await service.sources.runDue()
      // What searches know of documents follows the rows.
      await new Promise((resolve) => setTimeout(resolve, 700))
      return status.parse((await call('dan', 'GET', '/sources/wiki')).answer).source.problem
    },
    async finds(user: string) {
      const token = await world.token({ user, scopes: ['docs.search'] })
      const { results } = await world.retrieve(token, { query: 'harbour', top_k: 20 })
      return results.map(({ text }) => text).sort()
    },
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

const people = [
  { account: 'anne', subject: 'user:anne' },
  { account: 'bob', subject: 'user:bob' },
]
const [open, plan] = ['The harbour opens at nine.', 'The harbour will be sold.']

describe('a DokuWiki in the service', needsDokuwiki, () => {
  test('lets each person find what the wiki lets them read, and follows groups, entries and pages', {
    timeout: 180_000,
  }, async () => {
    await using wiki = await openService()
    const { server } = wiki
    const users = (groups: readonly string[]) =>
      server.setUsers([
        { name: 'anne', groups },
        { name: 'bob', groups: [] },
      ])
    users(['board'])
    server.setAcl(['*\t@ALL\t1', 'board:*\t@ALL\t0', 'board:*\t@board\t1'])
    await server.put('start', open)
    await server.put('board:plan', plan)
    await wiki.add({ url: server.url, people })
    expect(await wiki.sync()).toBeNull()
    const found = async () => [await wiki.finds('anne'), await wiki.finds('bob'), await wiki.finds('dan')]
    expect(await found()).toEqual([[open, plan], [open], []])
    users([])
    server.setAcl(['*\t@ALL\t1', 'start\tbob\t0', 'board:*\t@ALL\t0', 'board:*\tbob\t1'])
    expect(await wiki.sync()).toBeNull()
    expect(await found()).toEqual([[open], [plan], []])
    await server.put('board:plan', '')
    expect(await wiki.sync()).toBeNull()
    expect(await found()).toEqual([[open], [], []])
    // It does not let us in any more: nothing is confirmed, and nothing withdrawn.
    server.setConf(`$conf['remote'] = 0;`)
    expect(await wiki.sync()).toMatch(/does not answer/)
    expect(await found()).toEqual([[open], [], []])
  })

  test('opens to everybody what needs no sign-in there, where the settings say so', {
    timeout: 180_000,
  }, async () => {
    await using wiki = await openService()
    const { server } = wiki
    server.setUsers([{ name: 'anne', groups: [] }])
    server.setAcl(['*\t@ALL\t1', 'board:*\t@ALL\t0', 'board:*\tanne\t1'])
    await server.put('start', open)
    await server.put('board:plan', plan)
    await wiki.add({ url: `${server.url}/`, people, public: true })
    // The wiki has no bob.
    expect(await wiki.sync()).toBe('1 item cannot be brought.')
    expect([await wiki.finds('anne'), await wiki.finds('dan')]).toEqual([[open, plan], [open]])
  })

  test.each([
    ['settings.url', { url: 'ftp://wiki.example' }],
    ['settings.url', { url: 'https://anne:pw@wiki.example' }],
    ['settings.url', { url: 'https://wiki.example/?id=x' }],
    ['settings.people.0.subject', { people: [{ account: 'anne', subject: 'group:all' }] }],
    ['settings.people.0.account', { people: [{ account: '', subject: 'user:anne' }] }],
    ['settings.public', { public: 'yes' }],
  ])('names %s where it is wrong', async (field, settings) => {
    expect(() => dokuwikiKind.read({ url: 'https://wiki.example', people, ...settings })).toThrow(
      expect.objectContaining({ field }),
    )
  })
})
