/**
 * Leaves the database of this very version in `test/upgrade/VERSION`, for all later ones to start on: the
 * real service, people and agents who did this and that, and jobs under way. Native Postgres, `pg_dump`:
 *
 *     eval "$(.ci/services)" && npm run freeze
 *
 * Ids are random, so each run gives another one: a version is frozen once, when it is released.
 */
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { operator } from '../../src/audit/record.ts'
import { serviceObject } from '../../src/delegation/registry/services.ts'
import { createEnvelope } from '../../src/delegation/vault/envelope.ts'
import { createLocalKeys } from '../../src/delegation/vault/keys.ts'
import type { Embedder } from '../../src/embed/embedder.ts'
import { version } from '../../src/kernel/version.ts'
import { takeIn } from '../../src/sample/seed.ts'
import { loadSecret } from '../../src/store/secret.ts'
import { agree } from '../support/approvals.ts'
import { createWordEmbedder } from '../support/embedder.ts'
import { native } from '../support/native.ts'
import { openWorld, type World } from '../support/world.ts'
import { askAll, questions } from './asking.ts'
import type { Noted } from './noted.ts'
import { frozenSettings, frozenSources, unfinished } from './settings.ts'

const ended = new AbortController()

/** Does not come back with the vectors of what is not to be finished, until all is over. */
function stallingEmbedder(): Embedder {
  const words = createWordEmbedder()
  return {
    ...words,
    async embedPassages(texts, ...more) {
      if (texts.some((text) => text.includes(unfinished)))
        await new Promise((_, reject) => ended.signal.addEventListener('abort', reject, { once: true }))
      return words.embedPassages(texts, ...more)
    },
  }
}

const hour = 3_600_000
const writer = { ...operator('freeze'), subject: serviceObject('loader') } as const

async function freeze(): Promise<void> {
  if (native.databaseUrl === undefined || native.postgres === undefined)
    throw new Error('It needs native Postgres and its programs: eval "$(.ci/services)"')
  await using world = await openWorld({
    backend: { database: 'postgres', openfga: 'engine' },
    embedder: stallingEmbedder(),
    env: frozenSettings,
    sourceKinds: frozenSources(),
  })
  const folder = fileURLToPath(new URL(`${version}/`, import.meta.url))
  await mkdir(folder, { recursive: true })
  const noted = await seed(world)
  const url = new URL(native.databaseUrl)
  const [row] = await world.database.query<{ name: string }>('select current_database() as name')
  url.pathname = `/${row?.name}`
  const { stdout } = await promisify(execFile)(
    join(native.postgres.programs, 'pg_dump'),
    ['--no-owner', '--no-privileges', '--inserts', '--rows-per-insert=100', `--dbname=${url.href}`],
    { maxBuffer: 1e9 },
  )
  await writeFile(join(folder, 'database.sql.gz'), gzipSync(portable(stdout), { level: 9 }))
  await writeFile(join(folder, 'noted.json'), `${JSON.stringify(noted, null, 2)}\n`)
  await writeFile(join(folder, 'tuples.txt'), `${(await tuplesOf(world)).join('\n')}\n`)
  await writeFile(join(folder, 'test-keys.json'), `${JSON.stringify(await keysOf(world), null, 2)}\n`)
  ended.abort(new Error('frozen'))
  process.stdout.write(`${folder}: ${noted.questions.length} questions, ${stdout.length} bytes of SQL\n`)
}

