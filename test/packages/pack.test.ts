import { execFile, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { native, needs } from '../support/native.ts'
import { freePort } from '../support/port.ts'
import { copyWorkspace } from '../support/workspace.ts'

// The packages as somebody outside gets them: a file of `npm pack`, an empty folder, no registry, no loader.
const root = fileURLToPath(new URL('../..', import.meta.url))
const modules = join(root, 'node_modules')
const packages = ['client', 'connector', 'engine', 'prove'] as const
const run = promisify(execFile)

let folder: string
let project: string
/** Package → its tarball. */
const tarballs = new Map<string, string>()

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-pack-'))
  // Packing changes a package.json for a moment, and other tests run meanwhile.
  await copyWorkspace(join(folder, 'workspace'))
  for (const name of packages) tarballs.set(name, await pack(name))
  project = join(folder, 'project')
  await mkdir(project)
  await writeFile(join(project, 'package.json'), JSON.stringify({ type: 'module', private: true }))
  const alone = ['client', 'connector', 'prove'].map((name) => tarballs.get(name) ?? '')
  await npm(project, 'install', '--offline', '--ignore-scripts', ...alone)
}, 300_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

async function pack(name: string): Promise<string> {
  const { stdout } = await npm(
    join(folder, 'workspace', 'packages', name),
    'pack',
    '--pack-destination',
    folder,
  )
  return join(folder, stdout.trim().split('\n').at(-1) ?? '')
}

/** Without a registry, and with a cache in which nothing is. */
const npm = (cwd: string, ...args: readonly string[]) =>
  run('npm', [...args, '--no-audit', '--no-fund', '--registry', 'http://127.0.0.1:9'], {
    cwd,
    env: { ...process.env, npm_config_cache: join(folder, 'cache') },
  })

const program = `
import { createServer } from 'node:http'
import { clientKey, createRemit, createWriter, isRemitError, staticToken } from '@remit/client'
import { conversations } from '@remit/client/node'
import { createResourceGuard } from '@remit/client/guard'
import { memoryState, syncOnce } from '@remit/connector'
import { fileState } from '@remit/connector/node'
import { tableTruth } from '@remit/prove'

const server = createServer(async (request, response) => {
  let body = ''
  for await (const part of request) body += part
  response.setHeader('content-type', 'application/json')
  if (request.method === 'GET') {
    const job = { id: 'j', state: 'done', done: 1, failed: 0, total: 1, withdrawn: 0, errors: [], notes: [] }
    response.end(JSON.stringify(job))
  } else if (request.url === '/retrieve') {
    response.statusCode = 404
    response.end(JSON.stringify({ code: 'not_found', title: 'No.', txn: 't_1' }))
  } else {
    response.statusCode = 202
    response.end(JSON.stringify({ job: { id: 'j' }, bytes: body.length }))
  }
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = 'http://127.0.0.1:' + server.address().port
const writer = createWriter({ url, token: async () => 't' })
const document = { id: 'a', collection: 'c', title: 'A', text: 'x' }
const put = await writer.put(document)
const imported = await writer.importAll(() => new Blob([JSON.stringify(document)]).stream())
const session = createRemit({ url, token: staticToken({ subject: 'anne', token: 't' }) }).for({ subject: 'anne' })
const refused = await conversations()
  .run(session, () => session.retrieve({ query: 'x' }))
  .catch((error) => isRemitError(error, 'not_found') && error.txn)
const change = { kind: 'item', id: 'a', version: '1', access: {}, content: { collection: 'c', title: 'A', text: 'x' } }
const source = {
  async *changes() {
    yield { changes: [change], cursor: '1', isLast: true }
  },
  item: async () => change,
}
const synced = await syncOnce(source, writer, fileState('source.state'))
const again = await syncOnce(source, writer, memoryState())
const mayRead = await tableTruth('anne,a').mayRead('anne', 'a')
const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
const file = { ...(await crypto.subtle.exportKey('jwk', pair.privateKey)), kid: 'desk-app-1', alg: 'ES256' }
const { kid } = await clientKey(JSON.stringify(file))
console.log(
  JSON.stringify([put.state, imported.state, refused, typeof createResourceGuard, synced.imported, again.imported, mayRead, kid]),
)
server.close()
`

const said = ['done', 'done', 't_1', 'function', 1, 1, true, 'desk-app-1']

