import { randomBytes, randomUUID } from 'node:crypto'
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { makeIdentity, readArchiveKey, verifyArchive, writeManifest } from '../../src/backup/archive.ts'
import { type BackupOptions, backup } from '../../src/backup/backup.ts'
import { checkArchive, type RestoreOptions, restore } from '../../src/backup/restore.ts'
import { runCommand } from '../../src/cli/commands.ts'
import { loadConfig } from '../../src/config/config.ts'
import { createApprovalGrants } from '../../src/delegation/approvals/grants.ts'
import { readMarker } from '../../src/delegation/recovery/restore-detection.ts'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { loadSample, type Sample } from '../../src/sample/load.ts'
import { seedSample } from '../../src/sample/seed.ts'
import { type RunningService, start, withService } from '../../src/start.ts'
import { openWriteBarrier } from '../../src/store/barrier.ts'
import { loadSecret } from '../../src/store/secret.ts'
import { administer } from '../support/administer.ts'
import { native, needsOpenfgaProgram, needsPostgres } from '../support/native.ts'
import { type OwnOpenFga, startOpenFga } from '../support/openfga-server.ts'
import { freePort } from '../support/port.ts'
import { needsPostgresProgram } from '../support/postgres.ts'
import { freshSettings, remit, type Settings } from './process.ts'

const clock = { now: () => Date.now() }
const prefix = `remit_test_${randomBytes(6).toString('hex')}`
const needs = [needsPostgres, needsOpenfgaProgram, needsPostgresProgram].find(({ skip }) => skip) ?? {}
const PATH = `${native.postgres?.programs}:${process.env['PATH']}`
const migrations = new URL('../../migrations/', import.meta.url)

