import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setInterval } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { errorCodes } from '@remit/contract/errors'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { contractOf } from '../../src/http/openapi.ts'
import { listen } from '../../src/start.ts'
import { native, needsSchemathesis } from '../support/native.ts'
import { freePort } from '../support/port.ts'
import type { World } from '../support/world.ts'
import { callersOf, type HostileWorld, openHostileWorld, signInAll } from './hostile-world.ts'

// Schemathesis thinks up requests from the contract alone, and reads the answers by it: what our own
// generator and our own schemas would get wrong in the same way, it does not.

/** Random cases for each operation. */
const cases = Number(process.env['SCHEMATHESIS_CASES'] ?? 1)
/** Of this share of the operations, the limits of each schema are walked too: 50 cases for one operation. */
const share = Number(process.env['SCHEMATHESIS_SHARE'] ?? 0.06)

describe('Schemathesis', needsSchemathesis, () => {
  let hostile: HostileWorld
  let home: string
  let url: string
  let listening: AsyncDisposable
  beforeAll(async () => {
    if (needsSchemathesis.skip === true) return
    const port = await freePort()
    home = await mkdtemp(join(tmpdir(), 'remit-schemathesis-'))
    hostile = await openHostileWorld({ PORT: String(port) })
    const { service, config } = hostile.world
    listening = await listen({ fetch: service.app.fetch, host: '127.0.0.1', port, drainMs: 100 })
    url = config.publicUrl
  }, 900_000)
  afterAll(async () => {
    await listening?.[Symbol.asyncDispose]()
    await hostile?.world[Symbol.asyncDispose]()
    if (home) await rm(home, { recursive: true, force: true })
  })

  test(`whatever the contract lets anybody send: answers as the contract says, problems for refusals, strangers refused (FUZZ_SEED=${seed})`, {
    timeout: 7_200_000,
  }, async () => {
    const { world } = hostile
    // Closed, and not as it is published: a member that no schema names is a finding.
    const contract = JSON.parse(JSON.stringify(contractOf(world.service.app))) as Contract
    const operations = operationsOf(contract)
    const lent = await world.lend('dan', 'other-bot', 'collection:finance')
    await world.put({
      'finance/hidden': { collection: 'finance', access: { viewers: ['user:dan'] } },
      // As the contract's examples have it.
      'handbook/travel.md': { access: { viewers: ['user:anne'] } },
    })
    const said = {
      seed,
      callersOf: Object.fromEntries(operations.map(({ name }) => [name, callersOf(name)])),
      public: operations.filter(({ isPublic }) => isPublic).map(({ name }) => name),
      codes: Object.keys(errorCodes),
      hidden: {
        '/documents/{id}': {
          id: 'finance%2Fhidden',
          missing: 'finance%2Fnothing',
          from: ['person', 'agent'],
        },
        '/delegations/{id}': { id: lent, missing: `${lent.slice(0, -4)}aaaa`, from: ['browser'] },
      },
    }
    await writeFile(join(home, 'openapi.json'), JSON.stringify(asSchemathesisReads(contract)))
    await writeFile(join(home, 'schemathesis.toml'), settingsOf(operations))
    await writeCallers(home, world)
    const ended = new AbortController()
    const renewing = renewCallers(home, world, ended.signal)
    const { code, output } = await run(home, url, said)
    ended.abort()
    await renewing
    if (process.env['SCHEMATHESIS_REPORT']) await writeFile(process.env['SCHEMATHESIS_REPORT'], output)
    const seen = JSON.parse(await readFile(join(home, 'seen.json'), 'utf8')) as Record<string, number>
    console.log(`Schemathesis: seed ${seed},${/\n +(\d+) generated/.exec(output)?.[1]} cases`, seen)
    expect(code, output.slice(-20_000)).toBe(0)
    // Requests that all bounce off the first check would prove nothing.
    for (const status of ['200', '401', '403', '404', '422']) expect(seen[status], status).toBeGreaterThan(0)
    // Of a few it is luck who does what: of ten no agent was given anything once.
    if (cases < 50) return
    for (const who of ['browser', 'person', 'administrator', 'agent', 'service'])
      expect(seen[`${who} 2xx`], who).toBeGreaterThan(0)
    expect(seen['hidden beside missing']).toBeGreaterThan(0)
  })
})

async function writeCallers(home: string, world: World): Promise<void> {
  await writeFile(join(home, 'callers.part'), JSON.stringify(await signInAll(world)))
  await rename(join(home, 'callers.part'), join(home, 'callers.json'))
}

