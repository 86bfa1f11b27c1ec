import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { operator } from '../../../src/audit/record.ts'
import { smbKind } from '../../../src/sources/kinds/smb/kind.ts'
import { openWorld } from '../../support/world.ts'
import { password } from './admin.ts'
import { needsSamba, openSamba, type Samba } from './samba.ts'

const shown = z.object({ source: z.object({ digest: z.string() }) })

/** The service with the share `docs` as the source `share`. */
async function openService(samba: Samba) {
  const origin = `smb://${samba.host}/docs`
  const world = await openWorld({
    env: {
      SOURCE_ORIGINS: origin,
      SOURCE_SECRETS: JSON.stringify([{ name: 'share', kind: 'smb', origin, secret_env: 'SHARE_PASSWORD' }]),
      SHARE_PASSWORD: password,
      REQUEST_DEADLINE_MS: '30000',
    },
    sourceKinds: [smbKind],
  })
  const { service, database } = world
  await service.ingest.saveCollection(operator('test'), { id: 'share', title: 'Share' })
  for (const user of ['dan', 'carol']) await service.administrators.add(`user:${user}`, ['security.write'])
  const call = async (user: string, method: string, path: string, body: object) => {
    const response = await world.call(method, path, { token: await world.token({ user }), body })
    const answer: unknown = await response.json()
    return { status: response.status, answer }
  }
  return {
    propose: (settings: object, secret?: string) =>
      call('dan', 'POST', '/sources', {
        ...{ id: 'share', kind: 'smb', settings, collections: ['share'] },
        ...(secret !== undefined && { secret }),
      }),
    confirm: (digest: string) => call('carol', 'POST', '/sources/share', { action: 'confirm', digest }),
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
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  }
}

const settings = {
  server: 'fs.corp.example',
  share: 'docs',
  account: 'FS\\remit',
  people: [{ account: 'S-1-5-21-1-2-3-1001', subject: 'user:anne' }],
  connect: 'ask',
  acl_alone_decides: true,
}

describe('the source of a share in the service', () => {
  test('lets each person find what their account of the server may read, and follows what changes', {
    timeout: 180_000,
    ...needsSamba,
  }, async () => {
    await using samba = await openSamba({ accounts: ['anne', 'bob'], groups: ['board'] })
    await using share = await openService(samba)
    const [open, plan] = ['The harbour opens at nine.', 'The harbour will be sold.']
    const allow = (path: string, dacl: string) =>
      samba.admin.rights(path, `O:${samba.sidOf('root')}G:${samba.domain}-513D:P${dacl}`)
    samba.setGroups(new Map([['board', ['anne']]]))
    await samba.admin.write('open.md', open)
    await allow('open.md', '(A;;0x120089;;;WD)')
    await samba.admin.write('plan.md', plan)
    await allow('plan.md', `(A;;0x120089;;;${samba.sidOf('board')})`)
    const own = {
      ...settings,
      ...{ server: samba.host, account: 'FS\\root' },
      people: ['anne', 'bob'].map((name) => ({ account: samba.sidOf(name), subject: `user:${name}` })),
    }
    expect((await share.propose(own)).status).toBe(422)
    const proposed = await share.propose(own, 'share')
    expect(proposed.status).toBe(200)
    expect((await share.confirm(shown.parse(proposed.answer).source.digest)).status).toBe(200)
    await share.sync()
    expect([await share.finds('anne'), await share.finds('bob')]).toEqual([[open, plan], [open]])
    samba.setGroups(new Map([['board', ['bob']]]))
    await allow('open.md', `(D;;0x1;;;${samba.sidOf('bob')})(A;;0x120089;;;WD)`)
    await share.sync()
    expect([await share.finds('anne'), await share.finds('bob')]).toEqual([[open], [plan]])
  })

  test.each([
    ['settings.server', { server: 'fs/../elsewhere' }],
    ['settings.server', { server: '-A' }],
    ['settings.share', { share: 'docs/..' }],
    ['settings.account', { account: 'FS\\remit%password' }],
    ['settings.account', { account: 'remit"' }],
    ['settings.people.0.account', { people: [{ account: 'anne', subject: 'user:anne' }] }],
    ['settings.people.0.subject', { people: [{ account: 'S-1-5-21-1', subject: 'group:all' }] }],
    ['settings.groups.0.sid', { groups: [{ sid: '1; ls', members: [] }] }],
    ['settings.connect', { connect: undefined }],
    ['settings.acl_alone_decides', { acl_alone_decides: false }],
  ])('names %s where it is wrong', (field, other) => {
    expect(() => smbKind.read({ ...settings, ...other })).toThrow(expect.objectContaining({ field }))
  })

  test('is named by its server and share', () => {
    expect(smbKind.read(settings).origin).toBe('smb://fs.corp.example/docs')
  })
})
