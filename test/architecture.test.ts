import { globSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { describe, expect, test } from 'vitest'

/**
 * Who may import whom inside `src/`: row → columns. Arrows go down only; `main` (src/main.ts, src/start.ts,
 * src/cli/main.ts) and `compose` alone know everybody. A folder without a row may not exist.
 */
const matrix: Readonly<Record<string, readonly string[]>> = {
  // base
  kernel: [],
  store: ['kernel'],
  jobs: ['kernel', 'store'],
  embed: ['kernel'],
  // The one way to an address that comes from outside.
  outbound: ['kernel'],
  audit: ['kernel', 'store'],
  // features
  authz: ['kernel', 'store', 'audit'],
  delegation: ['kernel', 'store', 'jobs', 'audit', 'outbound', 'authz'],
  // Never delegation: retrieval gets a Principal and must not be able to make one.
  retrieval: ['kernel', 'store', 'embed', 'audit', 'authz'],
  // Of retrieval its port alone: see `ports`.
  ingest: ['kernel', 'store', 'jobs', 'embed', 'audit', 'authz', 'retrieval'],
  // Other systems' documents, taken in as any service's are.
  sources: ['kernel', 'store', 'audit', 'outbound', 'authz', 'delegation', 'ingest'],
  // People and groups as a directory brings them. Memberships are written by ingest, which compose hands it.
  directory: ['kernel', 'store', 'audit', 'authz', 'delegation', 'outbound'],
  sample: ['kernel', 'store', 'audit', 'authz', 'delegation', 'embed', 'ingest'],
  // Copies of the two databases.
  backup: ['kernel', 'store', 'audit'],
  // Looks at every part, and changes none.
  doctor: ['kernel', 'store', 'audit', 'authz', 'ingest', 'sources', 'directory', 'backup', 'config'],
  // faces: never each other
  http: ['kernel', 'audit', 'authz', 'delegation', 'retrieval', 'ingest', 'sources', 'directory', 'backup'],
  mcp: ['kernel', 'audit', 'authz', 'delegation', 'retrieval', 'ingest'],
  // The command line also works beside no running service: it takes the folder's lock, or finds the service's
  // socket.
  cli: [
    'kernel',
    'store',
    'audit',
    'authz',
    'delegation',
    'retrieval',
    'ingest',
    'sources',
    'directory',
    'backup',
    'doctor',
  ],
  // What of the environment means what.
  config: ['kernel', 'delegation'],
  // The wiring, a file for each part of the service; nothing that it wires knows of it.
  compose: ['*'],
  main: ['*'],
}

/**
 * The walls inside the big rooms, as above: a folder's rooms → the rooms that each may import. `.` is what
 * lies in the folder itself. An arrow that runs back up is one of types alone, and says what would turn it.
 */
const walls: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  'src/delegation': {
    // Who there is: agents, clients, services and the APIs that a token can be for.
    registry: [],
    revocation: [],
    // Back up: links end what was lent by type alone.
    people: ['registry', 'revocation', 'lending'],
    // token → Principal.
    tokens: ['registry', 'revocation', 'people'],
    // Remit as a client of others: code and PKCE, for signing in elsewhere and for linked accounts.
    'oauth-client': ['tokens'],
    upstream: ['registry', 'people', 'tokens', 'oauth-client'],
    // Back up: a grant's row names a call of the vault by type alone.
    lending: ['registry', 'people', 'vault'],
    // Back up: a call is made under a grant, by type alone.
    vault: ['registry', 'people', 'tokens', 'upstream', 'oauth-client', 'lending', 'approvals'],
    approvals: ['registry', 'people', 'lending', 'vault'],
    notify: ['people', 'approvals'],
    administration: ['registry', 'people', 'lending', 'vault'],
    // The authorization server at /oauth.
    oauth: [
      'registry',
      'revocation',
      'people',
      'tokens',
      'lending',
      'vault',
      'approvals',
      'notify',
      'administration',
    ],
    recovery: ['revocation', 'lending', 'vault'],
  },
  'src/retrieval': {
    // The pipeline. Its types are what the rooms below are asked for.
    '.': ['access-filter', 'chunk-index', 'corpus', 'ranking'],
    wire: ['.'],
    'chunk-index': ['access-filter', 'corpus'],
    ranking: ['chunk-index'],
    'access-filter': ['.', 'corpus'],
    corpus: [],
    // What somebody sees, asked of another process.
    nominators: ['access-filter', 'corpus'],
  },
  'packages/engine/src': {
    '.': ['server', 'analysis', 'core'],
    // OpenFGA's API over HTTP, and what is stored.
    server: ['core'],
    // What OpenFGA has not, and Remit needs.
    analysis: ['core'],
    core: [],
  },
  'src/http/routes': {
    '.': [],
    retrieval: ['.'],
    ingest: ['.'],
    delegations: ['.'],
    directory: ['.'],
    approvals: ['.'],
    vault: ['.'],
    oauth: ['.'],
    security: ['.', 'retrieval'],
    model: ['.'],
    service: ['.'],
  },
}

