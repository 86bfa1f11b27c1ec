import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseHeads } from '../../src/audit/seal/heads.ts'
import { serviceObject } from '../../src/delegation/registry/services.ts'
import { createEnvelope } from '../../src/delegation/vault/envelope.ts'
import { createLocalKeys } from '../../src/delegation/vault/keys.ts'
import { isAdopted } from '../../src/ingest/reconcile-tuples.ts'
import { splitObject } from '../../src/kernel/ids.ts'
import { loadSecret } from '../../src/store/secret.ts'
import { describeDatabases } from '../support/backends.ts'
import { native } from '../support/native.ts'
import { askAll } from './asking.ts'
import { openUpgraded, type Upgraded } from './frozen.ts'
import { frozenVersions } from './versions.ts'

// Against a checkout of an earlier version: takes a minute.
if (process.env['ROLLING_FROM'] !== undefined) await import('./rolling.ts')

test('0.9.0 is among the versions that are upgraded from', () => {
  expect(frozenVersions).toContain('0.9.0')
})

// On Postgres only a look every 15 s takes from the dead what they were at. All versions wait for it at once.
const onPostgres = new Map<string, Promise<Upgraded>>()
beforeAll(() => {
  if (native.databaseUrl === undefined) return
  for (const version of frozenVersions) onPostgres.set(version, openUpgraded(version, 'postgres'))
  // Who asks for one hears of it.
  void Promise.allSettled(onPostgres.values())
})
afterAll(async () => {
  for (const opened of await Promise.allSettled(onPostgres.values()))
    if (opened.status === 'fulfilled') await opened.value[Symbol.asyncDispose]()
}, 60_000)

