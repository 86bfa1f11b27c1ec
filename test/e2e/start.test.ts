import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { version } from '../../src/kernel/version.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPglite } from '../../src/store/pglite.ts'
import { needs } from '../support/native.ts'
import {
  freshSettings,
  modelFolder,
  type Running,
  remit,
  type Settings,
  startService,
  startServiceAfter,
} from './process.ts'

// Other tests run beside these, on few cores.
const slow = 240_000
const ready = 'Ctrl-C stops.'
const seeding = 'First start: taking in'

interface Answer {
  readonly results: readonly { readonly document_id: string; readonly text: string }[]
  readonly mode_used: string
}

async function ask({ env, url }: Settings, user: string, query: string): Promise<Answer> {
  const { stdout } = await remit(['token', '--user', user, '--agent', 'research-bot'], env)
  const response = await fetch(`${url}/retrieve`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stdout.trim()}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, top_k: 3 }),
  })
  expect(response.status).toBe(200)
  return (await response.json()) as Answer
}

const documents = ({ results }: Answer): string[] => results.map(({ document_id }) => document_id)

/** The question of the commands that the service printed. */
function printedQuestion(service: Running): string {
  const bodies = [...service.stdout().matchAll(/ -d '(\{.*\})'$/gm)].map(
    ([, body]) => (JSON.parse(body ?? '') as { query: string }).query,
  )
  expect(bodies).toHaveLength(3)
  return bodies[0] ?? ''
}

async function endsCleanly(service: Running): Promise<void> {
  service.kill('SIGINT')
  expect(await service.exit).toEqual({ code: 0, signal: null })
  expect(service.stderr()).toBe('')
}

const sockets = (home: string): string[] => readdirSync(home).filter((name) => /sock|PGSQL|admin/.test(name))

async function readiness({ opsUrl }: Settings): Promise<{ readonly embeddings: object }> {
  const response = await fetch(`${opsUrl}/readyz`)
  expect(response.status).toBe(200)
  return (await response.json()) as { embeddings: object }
}

/** Notes every module that a process loads. */
const notingModules = (file: string): string =>
  `import { appendFileSync } from 'node:fs'
   import { registerHooks } from 'node:module'
   registerHooks({
     load(url, context, next) {
       appendFileSync(${JSON.stringify(file)}, url + '\\n')
       return next(url, context)
     },
   })`

