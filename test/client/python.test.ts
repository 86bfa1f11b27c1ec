import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { exportJWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Decision } from '../../src/delegation/approvals/decide.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { decide } from '../support/approvals.ts'
import { native, needsPythonClient } from '../support/native.ts'
import { enterCode, signInTo } from './people.ts'

// The Python client as somebody outside gets it: a wheel in an empty environment, against the real service.
// What its own tests promise stands in python/tests.
const project = fileURLToPath(new URL('../../python', import.meta.url))
const run = promisify(execFile)

describe('the Python client', needsPythonClient, () => {
  let world: IssuerWorld
  let folder: string
  let people: Awaited<ReturnType<typeof openPeople>>
  let python: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'remit-python-'))
    world = await openIssuerWorld()
    for (const id of ['diary', 'notes'])
      await world.service.ingest.saveCollection(operator('test'), { id, title: id, publicAllowed: false })
    const collections = ['handbook', 'finance', 'diary', 'notes']
    await world.service.services.save({ name: 'loader', collections, prefixes: [] })
    await world.put(documents)
    for (const [user, collections] of Object.entries(lent)) {
      await world.lend(user, 'research-bot', ...collections)
      await world.lend(user, 'other-bot', 'collection:notes')
    }
    people = await openPeople(world)
    python = join(folder, 'venv', 'bin', 'python')
    await withLibraries('-m', 'hatchling', 'build', '-t', 'wheel', '-d', folder)
    await run('python3', ['-m', 'venv', '--without-pip', join(folder, 'venv')])
    const [wheel = ''] = (await readdir(folder)).filter((name) => name.endsWith('.whl'))
    // No registry: what the wheel needs, and says that it needs, comes out of a folder.
    const from = ['--no-index', '--find-links', join(native.pythonClient ?? '', 'wheels')]
    const pip = ['-m', 'pip', '--python', python, 'install', '--quiet', '--no-compile']
    await run('python3', [...pip, ...from, join(folder, wheel)])
  }, 300_000)
  afterAll(async () => {
    people?.server.close()
    await world?.[Symbol.asyncDispose]()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  /** The Python of this machine, with the libraries that the tests need. */
  const withLibraries = (...args: readonly string[]) =>
    run('python3', args, { cwd: project, env: { ...process.env, PYTHONPATH: libraries() } })

  const libraries = () => join(native.pythonClient ?? '', 'site')

  /** What a program of the environment says; the libraries of the tests are beside the wheel, if wanted. */
  async function inEnvironment(args: readonly string[], paths = '', more = {}): Promise<string> {
    const keys: Record<string, object> = {}
    for (const name of ['agent-app', 'helper-app'] as const) {
      const { key, kid, alg } = world.keys[name]
      keys[name] = { ...(await exportJWK(key)), kid, alg }
    }
    const { url, issuer } = world
    const asked = JSON.stringify({ url, issuer, keys, people: people.url })
    const env = {
      PATH: process.env['PATH'],
      PYTHONPATH: paths,
      // Compiled once for all of the tests, and not in the folder of the libraries.
      PYTHONPYCACHEPREFIX: join(folder, 'compiled'),
      PYTEST_DISABLE_PLUGIN_AUTOLOAD: '1',
      REMIT_TEST: asked,
      ...more,
    }
    try {
      return (await run(python, args, { cwd: project, env, maxBuffer: 1 << 26 })).stdout
    } catch (error) {
      throw new Error(String((error as { stdout?: unknown }).stdout || error))
    }
  }

  const tokenOfBob = () =>
    signInTo(
      world,
      'agent-app',
      { scope: 'docs.search docs.read', resource: world.url },
      { user: 'bob', objects: lent.bob },
    )

  /** What one of its examples says to bob. */
  async function example(name: string): Promise<string> {
    const more = { PUBLIC_URL: world.url, PERSON: 'bob', TOKEN: await tokenOfBob() }
    return inEnvironment([`examples/${name}.py`, 'Are travel costs refunded in a week?'], libraries(), more)
  }

  /** Runs a file of its own tests; gives how many passed. */
  async function passing(file: string): Promise<number> {
    const args = ['-m', 'pytest', '-p', 'pytest_asyncio.plugin', `tests/${file}.py`]
    const said = await inEnvironment(args, libraries())
    expect(said).not.toMatch(/failed|error|skipped|xfailed/i)
    return Number(/(\d+) passed/.exec(said)?.[1])
  }

  test('installs from its wheel alone in an empty environment, typed, and asks the service there', async () => {
    const program = `
import importlib.util, pathlib, sys
from remit_client import Remit, StaticToken
remit = Remit(${JSON.stringify(world.url)}, token=StaticToken("bob", sys.argv[1]))
print([passage.document_id for passage in remit.session("bob").retrieve(query="travel", collections=["handbook"]).results])
print([importlib.util.find_spec(name) for name in ("langchain_core", "llama_index", "pytest")])
import remit_client
files = {one.name for one in pathlib.Path(remit_client.__file__).parent.iterdir()}
print(sorted({"py.typed", "LICENSE"} & files), "venv" in remit_client.__file__)
`
    expect((await inEnvironment(['-c', program, await tokenOfBob()])).trim().split('\n')).toEqual([
      "['handbook/travel']",
      '[None, None, None]',
      "['LICENSE', 'py.typed'] True",
    ])
  })

  test('signs in, exchanges, retrieves, and asks for approval', { timeout: 120_000 }, async () => {
    expect(await passing('test_service')).toBe(11)
  })

  test('takes bad answers for what they are, and holds no token in an error', {
    timeout: 120_000,
  }, async () => {
    expect(await passing('test_client')).toBe(41)
  })

  test('gets tokens for people, threads and loops at once, and leaves none in a traceback', {
    timeout: 120_000,
  }, async () => {
    expect(await passing('test_issuer')).toBe(12)
  })

  test('crosses over in none of a thousand calls of two people with two agents on one chain', {
    timeout: 300_000,
  }, async () => {
    expect(await passing('test_shared_chain')).toBe(8)
  })

  test('passes LangChain’s own tests of a retriever', { timeout: 120_000 }, async () => {
    expect(await passing('test_langchain')).toBe(7)
    expect(await example('langchain_chain')).toBe('According to handbook/travel (handbook/travel).\n')
  })

  test('answers in a query engine of LlamaIndex', { timeout: 120_000 }, async () => {
    expect(await passing('test_llama_index')).toBe(6)
    expect(await example('llama_index_engine')).toContain('handbook/travel: Travel costs')
  })

  test('has the models that docs/openapi.json makes, and no finding of ruff', {
    timeout: 120_000,
  }, async () => {
    const ruff = join(libraries(), 'bin', 'ruff')
    await withLibraries('scripts/generate.py', '--check')
    expect((await run(ruff, ['check', '--no-cache', '.'], { cwd: project })).stdout).toContain('All checks')
    await run(ruff, ['format', '--no-cache', '--check', '.'], { cwd: project })
  })

  // A minute of processor: by `npm run full`.
  if (process.env['PYTHON_TYPES'] !== undefined)
    test('has types that mypy finds strict', { timeout: 600_000 }, async () => {
      const cache = join(folder, 'mypy')
      const { stdout } = await withLibraries('-m', 'mypy', '--cache-dir', cache)
      expect(stdout).toContain('Success')
    })
})