/** Where a feature may import another one, and only this of it: the ports. */
const ports: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  ingest: { retrieval: ['src/retrieval/chunk-index/port.ts'] },
}

/** Packages that have one home, so that they can be replaced, and watched, there. */
const homes: Readonly<Record<string, RegExp>> = {
  // The embedded authorizer, the permission index and the model's trials. Never the gate: OpenFGA has the
  // last word.
  '@remit/engine': /^src\/authz\/(?!gate)/,
  // What is nearest is searched for in one room, with whatever index.
  '@remit/vector-index': /^src\/retrieval\/chunk-index\//,
  '@openfga/sdk': /^src\/authz\//,
  pg: /^src\/store\//,
  '@electric-sql/pglite': /^src\/store\//,
  '@electric-sql/pglite-socket': /^src\/store\//,
  'pg-boss': /^src\/jobs\//,
  ldapts: /^src\/directory\/ldap\//,
  openai: /^src\/embed\//,
  'onnxruntime-node': /^src\/embed\//,
  hono: /^src\/(http|mcp|cli)\//,
  commander: /^src\/cli\//,
  // An address from outside is asked by the guarded fetcher alone; OpenFGA's is the operator's.
  undici: /^src\/(outbound\/|authz\/openfga-direct\.ts$)/,
  // It signs and encrypts there; asking an address is the guarded fetcher’s alone.
  'web-push': /^src\/delegation\/notify\//,
  // What a step of a trace says is decided in one place; who receives it, in another.
  '@opentelemetry/api': /^src\/(kernel\/trace|compose\/telemetry)\.ts$/,
  '@opentelemetry/sdk-trace': /^src\/compose\/telemetry\.ts$/,
  'age-encryption': /^src\/backup\//,
  // For programs beside the service, its commands included. The service verifies tokens by its own code. A
  // source writes through the same port as one outside does.
  '@remit/client': /^(test|examples|src\/(cli|sources))\//,
  '@remit/connector': /^(test|benchmarks|src\/(cli|sources))\//,
}

/**
 * Packages whose entries are their files: what they have is imported by subject, `@remit/contract/errors`.
 */
const byEntry = /^@remit\/contract\/[\w-]+$/

/**
 * What a package may be made of: others run it where there is no Node, and trust no more than they have to.
 */