describe('a package of npm pack', () => {
  test('holds JavaScript, declarations, a licence and a README, and no TypeScript', async () => {
    for (const tarball of tarballs.values()) {
      const { stdout } = await run('tar', ['tzf', tarball])
      const files = stdout.split('\n')
      expect(files).toEqual(expect.arrayContaining(['package/LICENSE', 'package/README.md']))
      expect(files.filter((file) => /\.(js|d\.ts)$/.test(file)).length).toBeGreaterThan(10)
      expect(files.filter((file) => /(?<!\.d)\.[cm]?tsx?$/.test(file))).toEqual([])
    }
  })

  test('leaves the workspace as it was', async () => {
    for (const name of packages) {
      const packed = join(folder, 'workspace', 'packages', name)
      const { stdout } = await run('diff', [
        join(packed, 'package.json'),
        join(root, 'packages', name, 'package.json'),
      ])
      expect(stdout).toBe('')
      expect(await readdir(packed)).not.toContain('LICENSE')
    }
  })

  test('runs in an empty project on this Node', async () => {
    expect(await outputOn(process.execPath)).toEqual(said)
  })

  for (const [major, node] of Object.entries(native.olderNodes))
    test(
      `runs in an empty project on Node ${major}`,
      needs(node !== undefined, `Node ${major} (NODE_${major}_PATH)`),
      async () => {
        const { stdout } = await run(node ?? '', ['--version'])
        expect(stdout).toMatch(new RegExp(`^v${major}\\.`))
        expect(await outputOn(node ?? '')).toEqual(said)
      },
    )

  for (const [major, node] of Object.entries({ '24': process.execPath, ...native.olderNodes }))
    test(
      `has the program remit-prove, which says on Node ${major} what it takes`,
      needs(node !== undefined, `Node ${major} (NODE_${major}_PATH)`),
      async () => {
        const path = join(project, 'node_modules/@remit/prove/dist/prove/src/cli.js')
        const { stdout } = await run(node ?? '', [path, '--help'], { env: {} })
        expect(stdout).toContain('--token-command')
      },
    )

  test('brings types that a strict program compiles against, with nothing else installed', async () => {
    expect(await compiled(typed)).toBe('')
    expect(await compiled(typed.replace("title: 'A'", 'title: 1'))).toContain(
      "Type 'number' is not assignable to type 'string'",
    )
  })

  test('compiles what docs/client-options.md shows of keys and tokens', async () => {
    const page = await readFile(join(root, 'docs/client-options.md'), 'utf8')
    const [, shown = 'not there'] = /^## Tokens.*?^```ts\n(.*?)^```$/ms.exec(page) ?? []
    expect(await compiled(readerOwn + shown)).toBe('')
  })

  test('compiles under strict the source that packages/connector/README.md shows', async () => {
    const page = await readFile(join(root, 'packages/connector/README.md'), 'utf8')
    const [, shown = 'not there'] = /^```ts\n(import .*?)^```$/ms.exec(page) ?? []
    expect(await compiled(readerWiki + shown)).toBe('')
  })
})

describe('the engine’s package', () => {
  let installed: string
  beforeAll(async () => {
    const place = join(folder, 'engine')
    installed = join(place, 'node_modules', '@remit', 'engine')
    if (process.env['PACKAGE_INSTALLS'] !== undefined) {
      await mkdir(place)
      await run('npm', ['install', '--ignore-scripts', tarballs.get('engine') ?? ''], { cwd: place })
      return
    }
    // What it needs comes from a registry. Here: what is there.
    await mkdir(installed, { recursive: true })
    await run('tar', ['xzf', tarballs.get('engine') ?? '', '-C', installed, '--strip-components=1'])
    for (const name of ['@bufbuild', '@openfga'])
      await symlink(join(modules, name), join(place, 'node_modules', name))
  }, 300_000)

  const nodes = { '24': process.execPath, ...native.olderNodes }
  for (const [major, node] of Object.entries(nodes))
    test(
      `serves OpenFGA's API by remit-fga on Node ${major}`,
      needs(node !== undefined, `Node ${major} (NODE_${major}_PATH)`),
      async () => {
        const port = await freePort()
        const program = join(installed, 'dist/engine/src/server/cli.js')
        const server = spawn(node ?? '', [program, '--port', String(port)], { env: {}, stdio: 'inherit' })
        try {
          const ask = async (path: string, body: object) => {
            const url = `http://127.0.0.1:${port}/stores${path}`
            const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body) })
            return (await answer.json()) as Readonly<Record<string, unknown>>
          }
          await expect.poll(() => ask('', { name: 'demo' }).catch(() => undefined)).toHaveProperty('id')
          const { id } = await ask('', { name: 'tried' })
          await ask(`/${id}/authorization-models`, engineModel)
          const tuple_key = (user: string) => ({ user, relation: 'reader', object: 'document:a' })
          await ask(`/${id}/write`, { writes: { tuple_keys: [tuple_key('user:anne')] } })
          const allowed = ['user:anne', 'user:bob'].map((user) =>
            ask(`/${id}/check`, { tuple_key: tuple_key(user) }),
          )
          expect(await Promise.all(allowed)).toMatchObject([{ allowed: true }, { allowed: false }])
          const listed = await ask(`/${id}/list-objects`, {
            user: 'user:bob',
            relation: 'reader',
            type: 'document',
            contextual_tuples: { tuple_keys: [{ ...tuple_key('user:bob'), object: 'document:b' }] },
          })
          expect(listed).toEqual({ objects: ['document:b'] })
        } finally {
          server.kill()
        }
      },
    )
})