describe('npm start on an empty folder', { timeout: slow }, () => {
  let settings: Settings
  let question = ''
  const found: Record<string, string[]> = {}
  beforeAll(async () => {
    settings = await freshSettings(modelFolder)
  })
  afterAll(() => settings[Symbol.asyncDispose]())

  test('tells address, people and commands; the same question has other answers for anne, bob and carol; no search engine is loaded; SIGINT closes all', async () => {
    const modules = join(settings.home, '..', 'modules')
    await using service = startServiceAfter(notingModules(modules), settings.env)
    await service.said(ready)
    const said = service.stdout()
    expect(said.split(seeding)).toHaveLength(2)
    expect(said).toContain(`Remit answers at ${settings.url} `)
    expect(said).toContain(`${settings.opsUrl}/readyz`)
    expect(said).toMatch(/^ {2}anne +Anne /m)
    expect(said).toMatch(/ at the first start:\n {2}research-bot: /)
    // A start after a recovery says the same, though agents are disabled then and nothing is lent.
    expect(said).toContain('What each gets is said as it was at the first start')
    expect(said.match(/^curl -s .*\/retrieve \\$/gm)).toHaveLength(3)
    // Another terminal has none of these settings: without its folder the command would not find the service.
    expect(said).toContain(`REMIT_HOME='${settings.home}' npm run -s remit -- token --user carol`)
    expect(service.stderr()).toBe('')

    question = printedQuestion(service)
    const [anne, bob, carol] = [
      await ask(settings, 'anne', question),
      await ask(settings, 'bob', question),
      await ask(settings, 'carol', question),
    ]
    found.anne = documents(anne)
    found.bob = documents(bob)
    expect(found.anne.length).toBeGreaterThan(0)
    expect(found.bob.length).toBeGreaterThan(0)
    expect(found.anne).not.toEqual(found.bob)
    expect(carol.results).toEqual([])
    expect(anne.mode_used).toBe(modelFolder === undefined ? 'keyword' : 'hybrid')

    const loaded = readFileSync(modules, 'utf8')
    expect(loaded).toContain('/src/retrieval/chunk-index/postgres/words.ts')
    expect(loaded).not.toContain('/src/retrieval/chunk-index/opensearch/')

    await endsCleanly(service)
    await expect(fetch(`${settings.url}/healthz`)).rejects.toThrow('fetch failed')
    expect(sockets(settings.home)).toEqual([])
  })

  test('starts again with its data, mints a token and nothing else, and keeps a second process out', async () => {
    const began = Date.now()
    await using service = startService(settings.env)
    await service.said(ready)
    const seconds = (Date.now() - began) / 1_000
    console.log(`second start: ${seconds.toFixed(1)} s`)
    // 5 s is promised for a machine that does nothing else.
    expect(seconds).toBeLessThan(60)
    expect(service.stdout()).not.toContain(seeding)

    const token = await remit(['token', '--user', 'anne', '--agent', 'research-bot'], settings.env)
    expect(token).toMatchObject({ code: 0, stderr: '' })
    expect(token.stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/)

    await using second = startService(settings.env)
    expect(await second.exit).toEqual({ code: 1, signal: null })
    expect(second.stdout()).toBe('')
    expect(second.stderr()).toBe(
      `Another process uses ${settings.home}. Stop it first, or choose another REMIT_HOME.\n`,
    )
    const reembedding = await remit(['reembed'], settings.env)
    expect(reembedding).toMatchObject({ code: 1, stdout: '' })
    expect(reembedding.stderr).toContain(`Another process uses ${settings.home}.`)

    // In any order: how common words are was counted again since, with what the start had put in.
    expect(documents(await ask(settings, 'anne', question)).sort()).toEqual(found.anne?.toSorted())
    service.kill('SIGKILL')
    await service.exit
  })

  test('after kill -9 answers as before, and stops by SIGTERM too', async () => {
    await using service = startService(settings.env)
    await service.said(ready)
    expect(documents(await ask(settings, 'bob', question))).toEqual(found.bob)
    service.kill('SIGTERM')
    expect(await service.exit).toEqual({ code: 0, signal: null })
  })

  test('leaves nobody in its folder when kill -9 ends it while another process of its own seeds', async () => {
    await using fresh = await freshSettings(undefined)
    {
      await using first = startService(fresh.env)
      await first.said(seeding)
      first.kill('SIGKILL')
      await first.exit
    }
    await using second = startService(fresh.env)
    await second.said(ready)
    expect(second.stdout()).toContain(seeding)
    await endsCleanly(second)
  })

  test('is completed by the next start, whether Ctrl-C or kill -9 ended the first one in the middle', async () => {
    await using fresh = await freshSettings(modelFolder)
    {
      await using first = startService(fresh.env)
      await first.said(seeding)
      const asked = Date.now()
      first.kill('SIGINT')
      expect(await first.exit).toEqual({ code: 130, signal: null })
      // 3 s by its own clock; the rest is for a machine that is busy.
      expect(Date.now() - asked).toBeLessThan(15_000)
      expect(first.stderr()).toBe('Stopped before it was ready. The next start goes on from here.\n')
    }
    {
      await using second = startService(fresh.env)
      await second.said(seeding)
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      expect(second.stdout()).not.toContain(ready)
      second.kill('SIGKILL')
      expect(await second.exit).toEqual({ code: null, signal: 'SIGKILL' })
    }
    await using third = startService(fresh.env)
    await third.said(ready)
    expect(documents(await ask(fresh, 'anne', question))).toEqual(found.anne)
    expect(documents(await ask(fresh, 'bob', question))).toEqual(found.bob)
    expect((await ask(fresh, 'carol', question)).results).toEqual([])
    await endsCleanly(third)
  })
})

