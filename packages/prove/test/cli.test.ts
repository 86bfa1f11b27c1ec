import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { commandTokens } from '../src/tokens.ts'
import { version } from '../src/version.ts'
import { type Defect, startTwin } from './twin.ts'

// As docs/prove.md says it: its module, its commands, in a folder of one's own.
const program = fileURLToPath(new URL('../src/cli.ts', import.meta.url))
const page = new URL('../../../docs/prove.md', import.meta.url)
const sizes =
  '--answers 60 --words 4 --repeats 2 --crowd 30 --revocations 3 --seed 1 --only leak,strangers,revocation,crowd'
let folder: string
/** Of the page: the module, the command that runs it, and the one that finds digests again. */
let [module, command, digest] = ['', '', '']

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-prove-'))
  const blocks = [...(await readFile(page, 'utf8')).matchAll(/^```(?:js|sh)\n([\s\S]*?)^```$/gm)]
  const withText = (part: string) => blocks.map(([, block = '']) => block).find((one) => one.includes(part))
  module = withText('export const canary') ?? ''
  command = withText('--adapter mine.mjs')?.trim() ?? ''
  digest = withText('remit-prove digest') ?? ''
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Code, and all that it said. */
const shell = (command: string): Promise<{ readonly code: number; readonly said: string }> =>
  new Promise((resolve) => {
    const script = command.replaceAll(/^remit-prove/gm, `'${process.execPath}' '${program}'`)
    execFile('sh', ['-c', script], { cwd: folder }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), said: stdout + stderr }),
    )
  })

/** All that the page's command needs; `url`: in place of the twin's. */
async function run(defect?: Defect, { url, more = '' }: { url?: string; more?: string } = {}) {
  await using twin = await startTwin(defect)
  const file = (name: string, lines: readonly string[]) => writeFile(join(folder, name), lines.join('\n'))
  const address = url ?? (await twin.listen())
  await file('mine.mjs', [module.replace('http://localhost:9000', address)])
  await file('people.txt', twin.people)
  await file('nobody.txt', [''])
  await file('questions.txt', twin.questions)
  await file('readers.csv', ['person,document', twin.table])
  await file('token.sh', ['#!/bin/sh', 'echo "token-of-$PROVE_PERSON-sealed99"'])
  await chmod(join(folder, 'token.sh'), 0o700)
  // Awaited: the twin stays until then.
  return await shell(`${command} ${sizes} ${more}`)
}

test('the program says nothing was found, and ends with 0', async () => {
  const { code, said } = await run()
  expect(said).toContain('Nothing was found.')
  expect(code).toBe(0)
})

test('it ends with 1 at a leak, and its reports hold digests of names, which their key finds again', async () => {
  const { code, said } = await run('a name that begins alike is enough')
  expect(code).toBe(1)
  expect(said).toContain('broken')
  const text = async (name: string) => readFile(join(folder, name), 'utf8')
  const { findings, version: told, trace } = JSON.parse(await text('report.json'))
  expect(told).toBe(version)
  expect(trace).toMatch(/^[0-9a-f]{32}$/)
  const people = new Set(findings.map(({ person }: { person?: string }) => person))
  expect((await stat(join(folder, 'remit-prove.key'))).mode & 0o777).toBe(0o600)
  const digests = await shell(digest.replace('anne', 'bobby'))
  expect([...people]).toEqual([digests.said.slice(0, 16)])
  const sarif = JSON.parse(await text('report.sarif'))
  expect(sarif.runs[0].results).toHaveLength(findings.length)
  expect(await text('report.xml')).toContain('<failure type="leak"')
  for (const name of ['report.json', 'report.sarif', 'report.xml']) {
    expect(await text(name)).not.toContain('bobby')
    expect(await text(name)).not.toContain('salary')
  }
})

test('it ends with 2 where it cannot tell', async () => {
  const { code, said } = await run(undefined, { url: 'http://127.0.0.1:9' })
  expect([code, said]).toEqual([2, expect.stringContaining('does not answer')])
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
  expect([code, said]).toEqual([2, 'OpenFGA does not answer at http://127.0.0.1:9: --openfga.\n'])
})

test('a token that no header can hold is refused, and not said', async () => {
  const tokens = commandTokens("printf 'to\\rken'", process.env)
  await expect(tokens('anne', false)).rejects.toThrow(/^The token helper ended with 0, and has to print/)
})