const engineModel = {
  schema_version: '1.1',
  type_definitions: [
    { type: 'user' },
    {
      type: 'document',
      relations: { reader: { this: {} } },
      metadata: { relations: { reader: { directly_related_user_types: [{ type: 'user' }] } } },
    },
  ],
}

const typed = `
import { createWriter, type DocumentInput, isRemitError, type Job, type RetrieveAnswer } from '@remit/client'
import { conversations } from '@remit/client/node'
import { createResourceGuard } from '@remit/client/guard'
import { memoryState, type Source, syncOnce, type SyncReport } from '@remit/connector'
import { type Adapter, type Answer, tableTruth } from '@remit/prove'

const writer = createWriter({ url: 'https://remit.example', token: async () => 't' })
const document: DocumentInput = { id: 'a', collection: 'c', title: 'A', text: 'x', access: { viewers: [] } }
export const job: Promise<Job> = writer.put(document)
export const titles = (answer: RetrieveAnswer): string[] => answer.results.map(({ title }) => title)
export const failed = (error: unknown): number =>
  isRemitError(error, 'write_failed') ? error.data.job.failed : 0
export const guard: typeof createResourceGuard = createResourceGuard
export const current = conversations().current
export const truth = tableTruth('anne,a').mayRead('anne', 'a')
const answer: Answer = { status: 200, bytes: 2, passages: [] }
export const adapter: Adapter = { name: 'mine', retrieve: async () => answer }
export const sync = (source: Source): Promise<SyncReport> => syncOnce(source, writer, memoryState())
`

/** What the page leaves to its reader. */
const readerOwn = `
import {
  ciba, clientKey, createProofKey, createTokenCache, deviceFlow, exchange, staticToken,
} from '@remit/client'
declare const readFile: (path: string, encoding: 'utf8') => Promise<string>
declare const process: { readonly env: Readonly<Record<string, string | undefined>> }
declare const tokenOf: (subject: string) => Promise<string>
declare const say: (text: string) => void
`

/** What the reader of the connector's page has: a wiki, a key, a console. */
const readerWiki = `
interface Page { readonly id: string; readonly title: string; readonly revision: number; readonly readers: readonly string[] }
declare const wiki: {
  pages(): Promise<readonly Page[]>
  page(id: string): Promise<Page>
  text(id: string): Promise<string>
}
declare const url: string
declare const clientId: string
declare const key: import('@remit/client').ClientKey
declare const console: { error(text: string): void }
declare const process: { exitCode: number }
`

async function outputOn(node: string): Promise<unknown> {
  await writeFile(join(project, 'program.mjs'), program)
  // No loader, no flag, and nothing of this process' own.
  const { stdout } = await run(node, ['program.mjs'], { cwd: project, env: { PATH: process.env['PATH'] } })
  return JSON.parse(stdout)
}

/** What the compiler says of a strict program, if anything. */
async function compiled(source: string): Promise<string> {
  const options = { module: 'nodenext', moduleResolution: 'nodenext', target: 'es2022', types: [] }
  await writeFile(join(project, 'typed.ts'), source)
  await writeFile(
    join(project, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: { ...options, strict: true, skipLibCheck: false, noEmit: true },
      files: ['typed.ts'],
    }),
  )
  return run(join(modules, '.bin', 'tsc'), ['--project', '.'], { cwd: project }).then(
    ({ stdout }) => stdout,
    ({ stdout }: { readonly stdout: string }) => stdout,
  )
}