const ingredients: Readonly<Record<string, readonly string[]>> = {
  // Arithmetic, and the threads that do it.
  'vector-index': ['node:fs', 'node:os', 'node:worker_threads'],
  client: ['jose', '@remit/contract'],
  contract: ['zod'],
  // What writes in Remit is the client's.
  connector: ['@remit/client', '@remit/contract'],
  // It looks for leaks in any endpoint, this one too: nothing of it may be shared.
  prove: [
    'node:child_process',
    'node:crypto',
    'node:fs',
    'node:http',
    'node:path',
    'node:timers',
    'node:url',
    'node:util',
  ],
  // A client of the API like any other: it sees the service through HTTP alone.
  console: [
    '@remit/client',
    '@remit/contract',
    'preact',
    '@codemirror/commands',
    '@codemirror/language',
    '@codemirror/lint',
    '@codemirror/state',
    '@codemirror/view',
    '@lezer/highlight',
    'uplot',
  ],
}

/**
 * Entries of the contract without a schema in them: elsewhere the client and the console take types alone
 * from it.
 */
const plainEntries = ['@remit/contract/errors', '@remit/contract/events']

/** Entries of such a package for one platform, which nothing else of it imports. */
const platformEntries: Readonly<Record<string, readonly string[]>> = {
  'packages/client/src/node.ts': ['node:async_hooks'],
  'packages/connector/src/node.ts': ['node:fs'],
}

/** Path from the repository's root → source text. */
type Sources = ReadonlyMap<string, string>

interface Import {
  readonly specifier: string
  /** `import type`: gone before anything runs. */
  readonly typeOnly: boolean
}

const repository = readSources(['src/**/*.ts', 'packages/*/{src,test}/**/*.{ts,tsx}'])

describe('the house', () => {
  test('is looked at: sources and imports are found at all', () => {
    const imports = [...repository].flatMap(([, text]) => importsOf(text))
    expect(repository.size).toBeGreaterThan(20)
    expect(imports.length).toBeGreaterThan(repository.size)
  })

  test('has imports that go down only, as the matrix says', () => {
    expect(forbiddenImports(repository)).toEqual([])
  })

  test('has no import cycle', () => {
    expect(cycles(repository)).toEqual([])
  })
})