/** What both databases take: no commands of psql's, no settings that outlast it, the type of vectors open. */
const portable = (dump: string): string =>
  dump
    .replaceAll(/^\\.*\n/gm, '')
    .replaceAll(/^SELECT pg_catalog\.set_config\('search_path'.*\n/gm, '')
    .replaceAll(/^SET /gm, 'SET LOCAL ')
    .replaceAll('halfvec', ':vector')

async function tuplesOf({ service }: World): Promise<string[]> {
  const tuples: string[] = []
  for await (const page of service.fga.readAll())
    tuples.push(...page.map(({ user, relation, object }) => `${user} ${relation} ${object}`))
  return tuples.sort()
}

/** By name, in base64: made for this, and known to everybody. */
async function keysOf({ config }: World): Promise<Readonly<Record<string, string>>> {
  const dir = join(config.home, 'keys')
  const names = (await readdir(dir)).sort()
  const files = await Promise.all(names.map((name) => readFile(join(dir, name))))
  return Object.fromEntries(names.map((name, at) => [name, files[at]?.toString('base64') ?? '']))
}

async function seed(world: World): Promise<Noted> {
  const { service } = world
  for (const user of ['carol', 'dan'])
    await service.administrators.add(`user:${user}`, ['security.read', 'security.write'])
  await service.agents.save({
    id: 'disabled-bot',
    owner: 'user:dan',
    purpose: 'tests',
    issuer: service.ownIssuer,
    sub: 'disabled-bot',
  })
  const member = (user: string, group: string) =>
    ({ user: `user:${user}`, relation: 'member', object: `group:${group}` }) as const
  // Not straight to OpenFGA: what has no row is taken away there.
  await service.ingest.applyTuples(operator('freeze'), {
    writes: [member('anne', 'quality'), member('bob', 'support')],
    deletes: [],
  })
  await world.put({
    'plan-anne': { text: 'The plan of anne: travel in March.', access: { viewers: ['user:anne'] } },
    'plan-quality': {
      text: 'The plan of quality: travel in April.',
      access: { viewers: ['group:quality#member'] },
    },
    'plan-support': {
      text: 'The plan of support: travel in May.',
      access: { viewers: ['group:support#member'] },
    },
    'plan-all': {
      text: 'The plan of all: travel in June.',
      access: { viewers: ['user:anne', 'user:bob', 'user:carol'], blocked: ['user:carol'] },
    },
    'budget-board': {
      collection: 'finance',
      text: 'The plan of the board: a budget for travel.',
      access: { viewers: ['user:anne', 'user:bob'], sensitive: true },
    },
    'plan-withdrawn': { text: 'The plan of yesterday: travel.', access: { viewers: ['user:anne'] } },
  })
  await service.ingest.withdraw(writer, 'plan-withdrawn')
  const live = await world.lend('anne', 'research-bot', 'collection:handbook', 'collection:finance')
  const other = await world.lend('bob', 'other-bot', 'document:plan-all')
  const revoked = await world.lend('bob', 'research-bot', 'collection:handbook')
  await service.delegations.revoke(revoked)
  await world.lend('anne', 'disabled-bot', 'collection:handbook')
  await service.agentAdministration.disable(operator('freeze'), 'disabled-bot')
  const secondModel = await secondGeneration(world)
  const group = await directory(world)
  await source(world)
  const connection = await link(world)
  const grants = await grantsOf(world, live)
  // Searches learn of documents a moment after they stand.
  await until('everything is found', async () => {
    const found = (await askAll(world, questions)).flatMap(({ passages }) => passages).join()
    return ['wiki/canteen', 'wiki/roof', 'plan-quality', 'plan-support'].every((id) => found.includes(id))
  })
  const noted = await askAll(world, questions)
  const jobs = await underWay(world)
  await service.record.seal()
  return {
    version,
    frozenAt: Date.now(),
    modelId: service.fga.modelId,
    modelText: secondModel,
    questions: noted,
    delegations: { live, revoked, other },
    grants,
    connection,
    heads: await service.record.heads(0, 1_000),
    ...jobs,
    group,
    disabledAgent: 'disabled-bot',
  }
}

/** A change of a comment, planned by one and confirmed by two. */
async function secondGeneration(world: World): Promise<string> {
  const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
  const model = dsl.replace('# People, and', '# Persons, and')
  const { plan } = await sent(world, 'dan', '/model/plan', { model })
  const { plan_id } = plan as { plan_id: string }
  for (const user of ['dan', 'carol']) await sent(world, user, '/model/apply', { plan_id })
  return model
}

async function directory(world: World): Promise<string> {
  const { directories } = world.service
  await directories.add({ name: 'acme', namespace: 'acme', prefix: 'acme/', keyAttribute: 'externalId' })
  const { token } = await directories.issueToken('acme', { days: 30, isOnly: false })
  const scim = async (path: string, body: object) => {
    const headers = { 'content-type': 'application/scim+json' }
    const response = await world.call('POST', `/scim/v2${path}`, { token, body, headers })
    if (response.status !== 201) throw new Error(await response.text())
    return ((await response.json()) as { id: string }).id
  }
  const schema = (of: string) => [`urn:ietf:params:scim:schemas:core:2.0:${of}`]
  const user = { schemas: schema('User'), userName: 'eve@acme.test', externalId: 'eve', active: true }
  const value = await scim('/Users', user)
  return scim('/Groups', { schemas: schema('Group'), displayName: 'Sales', members: [{ value }] })
}

async function source(world: World): Promise<void> {
  const { ingest, sources } = world.service
  await ingest.saveCollection(operator('freeze'), { id: 'wiki', title: 'The wiki' })
  const proposal = { id: 'wiki', kind: 'wiki', settings: {}, collections: ['wiki'] }
  const proposed = await sent(world, 'dan', '/sources', proposal)
  const { digest } = proposed['source'] as { digest: string }
  await sent(world, 'carol', '/sources/wiki', { action: 'confirm', digest })
  await until('the source was read', async () => {
    await world.database.query('update sources set next_at = now()')
    await sources.runDue()
    const rows = await world.database.query(
      'select 1 from sources where failures = 0 and ended_at is not null and (select count(*) from source_items) = 2',
    )
    return rows.length > 0
  })
}

async function link({ config, database }: World): Promise<Noted['connection']> {
  const key = await loadSecret(join(config.home, 'keys'), 'vault.key')
  const envelope = createEnvelope(createLocalKeys([{ version: 'home', key }]))
  const [id, subject] = ['c_frozen', 'user:anne']
  const accessToken = 'a token of another service'
  const sealed = await envelope.seal({ connection: id, subject }, { accessToken, refreshToken: 'another' })
  await database.query(
    `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed, wrapped_key,
       key_version, token_expires_at, refreshable, sealed_at, created_at)
     values ($1, $2, 'acme', 'https://acme.test', $1, 'An account', 'live', '{openid}', $3, $4, $5, now(), true, now(), now())`,
    [id, subject, sealed.jwe, sealed.key.bytes, sealed.key.version],
  )
  return { id, subject, accessToken }
}

/** One use each: of one it is made. */
async function grantsOf(world: World, delegation: string): Promise<Noted['grants']> {
  const wanted = {
    delegation,
    objects: ['document:budget-board'],
    until: new Date(Date.now() + 20 * hour),
  } as const
  const used = await agree(world, { ...wanted, maxUses: 1 })
  const token = await world.token({ user: 'anne', agent: 'research-bot' })
  const { results } = await world.retrieve(token, { query: 'budget', approval: used })
  if (!results.some(({ document_id }) => document_id === 'budget-board'))
    throw new Error('The grant gave nothing.')
  return { used, open: await agree(world, { ...wanted, maxUses: 1 }) }
}

/**
 * An import half done, a document that is being taken in, and some behind it. Half of the import has not
 * changed, so that it needs no vectors.
 */
async function underWay({ service }: World): Promise<Pick<Noted, 'jobs' | 'underWay'>> {
  const { ingest } = service
  const draft = (id: string, text: string) => ({
    id,
    collection: 'handbook',
    title: id,
    text,
    mime_type: 'text/markdown' as const,
    updated_at: '2026-01-01T00:00:00Z',
    access: { viewers: ['user:anne'] },
  })
  const done = [draft('half-1', 'Half of the import.'), draft('half-2', 'Another half of it.')]
  const open = [draft('half-3', `This is ${unfinished}.`), draft('half-4', `This is ${unfinished} too.`)]
  await takeIn(ingest, 'loader', done)
  const lines = [...done, ...open].map((document) => Buffer.from(`${JSON.stringify(document)}\n`))
  const half = await ingest.importAll(writer, { body: Readable.from(lines) })
  await until('half is done', async () => {
    const job = await ingest.job(half, writer.subject)
    return job?.done === 2 && job.state === 'running'
  })
  const begun = await ingest.put(writer, draft('begun', `This begun one is ${unfinished}.`))
  const waiting: string[] = []
  for (const n of [1, 2])
    waiting.push(await ingest.put(writer, draft(`waiting-${n}`, `Waiting ${n}, ${unfinished}.`)))
  const ids = ['half-1', 'half-2', 'half-3', 'half-4', 'begun', 'waiting-1', 'waiting-2']
  return { jobs: { half, begun, waiting }, underWay: ids }
}

async function sent(
  world: World,
  user: string,
  path: string,
  body: object,
): Promise<Readonly<Record<string, unknown>>> {
  const response = await world.call('POST', path, { token: await world.token({ user }), body })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return (await response.json()) as Readonly<Record<string, unknown>>
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let attempts = 0; attempts < 150; attempts += 1) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error(`Not in time: ${what}.`)
}

await freeze()
