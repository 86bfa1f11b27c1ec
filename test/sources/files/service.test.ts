import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { operator } from '../../../src/audit/record.ts'
import { filesKind } from '../../../src/sources/kinds/files/kind.ts'
import { openWorld } from '../../support/world.ts'
import { needsRootAndAcls } from './kernel.ts'

/**
 * The service with a tree of files as the source `share`, and two of the machine's own accounts as anne and
 * bob.
 */
async function openShare() {
  const root = mkdtempSync(join(tmpdir(), 'remit-share-'))
  chmodSync(root, 0o755)
  const world = await openWorld({
    env: { SOURCE_ORIGINS: pathToFileURL(root).href, REQUEST_DEADLINE_MS: '30000' },
    sourceKinds: [filesKind],
  })
  const { service, database } = world
  await service.ingest.saveCollection(operator('test'), { id: 'files', title: 'Files' })
  for (const user of ['dan', 'carol']) await service.administrators.add(`user:${user}`, ['security.write'])
  const call = async (user: string, method: string, path: string, body: object) => {
    const response = await world.call(method, path, { token: await world.token({ user }), body })
    const answer: unknown = await response.json()
    return { status: response.status, answer }
  }
  return {
    root,
    /** By two administrators. */
    async add(settings: object) {
      const proposal = { id: 'share', kind: 'files', settings, collections: ['files'] }
      const proposed = await call('dan', 'POST', '/sources', proposal)
      const { digest } = shown.parse(proposed.answer).source
      const confirmed = await call('carol', 'POST', '/sources/share', { action: 'confirm', digest })
      expect([proposed.status, confirmed.status]).toEqual([200, 200])
    },
    async sync() {
      await database.query('update sources set next_at = now()')
      await service.sources.runDue()
      // What searches know of documents follows the rows.
      await new Promise((resolve) => setTimeout(resolve, 700))
    },
    async finds(user: string) {
      const token = await world.token({ user, scopes: ['docs.search'] })
      const { results } = await world.retrieve(token, { query: 'harbour', top_k: 20 })
      return results.map(({ text }) => text).sort()
    },
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]()
      await rm(root, { recursive: true, force: true })
    },
  }
}

const shown = z.object({ source: z.object({ digest: z.string() }) })

const people = [
  { name: 'daemon', uid: 1, subject: 'user:anne' },
  { name: 'games', uid: 5, subject: 'user:bob' },
]

describe('the source of files in the service', needsRootAndAcls, () => {
  test('lets each person find what their account of the machine may read, and follows what changes', {
    timeout: 180_000,
  }, async () => {
    await using share = await openShare()
    const { root } = share
    const [open, plan] = ['The harbour opens at nine.', 'The harbour will be sold.']
    mkdirSync(join(root, 'board'), { mode: 0o700 })
    writeFileSync(join(root, 'open.md'), open)
    writeFileSync(join(root, 'board/plan.md'), plan)
    execFileSync('setfacl', ['-m', 'u:1:x', join(root, 'board')])
    await share.add({ root, people })
    await share.sync()
    expect([await share.finds('anne'), await share.finds('bob')]).toEqual([[open, plan], [open]])
    execFileSync('setfacl', ['-m', 'u:1:-,u:5:x', join(root, 'board')])
    execFileSync('setfacl', ['-m', 'u:5:-', join(root, 'open.md')])
    await share.sync()
    expect([await share.finds('anne'), await share.finds('bob')]).toEqual([[open], [plan]])
  })

  test.each([
    ['settings.root', { root: 'share', people }],
    ['settings.people.0.subject', { people: [{ name: 'daemon', uid: 1, subject: 'group:all' }] }],
    ['settings.people.0.uid', { people: [{ name: 'root', uid: 0, subject: 'user:anne' }] }],
    ['settings.people.0.name', { people: [{ name: '--help', uid: 1, subject: 'user:anne' }] }],
  ])('names %s where it is wrong', async (field, settings) => {
    expect(() => filesKind.read({ root: '/srv/share', ...settings })).toThrow(
      expect.objectContaining({ field }),
    )
  })
})