describe('the guard catches', () => {
  const forbidden = (path: string, text: string) => forbiddenImports(new Map([[path, text]]))

  test.each([
    ['the base that imports a feature', 'src/store/a.ts', `import { gate } from '../authz/gate.ts'`],
    [
      'retrieval that imports delegation',
      'src/retrieval/a.ts',
      `import { v } from '../delegation/tokens/verify.ts'`,
    ],
    [
      'a type import as well',
      'src/retrieval/a.ts',
      `import type { V } from '../delegation/tokens/verify.ts'`,
    ],
    ['an import over several lines', 'src/kernel/a.ts', `import {\n  a,\n  b,\n} from '../store/sql.ts'`],
    ['an import for its effect', 'src/kernel/a.ts', `import '../store/sql.ts'`],
    ['a re-export', 'src/kernel/a.ts', `export * from '../store/sql.ts'`],
    ['an import at run time', 'src/http/a.ts', `const m = await import('../mcp/server.ts')`],
    ['a type named in place', 'src/http/a.ts', `let s: import('../mcp/server.ts').Server`],
    ['a worker started by path', 'src/ingest/a.ts', `new URL('../retrieval/a-worker.ts', import.meta.url)`],
    ['a face that imports another face', 'src/mcp/a.ts', `import { app } from '../http/app.ts'`],
    [
      'a feature that imports the wiring',
      'src/authz/a.ts',
      `import { compose } from '../compose/compose.ts'`,
    ],
    ['a face that imports a part of it', 'src/http/a.ts', `import { openVault } from '../compose/vault.ts'`],
    ['a library that the wiring reaches for', 'src/compose/a.ts', `import { Hono } from 'hono'`],
    ['a folder without a row', 'src/utils/a.ts', `export const a = 1`],
    [
      'a service that imports a benchmark',
      'src/compose/a.ts',
      `import { shelf } from '../../benchmarks/bombs/shelf.ts'`,
    ],
    [
      'a room that imports the one above it',
      'src/delegation/tokens/a.ts',
      `import { e } from '../oauth/exchange.ts'`,
    ],
    [
      'a type from there as well',
      'packages/engine/src/core/a.ts',
      `import type { E } from '../server/engine.ts'`,
    ],
    ['a room without a row', 'src/delegation/attic/a.ts', `import { l } from '../people/links.ts'`],
    ['a file beside the rooms', 'src/delegation/a.ts', `import { l } from './people/links.ts'`],
    [
      'more of retrieval than its port in ingestion',
      'src/ingest/a.ts',
      `import { s } from '../retrieval/search.ts'`,
    ],
    ['the engine outside its one home', 'src/authz/gate.ts', `import { e } from '@remit/engine'`],
    [
      'the vector index outside its one home',
      'src/retrieval/retrieve.ts',
      `import { v } from '@remit/vector-index'`,
    ],
    ['the client’s guard inside the service', 'src/http/a.ts', `import { g } from '@remit/client'`],
    ['Node inside the client', 'packages/client/src/a.ts', `import { hash } from 'node:crypto'`],
    ['Node’s entry inside the client', 'packages/client/src/a.ts', `import { c } from './node.ts'`],
    ['more of Node in that entry', 'packages/client/src/node.ts', `import { hash } from 'node:crypto'`],
    ['a library inside the client', 'packages/client/src/a.ts', `import { z } from 'zod'`],
    [
      'the service inside the console',
      'packages/console/src/a.tsx',
      `import { i } from '../../../src/kernel/ids.ts'`,
    ],
    ['Node inside the console', 'packages/console/src/a.ts', `import { hash } from 'node:crypto'`],
    ['the inside of a package', 'src/authz/embedded.ts', `import { e } from '@remit/engine/src/check.ts'`],
    ['the inside of the contract', 'src/http/a.ts', `import { e } from '@remit/contract/src/errors.ts'`],
    [
      'a schema inside the client',
      'packages/client/src/a.ts',
      `import { a } from '@remit/contract/retrieve'`,
    ],
    [
      'a schema inside the console',
      'packages/console/src/a.ts',
      `import { a } from '@remit/contract/record'`,
    ],
    ['the engine in what looks for leaks', 'packages/prove/src/a.ts', `import { e } from '@remit/engine'`],
    ['the client in what looks for leaks', 'packages/prove/src/a.ts', `import { c } from '@remit/client'`],
    ['a library inside the connector', 'packages/connector/src/a.ts', `import { z } from 'zod'`],
    ['Node inside the connector', 'packages/connector/src/a.ts', `import { open } from 'node:fs/promises'`],
    ['the connector inside the service', 'src/ingest/a.ts', `import { syncOnce } from '@remit/connector'`],
    ['a library inside the contract', 'packages/contract/src/a.ts', `import { Hono } from 'hono'`],
    [
      'another package inside the contract',
      'packages/contract/src/a.ts',
      `import { e } from '@remit/engine'`,
    ],
    [
      'the service inside the contract',
      'packages/contract/src/a.ts',
      `import { i } from '../../../src/kernel/ids.ts'`,
    ],
    ['a schema inside what is plain', 'packages/contract/src/errors.ts', `import { z } from 'zod'`],
    [
      'a neighbour inside what is plain',
      'packages/contract/src/events.ts',
      `import { a } from './record.ts'`,
    ],
    [
      'the contract inside the engine',
      'packages/engine/src/a.ts',
      `import { e } from '@remit/contract/errors'`,
    ],
    [
      'a package reached by path',
      'src/authz/embedded.ts',
      `import { e } from '../../packages/engine/src/a.ts'`,
    ],
    [
      'a package that imports the service',
      'packages/engine/src/a.ts',
      `import { i } from '../../../src/kernel/ids.ts'`,
    ],
    ['tests inside the service', 'src/store/a.ts', `import { native } from '../../test/support/native.ts'`],
  ])('%s', (_, path, text) => {
    expect(forbidden(path, text)).toHaveLength(1)
  })

  test('a cycle, and names its files', () => {
    const sources = new Map([
      ['src/store/a.ts', `import { b } from './b.ts'`],
      ['src/store/b.ts', `import { c } from './c.ts'`],
      ['src/store/c.ts', `export { a } from './a.ts'`],
    ])
    expect(cycles(sources)).toEqual(['src/store/a.ts → src/store/b.ts → src/store/c.ts → src/store/a.ts'])
  })

  test('nothing where there is nothing', () => {
    const text = `// import { gate } from '../authz/gate.ts'\nimport { ok } from '../kernel/result.ts'`
    expect(forbidden('src/store/a.ts', text)).toEqual([])
    expect(forbidden('src/authz/embedded.ts', `import { e } from '@remit/engine'`)).toEqual([])
    expect(forbidden('packages/client/src/a.ts', `import { jwtVerify } from 'jose'`)).toEqual([])
    expect(forbidden('src/kernel/a.ts', `import { e } from '@remit/contract/errors'`)).toEqual([])
    expect(
      forbidden('packages/client/src/a.ts', `import type { A } from '@remit/contract/retrieve'`),
    ).toEqual([])
    expect(forbidden('packages/console/src/a.ts', `import { e } from '@remit/contract/events'`)).toEqual([])
    expect(
      forbidden('packages/client/src/node.ts', `import { AsyncLocalStorage } from 'node:async_hooks'`),
    ).toEqual([])
    expect(forbidden('packages/client/test/a.test.ts', `import { createServer } from 'node:http'`)).toEqual(
      [],
    )
    expect(forbidden('packages/engine/test/a.test.ts', `import '../../../test/support/native.ts'`)).toEqual(
      [],
    )
  })
})

