import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { operator } from '../../../src/audit/record.ts'
import { redmineKind } from '../../../src/sources/kinds/redmine/kind.ts'
import { needsRedmine } from '../../support/native.ts'
import { openWorld } from '../../support/world.ts'
import { openRedmineServer, type RedmineServer } from './server.ts'
import { openSmall } from './small.ts'

const shown = z.object({ source: z.object({ digest: z.string() }) })

describe('a Redmine in the service', { ...needsRedmine, timeout: 180_000 }, () => {
  let server: RedmineServer
  beforeAll(async () => {
    server = await openRedmineServer()
  }, 120_000)
  afterAll(() => server?.[Symbol.asyncDispose]())

  test('lets each person find what Redmine shows their account, and follows what changes', async () => {
    const { ids, key, ruby } = await openSmall(server)
    await using world = await openWorld({
      env: {
        SOURCE_ORIGINS: server.url,
        OUTBOUND_ALLOWED_ORIGINS: server.url,
        SOURCE_SECRETS: JSON.stringify([
          { name: 'redmine', kind: 'redmine', origin: server.url, secret_env: 'REDMINE_KEY' },
        ]),
        REDMINE_KEY: key,
        REQUEST_DEADLINE_MS: '30000',
      },
      sourceKinds: [redmineKind],
    })
    const { service, database } = world
    await service.ingest.saveCollection(operator('test'), { id: 'tracker', title: 'Tracker' })
    for (const user of ['dan', 'carol']) await service.administrators.add(`user:${user}`, ['security.write'])
    const post = async (user: string, path: string, body: object) => {
      const answer = await world.call('POST', path, { token: await world.token({ user }), body })
      expect(answer.status).toBe(200)
      return shown.parse(await answer.json()).source
    }
    const sync = async () => {
      await database.query('update sources set next_at = now()')
      await service.sources.runDue()
      // What searches know of documents follows the rows.
      await new Promise((resolve) => setTimeout(resolve, 700))
    }
    const finds = async (user: string) => {
      const token = await world.token({ user, scopes: ['docs.search'] })
      const { results } = await world.retrieve(token, { query: 'harbour', top_k: 20 })
      return results.map(({ text }) => text.replace('Issue\n\n', '')).sort()
    }
    await ruby(`
      issue['The harbour opens at nine.']
      issue['The harbour will be sold.', is_private: true, author: user['bob']]
      write['a', 'Harbour', 'The harbour has three piers.']`)
    const people = ['anne', 'bob'].map((login) => ({ account: ids[login], subject: `user:${login}` }))
    const { digest } = await post('dan', '/sources', {
      id: 'tracker',
      kind: 'redmine',
      settings: { url: server.url, people },
      collections: ['tracker'],
      secret: 'redmine',
    })
    await post('carol', '/sources/tracker', { action: 'confirm', digest })
    await sync()
    const [open, plan, piers] = [
      'The harbour opens at nine.',
      'The harbour will be sold.',
      'The harbour has three piers.',
    ]
    expect([await finds('anne'), await finds('bob')]).toEqual([
      [piers, open],
      [piers, open, plan],
    ])
    await ruby(`
      Member.find_by(project: project['a'], principal: user['bob']).destroy
      Issue.find_by(is_private: true).update!(is_private: false)`)
    await sync()
    expect([await finds('anne'), await finds('bob')]).toEqual([[piers, open, plan], []])
  })
})
