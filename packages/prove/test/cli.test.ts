import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Adapter } from '../src/adapter.ts'
import { Inconclusive } from '../src/session.ts'
import { commandTokens } from '../src/tokens.ts'
import { version } from '../src/version.ts'
import { type Defect, startTwin } from './twin.ts'

// As docs/prove.md says it: its module, its commands, in a folder of one's own.
const program = fileURLToPath(new URL('../src/cli.ts', import.meta.url))
const page = new URL('../../../docs/prove.md', import.meta.url)
const sizes =
  '--answers 60 --words 4 --repeats 2 --crowd 30 --revocations 3 --seed 1 --only leak,strangers,revocation,crowd'
let folder: string
/** Of the page: the module, the command that runs it, its helper, and the one that finds digests again. */
let [module, command, helper, digest, help] = ['', '', '', '', '']

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-prove-'))
  const blocks = [...(await readFile(page, 'utf8')).matchAll(/^```(?:js|sh)\n([\s\S]*?)^```$/gm)]
  const withText = (part: string) => blocks.map(([, block = '']) => block).find((one) => one.includes(part))
  module = withText('export const canary') ?? ''
  command = withText('--adapter mine.mjs')?.trim() ?? ''
  helper = withText('#!/bin/sh') ?? ''
  help = withText('remit-prove --help')?.trim() ?? ''
  digest = withText('remit-prove digest') ?? ''
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Code, and all that it said. */
const shell = (command: string): Promise<{ readonly code: number; readonly said: string }> =>
  new Promise((resolve) => {
    const script = command.replaceAll(/remit-prove(?= )/g, `'${process.execPath}' '${program}'`)
    execFile('sh', ['-c', script], { cwd: folder }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), said: stdout + stderr }),
    )
  })

type Change = (command: string) => string

/** All that the page's command needs; `url`: in place of the twin's. */
async function run(
  defect?: Defect,
  { url, more = '', changed = (text) => text }: { url?: string; more?: string; changed?: Change } = {},
) {
  await using twin = await startTwin(defect)
  const file = (name: string, lines: readonly string[]) => writeFile(join(folder, name), lines.join('\n'))
  const address = url ?? (await twin.listen())
  await file('mine.mjs', [module.replace('http://localhost:9000', address)])
  await file('people.txt', twin.people)
  await file('nobody.txt', [''])
  await file('questions.txt', twin.questions)
  await file('readers.csv', ['person,document', twin.table])
  await file('token.sh', [helper.replace('$PROVE_PERSON', '$PROVE_PERSON-sealed99')])
  await chmod(join(folder, 'token.sh'), 0o700)
  // Awaited: the twin stays until then.
  return await shell(changed(`${command} ${sizes} ${more}`))
}

test('the page’s first command works in a clone with the node of the path, whichever that is', async () => {
  // As in a shell: the node that npm ci brought is not on its path.
  const path = (process.env.PATH ?? '').split(':').filter((one) => !one.endsWith('node_modules/.bin'))
  const said = await new Promise((resolve) =>
    execFile(
      'sh',
      ['-c', help],
      {
        cwd: fileURLToPath(new URL('../../..', import.meta.url)),
        env: { ...process.env, PATH: path.join(':') },
      },
      (error, stdout, stderr) => resolve(error === null ? stdout : stderr),
    ),
  )
  expect(said).toContain('remit-prove digest NAME')
})

test('it says by how many checks nothing was found, and which were not tried, and ends with 0', async () => {
  const { code, said } = await run()
  expect(said).toContain(
    'Nothing was found by 5 of 11 checks; 6 not tried (completeness, odd-questions, pending, twins, by-id, afterwards).',
  )
  // One-sided, by Clopper and Pearson, for none in 60.
  expect(said).toContain('0 of 60 answers, rate below 4.9 % (with 95 % confidence).')
  expect(code).toBe(0)
})

test('the last line counts as not tried what needs a place to plant', async () => {
  const { said } = await run('a total counts what is hidden', {
    changed: (text) => text.replace('--canary-people ida,otto', '').replace(/--only \S+/, ''),
  })
  expect(said).toContain(
    'Nothing was found by 4 of 11 checks; 7 not tried (revocation, pending, crowd, twins, by-id, afterwards, hidden-words).',
  )
  const junit = await readFile(join(folder, 'report.xml'), 'utf8')
  expect(junit).toContain('<skipped message="no check that ran hid an invented document"/>')
})