function forbiddenImports(sources: Sources): readonly string[] {
  return [...sources].flatMap(([path, text]) => {
    const zone = zoneOf(path)
    if (zone !== 'packages' && matrix[zone] === undefined)
      return [`${path}: no row for "${zone}" in the matrix`]
    const bad = importsOf(text).filter(
      (found) => !isAllowed(path, found) || !isInsideWalls(path, found.specifier),
    )
    return bad.map(({ specifier }) => `${path} imports ${specifier}`)
  })
}

function isAllowed(path: string, found: Import): boolean {
  const { specifier } = found
  if (isPlainEntry(path) && !found.typeOnly) return false
  if (!specifier.startsWith('.')) return isAtHome(path, found)
  const from = zoneOf(path)
  const to = zoneOf(resolve(path, specifier))
  if (from === 'packages') return isInsidePackage(path, resolve(path, specifier))
  if (from === to) return true
  const port = ports[from]?.[to]
  if (port !== undefined) return port.includes(resolve(path, specifier))
  const columns = matrix[from] ?? []
  return to in matrix && (columns.includes(to) || columns.includes('*'))
}

/** Whether an import inside a big room stays within its walls. */
function isInsideWalls(path: string, specifier: string): boolean {
  if (!specifier.startsWith('.')) return true
  const target = resolve(path, specifier)
  return Object.entries(walls).every(([folder, rooms]) => {
    const [from, to] = [roomOf(path, folder), roomOf(target, folder)]
    if (from === undefined || to === undefined) return true
    return from in rooms && to in rooms && (from === to || rooms[from]?.includes(to) === true)
  })
}

/** The room of a folder in which a file lies, `.` for the folder itself; undefined outside it. */
function roomOf(path: string, folder: string): string | undefined {
  if (!path.startsWith(`${folder}/`)) return undefined
  const [room, ...below] = path.slice(folder.length + 1).split('/')
  return below.length > 0 ? room : '.'
}