const lent = {
  anne: ['collection:handbook', 'collection:finance', 'collection:diary'],
  bob: ['collection:handbook', 'collection:diary'],
} as const

const viewers = (...users: readonly string[]) => ({ viewers: users.map((user) => `user:${user}`) })
const both = viewers('anne', 'bob')

// In the diary and the notes there is one document for each person and agent, which names both.
const documents = {
  'handbook/travel': { collection: 'handbook', text: 'Travel costs are refunded in a week.', access: both },
  'handbook/trains': { collection: 'handbook', text: 'Travel by train.', access: viewers('anne') },
  'handbook/merger': {
    collection: 'handbook',
    text: 'Merger.',
    access: { ...viewers('anne'), sensitive: true },
  },
  'finance/budget': { collection: 'finance', text: 'The budget of travel.', access: viewers('anne') },
  ...Object.fromEntries(
    ['anne', 'bob'].flatMap((user) =>
      Object.entries({ diary: 'research-bot', notes: 'other-bot' }).map(([collection, agent]) => [
        `${collection}/${user}`,
        { collection, text: `Travel of ${user} with ${agent}.`, access: viewers(user) },
      ]),
    ),
  ),
}

interface Said {
  readonly user: keyof typeof lent
  readonly agent: string
  readonly uri: string
  readonly code: string
  readonly id: string
  readonly answer: Decision
}

/** People in front of browsers of their own, whom the tests in Python tell what to do. */
async function openPeople(world: IssuerWorld) {
  const open = async (id: string) => world.service.approvals.oneOfMine('user:anne', id)
  let later: Promise<void> | undefined
  const does: Readonly<Record<string, (said: Said) => Promise<unknown>>> = {
    enter: ({ uri, code, user }) =>
      enterCode(world, { data: { verificationUri: uri, userCode: code } }, { user, objects: lent[user] }),
    // A token of their own program, addressed to the agent.
    hand: ({ user, agent }) =>
      signInTo(
        world,
        'cli',
        { resource: `${world.url}/agents/${agent}`, scope: 'docs.search docs.read' },
        { user },
      ),
    // A token that the agent's own client got.
    'sign-in': ({ user }) =>
      signInTo(
        world,
        'agent-app',
        { resource: world.url, scope: 'docs.search docs.read approvals.request' },
        { user, objects: lent[user] },
      ),
    async decide({ id, answer }) {
      const purpose = (await open(id))?.purpose
      await decide(world.service, id, answer)
      return purpose
    },
    async 'decide-when-answered'({ id, answer }) {
      later = (async () => {
        while ((await open(id))?.state === 'info_requested') await delay(50)
        await decide(world.service, id, answer)
      })()
      // Whoever forgets what was asked hears of it.
      later.catch(() => undefined)
    },
    // Limits are for people, not for a file of tests: each begins with nothing asked.
    async forget() {
      // Whoever asked hears of a decision before the one who decided does.
      await later
      for (const table of ['approvals', 'approval_askers']) await world.database.query(`delete from ${table}`)
    },
  }
  async function answer(request: IncomingMessage): Promise<string> {
    const done = await does[(request.url ?? '').slice(1)]?.((await json(request)) as Said)
    return JSON.stringify(done ?? null)
  }
  const server = createServer((request, response) => {
    answer(request).then(
      (text) => response.end(text),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}