describe('a backup of both databases', needs, () => {
  let settings: Settings
  let folder: string
  let env: Readonly<Record<string, string>>
  let openfga: OwnOpenFga | undefined
  let service: RunningService | undefined
  let sample: Sample
  let recipient: string
  let identity: string
  const databaseUrl = urlOf(prefix)
  const openfgaUrl = `${urlOf(`${prefix}_openfga`)}?sslmode=disable`
  let openfgaPort: number

  beforeAll(async () => {
    settings = await freshSettings(undefined)
    folder = await mkdtemp(join(tmpdir(), 'remit-backups-'))
    identity = join(folder, 'key.txt')
    recipient = await makeIdentity(identity)
    await emptyDatabases()
    openfgaPort = await freePort()
    openfga = await startOpenFga(openfgaUrl, openfgaPort)
    env = {
      ...settings.env,
      PUBLIC_URL: settings.url,
      DATABASE_URL: databaseUrl,
      OPENFGA_API_URL: openfga.url,
      OPENFGA_API_TOKEN: openfga.token,
      OPENFGA_SECONDARY: 'none',
      OPENFGA_DATASTORE_URI: openfgaUrl,
      RATE_PER_MINUTE: '100000',
      TRUSTED_ISSUERS: JSON.stringify([
        {
          issuer: 'http://127.0.0.1:9',
          audiences: { api: settings.url, mcp: `${settings.url}/mcp` },
          namespace: 'elsewhere',
          preset: 'generic',
        },
      ]),
    }
    service = await begin()
    sample = await loadSample(fileURLToPath(new URL('../../sample', import.meta.url)), new Date())
    const { database } = service
    await seedSample(sample, { ...service.service, database, issuer: service.service.ownIssuer })
    await database.query(`insert into clients (client_id, kind) values ('tests', 'person')`)
  }, 300_000)
  afterAll(async () => {
    await service?.[Symbol.asyncDispose]()
    await openfga?.[Symbol.asyncDispose]()
    for (const one of [prefix, `${prefix}_openfga`])
      await administer(native.databaseUrl ?? '', `drop database if exists ${one} with (force)`)
    await settings?.[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  }, 60_000)

  const begin = (): Promise<RunningService> =>
    start(loadConfig(env), {
      clock,
      log: () => undefined,
      fetch,
      print: () => undefined,
      isTerminal: false,
      onStorageLost: () => undefined,
      onRefused: () => undefined,
    })
  const command = (name: string, args: object): Promise<Readonly<Record<string, unknown>>> =>
    withService(loadConfig(env), { clock, log: () => undefined, fetch }, async (deps) => ({
      ...(await runCommand(name, args, deps)),
    }))
  const running = (): RunningService => {
    if (service === undefined) throw new Error('No service runs.')
    return service
  }

  async function emptyDatabases(): Promise<void> {
    for (const one of [prefix, `${prefix}_openfga`]) {
      await administer(native.databaseUrl ?? '', `drop database if exists ${one} with (force)`)
      await administer(native.databaseUrl ?? '', `create database ${one}`)
    }
  }

  /** Both databases are gone, and nothing runs. */
  async function lose(): Promise<void> {
    await service?.[Symbol.asyncDispose]()
    service = undefined
    await openfga?.[Symbol.asyncDispose]()
    openfga = undefined
    await emptyDatabases()
  }

  const taking = (to: string, more: Partial<BackupOptions> = {}): BackupOptions => ({
    databaseUrl,
    openfgaUrl,
    keysDir: join(settings.home, 'keys'),
    to: join(folder, to),
    recipient,
    version: 'tests',
    env: { ...process.env, PATH },
    ...more,
  })
  const restoring = (from: string, more: Partial<RestoreOptions> = {}): RestoreOptions => ({
    databaseUrl,
    openfgaUrl,
    keysDir: join(settings.home, 'keys'),
    from: join(folder, from),
    identity,
    env: { ...process.env, PATH },
    migrations,
    ...more,
  })

  async function token(sub: string): Promise<{ readonly jti: string; readonly bearer: string }> {
    const { kid, privateKey } = (await openKeyRing(join(settings.home, 'keys'), clock)).current()
    const jti = `j_${randomUUID()}`
    const bearer = await new SignJWT({
      sub,
      client_id: 'tests',
      scope: 'docs.search docs.read',
      jti,
      txn: `t_${randomUUID()}`,
    })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
      .setIssuer(`${settings.url}/oauth`)
      .setAudience(settings.url)
      .setIssuedAt()
      .setExpirationTime('290 s')
      .sign(privateKey)
    return { jti, bearer }
  }
  const read = async (id: string, bearer: string): Promise<number> =>
    (
      await fetch(`${settings.url}/documents/${encodeURIComponent(id)}`, {
        headers: { authorization: `Bearer ${bearer}` },
      })
    ).status

  /** `person document`, of all people of the sample. */
  async function visible(): Promise<readonly string[]> {
    const { fga } = running().service
    const found: string[] = []
    for (const { key } of sample.people) {
      const checks = sample.documents.map(({ id }) => ({
        user: `user:${key}`,
        relation: 'can_read',
        object: `document:${id}` as const,
      }))
      // On a busy machine OpenFGA leaves some out, which is a denial and no answer.
      let verdicts = (await fga.batchCheck(checks, { now: Date.now() })).verdicts
      for (let tries = 0; tries < 20 && verdicts.includes('error'); tries += 1)
        verdicts = (await fga.batchCheck(checks, { now: Date.now() })).verdicts
      expect(verdicts).not.toContain('error')
      for (const [nth, { id }] of sample.documents.entries())
        if (verdicts[nth] === 'allowed') found.push(`${key} ${id}`)
      // One of them through the door. On a busy machine an answer may be a denial for lack of time.
      const [first] = sample.documents.filter((_, nth) => verdicts[nth] === 'allowed')
      const { bearer } = await token(key)
      if (first !== undefined) await expect.poll(() => read(first.id, bearer), { timeout: 30_000 }).toBe(200)
    }
    return found.sort()
  }
  /** The record to a number, as it is sealed. */
  const records = (to: number) =>
    running().database.query(
      `select record_no, md5(decision_records::text) as digest from decision_records where record_no <= $1
       order by record_no`,
      [to],
    )
  const storedTexts = () =>
    running().database.query('select md5(t::text) as digest from document_texts t order by 1')
  const newest = async (): Promise<number> => {
    const [row] = await running().database.query<{ no: number }>(
      'select max(record_no) as no from decision_records',
    )
    return row?.no ?? 0
  }
  const enabledAgents = async (): Promise<readonly string[]> =>
    (await running().service.agents.list())
      .flatMap(({ id, disabledAt }) => (disabledAt === undefined ? [id] : []))
      .sort()
  test('gives back what everybody saw and the whole record; no service starts on it before `remit recover`', {
    timeout: 600_000,
  }, async () => {
    const before = await visible()
    expect(before.length).toBeGreaterThan(50)
    const agents = await enabledAgents()
    const texts = await storedTexts()
    const last = await newest()
    const recordBefore = await records(last)
    const printed = await remit(
      ['backup', 'take', join(folder, 'first'), '--recipient', recipient, '--json'],
      { ...env, PATH },
    )
    expect([printed.code, printed.stderr]).toEqual([0, ''])
    const report = JSON.parse(printed.stdout) as { taken_at: string; bytes: number }
    const files = await readdir(join(folder, 'first'))
    expect(files.sort()).toEqual(['manifest.json', 'openfga.dump.age', 'remit.dump.age'])
    // Neither a text nor a key is in it in the clear.
    for (const name of ['remit', 'openfga'])
      expect((await readFile(join(folder, 'first', `${name}.dump.age`))).subarray(0, 21).toString()).toBe(
        'age-encryption.org/v1',
      )
    expect(await running().database.query('select bytes, openfga, failure from backup_run')).toEqual([
      { bytes: report.bytes, openfga: true, failure: null },
    ])
    await expect
      .poll(async () => (await running().service.record.unsealed()).rows, { timeout: 20_000 })
      .toBe(0)
    const kept = await running().service.record.heads(0, 10_000)

    // Looked at while everything runs: it stays as it is.
    const looked = await remit(
      ['restore', join(folder, 'first'), '--identity', identity, '--check', '--json'],
      { ...env, PATH },
    )
    expect([looked.code, JSON.parse(looked.stdout)]).toEqual([
      0,
      { taken_at: report.taken_at, openfga: 'in_it', seal: expect.any(Number) },
    ])
    expect(await newest()).toBeGreaterThanOrEqual(last)
    await lose()
    expect(await restore(restoring('first'))).toMatchObject({
      taken_at: report.taken_at,
      openfga: 'restored',
    })
    openfga = await startOpenFga(openfgaUrl, openfgaPort)
    await expect(begin()).rejects.toThrow(/restored from the backup of .* not recovered.*remit recover/)
    await expect(command('recover', {})).rejects.toThrow(/Nothing tells who was taken off/)
    const changedHead = kept.map((head, nth) => (nth === 0 ? { ...head, head: 'f'.repeat(64) } : head))
    await expect(command('recover', { heads: changedHead })).rejects.toThrow(
      /not the one of these heads: head differs, seal 1/,
    )
    await expect(begin()).rejects.toThrow(/not recovered/)
    // Heads that end with the copy prove nothing: somebody may have been taken off after them.
    await expect(command('recover', { heads: kept })).rejects.toThrow(/Nothing tells who was taken off/)
    await expect(command('drift', {})).rejects.toThrow(/not recovered/)
    expect(await command('recover', { heads: kept, access: 'keep' })).toMatchObject({
      access: 'keep',
      records_missing: 0,
      agents_disabled: agents.length,
    })
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    service = await begin()
    expect(await visible()).toEqual(before)
    expect(await storedTexts()).toEqual(texts)
    expect(await records(last)).toEqual(recordBefore)
    expect(await enabledAgents()).toEqual([])
  })

  test('restores nothing that is cut short, altered, of another installation, of a newer version, or over another database', {
    timeout: 300_000,
  }, async () => {
    const key = await readArchiveKey(join(settings.home, 'keys'))
    const copyOf = async (name: string): Promise<string> => {
      await cp(join(folder, 'first'), join(folder, name), { recursive: true })
      return join(folder, name)
    }
    const short = join(await copyOf('short'), 'remit.dump.age')
    await truncate(short, (await stat(short)).size - 100)
    const altered = join(await copyOf('altered'), 'openfga.dump.age')
    const bytes = await readFile(altered)
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
    await writeFile(altered, bytes)
    const swapped = await copyOf('swapped')
    const said = await readFile(join(swapped, 'manifest.json'), 'utf8')
    await writeFile(join(swapped, 'manifest.json'), said.replace(/"seal": \d+/, '"seal": 999999'))
    const newer = await copyOf('newer')
    const {
      manifest: { mac: _, ...manifest },
    } = await verifyArchive(newer, key)
    await rm(join(newer, 'manifest.json'))
    // Not the highest number: a branch may have brought it in later.
    await writeManifest(newer, key, { ...manifest, migrations: ['0001_later.sql', ...manifest.migrations] })
    const elsewhere = join(folder, 'elsewhere')
    await loadSecret(elsewhere, 'oauth.key')
    const otherKey = join(folder, 'other.txt')
    await makeIdentity(otherKey)
    const openKey = join(folder, 'open.txt')
    await cp(identity, openKey)
    await chmod(openKey, 0o640)
    const free = { databaseUrl: urlOf(`${prefix}_free`) }
    await administer(native.databaseUrl ?? '', `create database ${prefix}_free`)
    try {
      const refusals = {
        short: await refusal(restoring('short', free)),
        altered: await refusal(restoring('altered', free)),
        swapped: await refusal(restoring('swapped', free)),
        newer: await refusal(restoring('newer', free)),
        elsewhere: await refusal(restoring('first', { ...free, keysDir: elsewhere })),
        otherKey: await refusal(restoring('first', { ...free, identity: otherKey })),
        openKey: await refusal(restoring('first', { ...free, identity: openKey })),
        noKey: await refusal(restoring('first', { ...free, identity: join(folder, 'none.txt') })),
        openfga: await refusal(restoring('first', free)),
        over: await refusal(restoring('first')),
      }
      expect(refusals).toEqual({
        short: expect.stringMatching(/cut short or altered/),
        altered: expect.stringMatching(/openfga\.dump\.age was altered/),
        swapped: expect.stringMatching(/was altered, or belongs to another installation/),
        newer: expect.stringMatching(/newer version of Remit.*0001_later\.sql/),
        elsewhere: expect.stringMatching(/belongs to another installation/),
        otherKey: expect.stringMatching(/does not open/),
        openKey: expect.stringMatching(/Others can read .*open\.txt/),
        noKey: expect.stringMatching(/There is no .*none\.txt/),
        openfga: expect.stringMatching(/OPENFGA_DATASTORE_URI is not empty/),
        over: expect.stringMatching(/DATABASE_URL is not empty/),
      })
      // The look beforehand says the same, whatever the databases hold.
      for (const from of ['short', 'altered', 'swapped', 'newer'])
        expect(await refusal(restoring(from), checkArchive)).toBe(refusals[from as keyof typeof refusals])
      for (const [name, more] of Object.entries({
        elsewhere: { keysDir: elsewhere },
        otherKey: { identity: otherKey },
      }))
        expect(await refusal(restoring('first', more), checkArchive)).toBe(
          refusals[name as keyof typeof refusals],
        )
      // It needs no database, not even the name of one.
      const nowhere = { ...restoring('first'), databaseUrl: undefined, openfgaUrl: undefined }
      expect(await checkArchive(nowhere)).toMatchObject({ openfga: 'in_it' })
      // Nothing was touched.
      await expect(
        administer(urlOf(`${prefix}_free`), 'select 1 from public.restore_under_way'),
      ).rejects.toThrow(/does not exist/)
    } finally {
      await administer(native.databaseUrl ?? '', `drop database if exists ${prefix}_free with (force)`)
    }
  })

  test('writes over no folder, not even an empty one, and says so before it begins', async () => {
    await mkdir(join(folder, 'empty'))
    for (const to of ['first', 'empty'])
      await expect(backup(taking(to, { step: () => Promise.reject(new Error('begun')) }))).rejects.toThrow(
        /is there already/,
      )
    expect(await readdir(join(folder, 'empty'))).toEqual([])
  })

  test('waits for a write also where the server ends idle transactions sooner', async () => {
    const url = new URL(databaseUrl)
    url.searchParams.set('options', '-cidle_in_transaction_session_timeout=100')
    await using barrier = openWriteBarrier(url.href)
    await barrier.pass(async () => {
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      await expect(backup(taking('amid', { waitMs: 300 }))).rejects.toThrow(/did not pause/)
    })
  })

  test('waits for writes a bounded time and then fails with words; it stops no question, and no write for long', {
    timeout: 120_000,
  }, async () => {
    const { fga, ingest } = running().service
    const someone = { user: 'user:nobody-yet', relation: 'viewer', object: 'collection:handbook' } as const
    // A write that is under way for longer than the backup waits.
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const slow = fga.write({ writes: [someone] }, async () => {
      await held
      return { ...someone, user: 'user:nobody-else' }
    })
    await expect(backup(taking('never', { waitMs: 300 }))).rejects.toThrow(/did not pause within 0.3 s/)
    release()
    await slow.catch(() => undefined)
    expect(await running().database.query('select failure from backup_run')).toEqual([
      { failure: expect.stringMatching(/did not pause/) },
    ])
    // With the barrier held: questions are answered, a write waits, and is done once it is over.
    const { key } = sample.people[0] ?? { key: '' }
    const { bearer } = await token(key)
    const order: string[] = []
    await expect(
      backup(
        taking('too-long', {
          // Time enough to be asked within it, on a machine that stands still for a moment.
          holdMs: 5_000,
          step: async (name) => {
            if (name !== 'barrier') return
            void ingest.takeAway(operator('t_late'), [someone]).then(() => order.push('written'))
            expect(await read(sample.documents[0]?.id ?? '', bearer)).toBeLessThan(500)
            order.push('asked')
            await new Promise((resolve) => setTimeout(resolve, 6_500))
          },
        }),
      ),
    ).rejects.toThrow(/pause of writes was over after 5 s/)
    await expect.poll(() => order, { timeout: 20_000 }).toEqual(['asked', 'written'])
    expect((await readdir(folder)).filter((name) => /never|too-long/.test(name))).toEqual([])
  })

  test('after a loss nothing counts again that was ended since: an agent, a code, a reader, a membership, a grant, a token', {
    timeout: 600_000,
  }, async () => {
    const { service: parts, database } = running()
    const before = await visible()
    // Ended by the recovery before.
    const [lent] = sample.delegations
    if (lent === undefined) throw new Error('The sample lends nothing.')
    await parts.agentAdministration.enable(operator('t_tests'), lent.agent, { lent: 'keep' })
    const { subject, scope, purpose } = lent
    const until = new Date(Date.now() + 3_600_000)
    await parts.delegations.lend({ subject, agent: lent.agent, scope, purpose, expiresAt: until })
    const [delegation] = await parts.delegations.listLive()
    const grants = createApprovalGrants({
      database,
      fga: parts.fga,
      clock,
      log: () => undefined,
      randomBytes,
    })
    const { id: grant } = await grants.prepare({
      approval: 'p_tests',
      subject: delegation?.subject ?? 'user:anne',
      agent: delegation?.agent ?? '',
      delegation: delegation?.id ?? '',
      objects: ['document:none'],
      until: new Date(Date.now() + 3_600_000),
      maxUses: 1,
      remembered: false,
    })
    await database.transaction((sql) => grants.activateWithin(sql, grant, operator('t_tests')))
    await database.query(
      `insert into oauth_artifacts (model, id_hash, sealed, expires_at)
       values ('AuthorizationCode', 'a-code', '\\x00', now() + interval '1 hour')`,
    )
    const [first] = sample.people
    const old = await token(first?.key ?? '')
    await backup(taking('second'))

    // (a) to (f), after the backup.
    const [agent = ''] = await enabledAgents()
    await parts.agentAdministration.disable(operator('t_tests'), agent)
    await database.query(`update oauth_artifacts set consumed_at = now() where id_hash = 'a-code'`)
    const tuples = []
    for await (const page of parts.fga.readAll()) tuples.push(...page)
    const reader = tuples.find(
      ({ user, relation, object }) =>
        relation === 'viewer' && object.startsWith('document:') && user.startsWith('user:'),
    )
    const member = tuples.find(
      ({ user, relation, object }) =>
        relation === 'member' && object.startsWith('group:') && user.startsWith('user:'),
    )
    if (reader === undefined || member === undefined) throw new Error('The sample has no such tuples.')
    for (const { user, relation, object } of [reader, member])
      await parts.ingest.takeAway(operator('t_tests'), [
        { user, relation, object } as Parameters<typeof parts.ingest.takeAway>[1][number],
      ])
    await database.query('update approval_grants set used = 1 where id = $1', [grant])
    await parts.revocations.revoke(
      { kind: 'jti', issuer: `${settings.url}/oauth`, id: old.jti },
      { reason: 'tests' },
    )
    const after = await visible()
    expect(after.length).toBeLessThan(before.length)
    expect(before).toEqual(expect.arrayContaining([...after]))
    await expect
      .poll(async () => (await running().service.record.unsealed()).rows, { timeout: 20_000 })
      .toBe(0)
    const kept = await running().service.record.heads(0, 10_000)

    await lose()
    // One that dies in the midst leaves what refuses to start, and may be run again.
    for (const step of ['marked', 'openfga', 'loading'] as const) {
      await expect(
        restore(
          restoring('second', {
            step: async (name) => {
              if (name === step) throw new Error('died')
            },
          }),
        ),
      ).rejects.toThrow(/died/)
      await expect(begin()).rejects.toThrow(/A restore of this database was begun and has not ended/)
    }
    await restore(restoring('second'))
    openfga = await startOpenFga(openfgaUrl, openfgaPort)
    await expect(command('recover', { heads: kept, access: 'keep' })).rejects.toThrow(
      /records since .* missing/,
    )
    const recovered = await command('recover', { heads: kept, access: 'end' })
    expect(recovered).toMatchObject({ access: 'end', grants_ended: 1 })
    expect(Number(recovered['records_missing'])).toBeGreaterThan(0)
    expect(Number(recovered['agents_disabled'])).toBeGreaterThan(0)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    service = await begin()
    expect({
      agents: await enabledAgents(),
      codes: await running().database.query(
        `select 1 from oauth_artifacts where model <> 'ReplayDetection' and ended_at is null`,
      ),
      grants: await running().database.query(`select 1 from approval_grants where state <> 'ended'`),
      sessions: await running().database.query('select 1 from browser_sessions'),
      delegations: await running().service.delegations.listLive(),
      token: await read(sample.documents[0]?.id ?? '', old.bearer),
      visible: await visible(),
    }).toEqual({ agents: [], codes: [], grants: [], sessions: [], delegations: [], token: 401, visible: [] })
  })

  test('of the database alone, under an OpenFGA that went on, leaves everybody in the groups that they are in by now', {
    timeout: 300_000,
  }, async () => {
    const { ingest, fga, revocations } = running().service
    const left = { user: 'user:left', relation: 'member', object: 'group:team' } as const
    const block = { user: 'group:out#member', relation: 'blocked', object: 'organization:firm' } as const
    const put = { user: 'user:put', relation: 'member', object: 'group:out' } as const
    await ingest.applyTuples(operator('t_tests'), { writes: [left, block], deletes: [] })
    await backup(taking('alone', { openfgaUrl: undefined }))
    const told = await readMarker(fga)
    await ingest.applyTuples(operator('t_tests'), { writes: [put], deletes: [left] })
    await revocations.revoke(
      { kind: 'jti', issuer: `${settings.url}/oauth`, id: 'j_tests' },
      { reason: 'tests' },
    )
    await expect.poll(() => readMarker(fga), { timeout: 20_000 }).toBeGreaterThan(told)
    await service?.[Symbol.asyncDispose]()
    service = undefined
    await administer(native.databaseUrl ?? '', `drop database ${prefix} with (force)`)
    await administer(native.databaseUrl ?? '', `create database ${prefix}`)
    await restore(restoring('alone', { openfgaUrl: undefined }))
    expect(await command('recover', { access: 'keep' })).toMatchObject({ older: 'database', access: 'keep' })
    service = await begin()
    await service.service.ingest.drift()
    const found: string[] = []
    for (const object of ['group:team', 'group:out', 'organization:firm'] as const)
      for await (const { user } of service.service.fga.read({ object })) found.push(`${user} ${object}`)
    expect(found).toEqual(['user:put group:out', 'group:out#member organization:firm'])
  })
})

async function refusal(
  options: RestoreOptions,
  act: (options: RestoreOptions) => Promise<unknown> = restore,
): Promise<string> {
  return act(options).then(
    () => 'restored',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )
}

function urlOf(database: string): string {
  const url = new URL(native.databaseUrl ?? '')
  url.pathname = `/${database}`
  return url.href
}