/** What others run knows nothing of the service; only its tests may use the shared test support. */
function isInsidePackage(path: string, target: string): boolean {
  const [, name, folder] = path.split('/')
  if (folder === 'src' && target in platformEntries) return false
  return target.startsWith(`packages/${name}/`) || (folder === 'test' && target.startsWith('test/support/'))
}

/** What the client and the console may run: plain data, which needs no library. */
const isPlainEntry = (path: string): boolean =>
  plainEntries.some((entry) => path === `${entry.replace('@remit/contract', 'packages/contract/src')}.ts`)

function isAtHome(path: string, { specifier, typeOnly }: Import): boolean {
  const segments = specifier.split('/')
  const name = segments.slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
  if (name.startsWith('@remit/') && specifier !== name && !byEntry.test(specifier)) return false
  const [, made, folder] = path.split('/')
  if (name === '@remit/contract' && (made === 'client' || made === 'console') && folder === 'src')
    return typeOnly || plainEntries.includes(specifier)
  if (zoneOf(path) === 'packages' && folder === 'src' && made !== undefined && made in ingredients)
    return ingredients[made]?.includes(name) === true || platformEntries[path]?.includes(name) === true
  // What a package is made of its tests may use as well.
  if (zoneOf(path) === 'packages' && ingredients[made ?? '']?.includes(name) === true) return true
  if (zoneOf(path) === 'packages' || zoneOf(path) === 'main') return !name.startsWith('@remit/')
  return homes[name]?.test(path) ?? true
}

/** The matrix row of a file: its folder in `src/`, `main` for the wiring, `packages`, or `outside`. */
function zoneOf(path: string): string {
  if (/^src\/([^/]+|cli\/main)\.ts$/.test(path)) return 'main'
  if (path.startsWith('packages/')) return 'packages'
  return /^src\/([^/]+)\//.exec(path)?.[1] ?? 'outside'
}

const resolve = (path: string, specifier: string): string => posix.join(posix.dirname(path), specifier)

/** Every way in which a module can name another one. Comments are taken out first. */
function importsOf(text: string): readonly Import[] {
  const code = text.replaceAll(/(^|\s)\/\*[\s\S]*?\*\//g, '$1').replaceAll(/(^|\s)\/\/.*$/gm, '$1')
  const forms = [
    /^\s*(?:import|export)\s+(?<type>type\s)?[^'"()=;]*?\sfrom\s*['"](?<specifier>[^'"]+)['"]/gm,
    /^\s*import\s*['"](?<specifier>[^'"]+)['"]/gm,
    /\bimport\(\s*['"](?<specifier>[^'"]+)['"]/g,
    /\bnew URL\(\s*['"](?<specifier>\.[^'"]+\.ts)['"]\s*,\s*import\.meta\.url/g,
  ]
  return forms.flatMap((form) =>
    [...code.matchAll(form)].flatMap(({ groups }) =>
      groups?.specifier ? [{ specifier: groups.specifier, typeOnly: groups.type !== undefined }] : [],
    ),
  )
}

/** Cycles among imports that exist at run time, each as `a → b → a`, once. */
function cycles(sources: Sources): readonly string[] {
  const found: string[] = []
  const done = new Set<string>()
  const walk = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path)
    if (start >= 0) found.push([...trail.slice(start), path].join(' → '))
    if (start >= 0 || done.has(path)) return
    const imports = importsOf(sources.get(path) ?? '').filter(
      (one) => !one.typeOnly && one.specifier.startsWith('.'),
    )
    for (const { specifier } of imports) walk(resolve(path, specifier), [...trail, path])
    done.add(path)
  }
  for (const path of sources.keys()) walk(path, [])
  return found
}

function readSources(patterns: readonly string[]): Sources {
  const root = new URL('../', import.meta.url)
  const paths = patterns.flatMap((pattern) => globSync(pattern, { cwd: root })).sort()
  return new Map(paths.map((path) => [path.replaceAll('\\', '/'), readFileSync(new URL(path, root), 'utf8')]))
}