test.each([
  ['201', ''],
  ['204', ''],
  ['200', 'Done.'],
])('the page’s module understands a write that is answered %s %s', async (status, body) => {
  const asked: (string | undefined)[] = []
  const server = createServer(({ url }, response) => {
    asked.push(url)
    response.writeHead(Number(status)).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const path = join(folder, `writes-${status}.mjs`)
  await writeFile(path, module.replace('localhost:9000', `127.0.0.1:${port}`))
  const { canary } = (await import(path)) as Adapter
  const mark = { signal: AbortSignal.timeout(60_000), traceparent: '' }
  await canary?.put({ id: 'what?#', title: '', text: '', readers: [] }, mark)
  await canary?.setReaders('one', [], mark)
  await canary?.remove('one', mark)
  expect(asked).toEqual(['/documents/what%3F%23', '/documents/one', '/documents/one'])
  await new Promise((resolve) => server.close(resolve))
})

test('the page’s module understands a refusal in plain text, and not an answer that is no JSON', async () => {
  let status = 401
  const server = createServer((_, response) => void response.writeHead(status).end('Who is asking?'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const path = join(folder, 'refusals.mjs')
  await writeFile(path, module.replace('localhost:9000', `127.0.0.1:${port}`))
  const { retrieve } = (await import(path)) as Adapter
  const question = { token: '', query: 'x', k: 1, signal: AbortSignal.timeout(60_000), traceparent: '' }
  expect(await retrieve(question)).toMatchObject({ status: 401, passages: [], raw: 'Who is asking?' })
  status = 200
  await expect(retrieve(question)).rejects.toThrow(SyntaxError)
  await new Promise((resolve) => server.close(resolve))
})

test('it ends with 1 at a leak, and its reports hold digests of names, which their key finds again', async () => {
  const { code, said } = await run('a name that begins alike is enough')
  expect(code).toBe(1)
  // No bound of a rate where it broke.
  expect(said).toMatch(/^broken {7}leak: .* of 60 answers\.$/m)
  expect(said).toMatch(/^leak: An answer held /m)
  const text = async (name: string) => readFile(join(folder, name), 'utf8')
  const { findings, version: told, trace } = JSON.parse(await text('report.json'))
  expect(told).toBe(version)
  expect(trace).toMatch(/^[0-9a-f]{32}$/)
  const people = new Set(findings.map(({ person }: { person?: string }) => person))
  expect((await stat(join(folder, 'remit-prove.key'))).mode & 0o777).toBe(0o600)
  const digests = await shell(digest.replace('anne', 'bobby'))
  expect([...people]).toEqual([digests.said.slice(0, 16)])
  // The file's names come after the page's two.
  expect(digests.said.trim().split('\n').slice(2)).toContain(`${[...people][0]}  bobby`)
  const sarif = JSON.parse(await text('report.sarif'))
  expect(sarif.runs[0].results).toHaveLength(findings.length)
  // Its body: the digests, once.
  expect(await text('report.xml')).toMatch(
    /<failure type="leak" message="[^"]+">person [\da-f]{16}, document [\da-f]{16}, question [\da-f]{16}<\/failure>/,
  )
  for (const name of ['report.json', 'report.sarif', 'report.xml']) {
    expect(await text(name)).not.toContain('bobby')
    expect(await text(name)).not.toContain('salary')
  }
})

test('digest without the key of a run says so, and makes none', async () => {
  const elsewhere = join(folder, 'elsewhere')
  await mkdir(elsewhere)
  const { code, said } = await shell('cd elsewhere && remit-prove digest anne')
  expect([code, said]).toEqual([
    2,
    expect.stringContaining('no key to read at remit-prove.key: name the key of the run by --key-file'),
  ])
  expect(await readdir(elsewhere)).toEqual([])
})

test('a clone keeps the key and the proxy’s token out of its commits', async () => {
  const ignored = await readFile(new URL('../../../.gitignore', import.meta.url), 'utf8')
  expect(ignored.split('\n')).toEqual(expect.arrayContaining(['remit-prove.key', 'remit-prove-proxy.token']))
})

test('it ends with 2 where it cannot tell, and says why: a port that fetch refuses', async () => {
  const { code, said } = await run(undefined, { url: 'http://127.0.0.1:9' })
  expect([code, said]).toEqual([2, expect.stringContaining('does not answer')])
  expect(said).toContain('fetch failed bad port')
  expect(said).toMatch(
    /Nothing was found by 0 of 11 checks; 10 not tried \(completeness, .*, hidden-words\); 1 could not tell\./,
  )
})

test('the report of an endpoint that is not there says so by the system’s code', async () => {
  await using twin = await startTwin()
  const closed = await twin.listen()
  await twin[Symbol.asyncDispose]()
  await run(undefined, { url: closed })
  const { checks } = JSON.parse(await readFile(join(folder, 'report.json'), 'utf8'))
  expect(checks[0].notes).toEqual(['mine.mjs does not answer (TypeError, ECONNREFUSED).'])
})

test.each([
  ['--concurrency 0', '--concurrency has to be 1 or more'],
  ['--people nobody.txt', '--people nobody.txt is empty'],
  ['--only nothing', 'no check nothing'],
])('it ends with 2 and says what is wrong with %s', async (more, what) => {
  const { code, said } = await run(undefined, { more })
  expect([code, said]).toEqual([2, expect.stringContaining(what)])
})

test('it does not plant by half: with Remit people, collection and writer belong together', async () => {
  const { code, said } = await shell(
    'remit-prove --remit http://127.0.0.1:9 --token-command ./token.sh --people people.txt --canary-people ida,otto',
  )
  expect([code, said]).toEqual([2, expect.stringContaining('--collection is missing')])
})

test('it says which OpenFGA does not answer', async () => {
  const { code, said } = await shell(
    'remit-prove --remit http://127.0.0.1:9 --token-command ./token.sh --openfga http://127.0.0.1:9 --store S',
  )
  expect([code, said]).toEqual([
    2,
    'OpenFGA does not answer at http://127.0.0.1:9: --openfga. fetch failed bad port\n',
  ])
})

test('a token that no header can hold is refused, and not said', async () => {
  const tokens = commandTokens("printf 'to\\rken'", process.env)
  await expect(tokens('anne', false)).rejects.toThrow(/^The token helper ended with 0, and has to print/)
})

test('a token helper that hangs is given up, and the report says after how long', async () => {
  // Not the shell itself: what it started keeps the output open.
  const tokens = commandTokens('sleep 3; echo token', process.env, 200)
  await expect(tokens('anne', false)).rejects.toThrow(
    new Inconclusive('The token helper took longer than 0.2 s.'),
  )
})

test('why a token helper failed is in the report', async () => {
  const tokens = commandTokens('kill -9 $$', process.env)
  await expect(tokens('anne', false)).rejects.toThrow(
    new Inconclusive('The token helper ended with SIGKILL, and has to print one line: a token.'),
  )
})