describe('without a model', { timeout: slow }, () => {
  let settings: Settings
  beforeAll(async () => {
    settings = await freshSettings(undefined)
  })
  afterAll(() => settings[Symbol.asyncDispose]())

  test('it starts, says so, and answers by words', async () => {
    await using service = startService(settings.env)
    await service.said(ready)
    expect(service.stdout()).toContain('KEYWORD MODE')
    expect((await readiness(settings)).embeddings).toMatchObject({ available: false, mode: 'keyword' })
    const answer = await ask(settings, 'anne', printedQuestion(service))
    expect(answer.mode_used).toBe('keyword')
    expect(answer.results.length).toBeGreaterThan(0)
    await endsCleanly(service)
  })

  test(
    'a model that comes later is used, what lacks its vectors is counted, and reembed gives them',
    needs(modelFolder !== undefined, 'the embedding model (EMBEDDINGS_MODEL_PATH)'),
    async () => {
      const env = { ...settings.env, EMBEDDINGS_MODEL_PATH: modelFolder ?? '' }
      {
        await using service = startService(env)
        await service.said(ready)
        expect(service.stdout()).toMatch(/ [1-9]\d* passages were taken in without a model/)
        expect(service.stdout()).toContain('npm run remit -- reembed')
        const count = Number(/ (\d+) passages were/.exec(service.stdout())?.[1])
        expect((await readiness(settings)).embeddings).toMatchObject({
          available: true,
          passages_without_vector: count,
        })
        service.kill('SIGINT')
        expect((await service.exit).code).toBe(0)
      }
      const ran = await remit(['reembed'], env)
      expect(ran).toMatchObject({ code: 0, stdout: '' })
      // A slow machine is told of steps before it.
      expect(ran.stderr).toMatch(/^[1-9]\d* passages got a vector of .*\n$/m)
      await using service = startService(env)
      await service.said(ready)
      expect(service.stdout()).not.toContain('without a model')
      expect((await readiness(settings)).embeddings).toMatchObject({ passages_without_vector: 0 })
      expect((await ask(settings, 'anne', printedQuestion(service))).mode_used).toBe('hybrid')
      await endsCleanly(service)
    },
  )

  test('a port that is taken is named, with the setting that changes it', async () => {
    const taken = createServer().listen(Number(settings.env.PORT), '127.0.0.1')
    try {
      await using service = startService({ ...settings.env })
      expect(await service.exit).toEqual({ code: 1, signal: null })
      expect(service.stderr()).toMatch(
        /^Port \d+ of 127\.0\.0\.1 is taken by another process\. Name another in .*\.env: PORT=\d+\n$/,
      )
    } finally {
      taken.close()
    }
  })
})

test('a configuration that cannot be used is refused with every problem, exit code 1, no stack and no trace', async () => {
  await using settings = await freshSettings(undefined)
  await using service = startService({
    ...settings.env,
    PORT: 'many',
    RATE_PER_MINUTE: '0',
    TRUSTED_ISSUERS: '[{]',
  })
  expect(await service.exit).toEqual({ code: 1, signal: null })
  expect(service.stdout()).toBe('')
  expect(service.stderr()).toMatch(/^The configuration cannot be used:\n( {2}[A-Z_]+ .*\n)+$/)
  for (const name of ['PORT', 'RATE_PER_MINUTE', 'TRUSTED_ISSUERS']) {
    expect(service.stderr()).toContain(`  ${name} `)
  }
  expect(existsSync(settings.home)).toBe(false)
})

test('outside the demo a start without DATABASE_URL says first of all that it uses the embedded database, and where', async () => {
  await using settings = await freshSettings(undefined)
  await using service = startService({ ...settings.env, REMIT_DEMO: 'false', TRUSTED_ISSUERS: '[]' })
  await service.said('\n')
  expect(service.stdout()).toBe(
    `The embedded database of ${settings.home}/db is used: DATABASE_URL is not set.\n`,
  )
})

test('the first start on tables of an earlier version says in one line which, and no other start does', {
  timeout: slow,
}, async () => {
  await using settings = await freshSettings(undefined)
  const { home } = settings
  const all = new URL('../../migrations/', import.meta.url)
  const names = readdirSync(all).filter((name) => name.endsWith('.sql') && name !== 'schema.sql')
  const earlier = join(home, '..', 'earlier')
  cpSync(all, earlier, { recursive: true })
  rmSync(join(earlier, names.sort().at(-1) ?? ''))
  mkdirSync(home, { mode: 0o700 })
  {
    await using database = await openPglite({ dataDir: join(home, 'db'), socketDir: home })
    await migrate(database, { dir: pathToFileURL(`${earlier}/`), dimensions: 384 })
    await database.query(`update migrations set version = '1.0.9'`)
  }
  const saying = async (env: Readonly<Record<string, string>>) => {
    await using service = startService({ ...env, DEMO_SAMPLE: 'false' })
    await service.said(ready)
    const lines = service.stderr().match(/\{.*"database_upgraded".*/g) ?? []
    return lines.map((line) => ({ ...(JSON.parse(line) as object), at: '' }))
  }
  expect(await saying(settings.env)).toEqual([
    { at: '', event: 'database_upgraded', from: '1.0.9', to: version, files: 1 },
  ])
  expect(await saying(settings.env)).toEqual([])
  await using fresh = await freshSettings(undefined)
  expect(await saying(fresh.env)).toEqual([])
})