describe.each(frozenVersions)('%s', (version) => {
  describeDatabases('upgraded to the present version', (kind) => {
    let upgraded: Upgraded | undefined
    const it = (): Upgraded => {
      if (upgraded === undefined) throw new Error('It did not start.')
      return upgraded
    }
    beforeAll(async () => {
      upgraded = await (kind === 'postgres' ? onPostgres.get(version) : openUpgraded(version, kind))
    }, 300_000)
    afterAll(() => upgraded?.[Symbol.asyncDispose](), 60_000)

    const tokenOf = (user: string, agent?: string) =>
      it().token({ user, ...(agent !== undefined && { agent }) })
    const found = async (query: string, user: string, more: object = {}, agent?: string) => {
      const { results } = await it().retrieve(await tokenOf(user, agent), { query, top_k: 50, ...more })
      return results.map(({ document_id }) => document_id)
    }

    test('keeps the model in force', async () => {
      const { noted, service } = it()
      expect(service.fga.modelId).toBe(noted.modelId)
      const response = await it().call('GET', '/model', { token: await tokenOf('dan') })
      expect(await response.json()).toMatchObject({ model_id: noted.modelId, model: noted.modelText })
    })

    test('takes in what was under way: half done, begun and waiting', { timeout: 180_000 }, async () => {
      const { noted, service } = it()
      const { half, begun, waiting } = noted.jobs
      const owner = serviceObject('loader')
      const ended = await Promise.all(
        [half, begun, ...waiting].map((id) =>
          service.ingest.waitForJob(id, owner, AbortSignal.timeout(150_000)),
        ),
      )
      expect(ended.map((job) => [job?.state, job?.done, job?.failed])).toEqual([
        ['done', 4, 0],
        ...[begun, ...waiting].map(() => ['done', 1, 0]),
      ])
      await expect
        .poll(async () => (await found('half begun waiting unfinished', 'anne')).sort())
        .toEqual(expect.arrayContaining([...noted.underWay]))
    })

    test('takes over who is in groups and who writes where, and finds all of it as it should be', async () => {
      const { service, database } = it()
      const stored: string[] = []
      for await (const { user, relation, object } of service.fga.read({}))
        if (isAdopted(splitObject(object).type, relation)) stored.push(`${user} ${relation} ${object}`)
      const rows = await database.query<{ object: string; relation: string; line: string }>(
        `select object, relation, subject || ' ' || relation || ' ' || object as line from desired_tuples`,
      )
      const kept = rows.filter(({ object, relation }) => isAdopted(splitObject(object).type, relation))
      expect(kept.map(({ line }) => line).sort()).toEqual(stored.sort())
      expect(stored).toEqual(
        expect.arrayContaining([
          'user:anne member group:quality',
          expect.stringMatching(/^service:loader writer collection:/),
        ]),
      )
      expect(await database.query(`select key from settings where key = 'tuples_adopted'`)).toHaveLength(1)
      expect(await service.ingest.drift()).toMatchObject({ mended: 0 })
    })

    test('shows each person, and each agent for them, the same passages', { timeout: 120_000 }, async () => {
      const { noted } = it()
      // What was under way since then is told of above.
      const without = (passages: readonly string[]) =>
        passages.filter((passage) => !noted.underWay.some((id) => passage.startsWith(`${id}: `)))
      const asked = await askAll(it(), noted.questions)
      expect(asked.map((one) => ({ ...one, passages: without(one.passages) }))).toEqual(noted.questions)
      expect(noted.questions.flatMap(({ passages }) => passages).length).toBeGreaterThan(10)
    })

    test('keeps revoked what was revoked, and disabled who was disabled', async () => {
      const { noted, service } = it()
      const { live, other, revoked } = noted.delegations
      const isLive = (id: string) => service.delegations.isLive(id)
      expect(await Promise.all([live, other, revoked].map(isLive))).toEqual([true, true, false])
      await expect(tokenOf('bob', 'research-bot')).rejects.toThrow()
      const disabled = await service.agents.get(noted.disabledAgent)
      expect(disabled?.disabledAt).toBeInstanceOf(Date)
    })

    test('gives nothing more for a grant that was used, and once what an open one says', async () => {
      const { used, open } = it().noted.grants
      const byGrant = (approval: string) => found('budget', 'anne', { approval }, 'research-bot')
      const token = await tokenOf('anne', 'research-bot')
      const answers = await it().call('POST', '/retrieve', {
        token,
        body: { query: 'budget', approval: used },
      })
      expect(await answers.text()).not.toContain('budget-board')
      expect(await byGrant(open)).toContain('budget-board')
      const again = await it().call('POST', '/retrieve', { token, body: { query: 'budget', approval: open } })
      expect(await again.text()).not.toContain('budget-board')
    })

    test('goes on with the record as one chain, from the heads that were kept', async () => {
      const { noted, service } = it()
      await it().retrieve(await tokenOf('anne'), { query: 'after the upgrade' })
      const verified = await service.record.verify(parseHeads(noted.heads))
      expect(verified).toMatchObject({ findings: [], found: 0, dropped: { seals: 0 }, waiting: 0 })
      expect(verified.seals).toBeGreaterThan(noted.heads.length)
      const heads = await service.record.heads(0, 1_000)
      expect(heads.slice(0, noted.heads.length)).toEqual(noted.heads)
      expect(heads.length).toBeGreaterThan(noted.heads.length)
    })

    test('opens what the vault holds', async () => {
      const { noted, config, database } = it()
      const { id, subject, accessToken } = noted.connection
      const key = await loadSecret(join(config.home, 'keys'), 'vault.key')
      const envelope = createEnvelope(createLocalKeys([{ version: 'home', key }]))
      const [row] = await database.query<{ jwe: string; bytes: Uint8Array; version: string }>(
        'select sealed as jwe, wrapped_key as bytes, key_version as version from connections where id = $1',
        [id],
      )
      if (row === undefined) throw new Error('There is no connection.')
      const sealed = { jwe: row.jwe, key: { bytes: row.bytes, version: row.version } }
      expect(await envelope.open({ connection: id, subject }, sealed)).toMatchObject({ accessToken })
    })

    test('goes on reading its source, and keeps who is in a directory’s group', {
      timeout: 60_000,
    }, async () => {
      const { noted, service, database } = it()
      await database.query('update sources set next_at = now()')
      await service.sources.runDue()
      const [source] = await database.query(
        'select failures, problem, ended_at >= began_at as ended from sources',
      )
      expect(source).toMatchObject({ failures: 0, ended: true })
      const members: string[] = []
      for await (const { user } of service.fga.read({
        object: `group:acme/${noted.group}`,
        relation: 'member',
      }))
        members.push(user)
      expect(members).toEqual(['user:acme/eve'])
    })
  })
})