/** On a busy machine requests come for longer than tokens last. Who cannot sign in now can the next time. */
async function renewCallers(home: string, world: World, ended: AbortSignal): Promise<void> {
  try {
    for await (const _ of setInterval(100_000, undefined, { signal: ended }))
      await writeCallers(home, world).catch((error: unknown) => console.log('not signed in again', error))
  } catch (error) {
    if (!ended.aborted) throw error
  }
}

interface Operation {
  readonly security?: readonly object[]
  readonly requestBody?: { readonly content?: Readonly<Record<string, { readonly schema?: object }>> }
}
interface Contract {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

const operationsOf = ({ paths }: Contract) =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { security }]) => ({
      name: `${method} ${path}`,
      isPublic: security === undefined || security.length === 0,
    })),
  )

// Not on the command line: what is named there is checked at every operation, whatever is said of one.
const settingsOf = (operations: ReturnType<typeof operationsOf>): string =>
  [
    // A schema cannot say all that makes a request right, and the callers are ours.
    ['[checks]', 'positive_data_acceptance.enabled = false', 'ignored_auth.enabled = false'],
    ...operations.map(({ name }, place) => {
      const [method = '', path] = name.split(' ')
      const isWalked = ((place + seed) * share) % 1 < share
      return [
        '[[operations]]',
        `include-name = "${method.toUpperCase()} ${path}"`,
        `phases.coverage.enabled = ${isWalked}`,
        // A line that is wrong is refused within an answer that is right.
        ...(name === 'post /imports' ? ['checks.negative_data_rejection.enabled = false'] : []),
      ]
    }),
    // An id may be `push`: what is taken at `/approvals/{id}` is taken there as well, and `Allow` says so.
    ['[[operations]]', 'include-path = "/approvals/push"', 'checks.allow_header_conformance.enabled = false'],
  ]
    .map((lines) => lines.join('\n'))
    .join('\n\n')

/** Without whom to sign in as, which is ours; and with what one line of an import holds. */
function asSchemathesisReads({ paths, ...contract }: Contract) {
  const line = paths['/documents/{id}']?.['put']?.requestBody?.content?.['application/json']?.schema
  const told = Object.entries(paths).map(([path, methods]) => [
    path,
    Object.fromEntries(
      Object.entries(methods).map(([method, { security: _, ...operation }]) => [method, operation]),
    ),
  ])
  const document = withoutTypeLists({ ...contract, paths: Object.fromEntries(told) }) as Contract
  const content = document.paths['/imports']?.['post']?.requestBody?.content
  Object.assign(content?.['application/x-ndjson'] ?? {}, {
    schema: { type: 'array', maxItems: 4, items: withoutTypeLists(line) },
  })
  return document
}

/** A list of types means the same as a choice among them, which is how Schemathesis reads it well. */
function withoutTypeLists(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutTypeLists)
  if (typeof schema !== 'object' || schema === null) return schema
  const members = Object.fromEntries(
    Object.entries(schema).map(([name, value]) => [name, withoutTypeLists(value)]),
  )
  const { type, ...rest } = members
  if (!Array.isArray(type) || !type.every((one) => typeof one === 'string')) return members
  return { anyOf: type.map((one) => (one === 'null' ? { type: one } : { ...rest, type: one })) }
}

function run(home: string, url: string, said: object): Promise<{ code: number; output: string }> {
  const args = [
    ...[
      '-m',
      'schemathesis.cli',
      '--config-file',
      join(home, 'schemathesis.toml'),
      'run',
      join(home, 'openapi.json'),
      '--url',
      url,
      '--workers',
      '1',
    ],
    ...['--phases', 'examples,coverage,fuzzing', '--max-examples', String(cases), '--seed', String(seed)],
    ...['--continue-on-failure', '--no-shrink', '--generation-database', 'none', '--no-color'],
    ...['--suppress-health-check', 'all', '--warnings', 'off'],
  ]
  const env = {
    PATH: process.env['PATH'],
    HOME: home,
    PYTHONPATH: [native.schemathesis, fileURLToPath(new URL('schemathesis', import.meta.url))].join(':'),
    PYTHONDONTWRITEBYTECODE: '1',
    SCHEMATHESIS_HOOKS: 'remit_hooks',
    SCHEMATHESIS_WORLD: JSON.stringify(said),
  }
  return new Promise((resolve) => {
    execFile('python3', args, { cwd: home, env, maxBuffer: 1 << 28 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), output: `${stdout}${stderr}` })
    })
  })
}
