import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { CommanderError } from 'commander'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readArguments } from '../../benchmarks/search/arguments.ts'

const run = fileURLToPath(new URL('../../benchmarks/search/run.ts', import.meta.url))

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-bench-'))
  await writeFile(join(folder, 'vectors.f32'), '')
})
afterAll(() => rm(folder, { recursive: true }))

function read(line: string, env: NodeJS.ProcessEnv = {}) {
  const said: string[] = []
  const write = (text: string) => said.push(text)
  const argv = line === '' ? [] : line.split(' ')
  try {
    return { settings: readArguments(argv, env, { out: write, say: write }), said: said.join('') }
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return { code: error.exitCode, said: said.join('') }
  }
}

test.each([
  ['--chunk 5', '--chunk', 'unknown'],
  ['real', 'argument'],
  ['--chunks many', '--chunks', 'whole number from 100'],
  ['--chunks 10', '--chunks', 'whole number from 100'],
  ['--questions 0', '--questions', 'whole number from 1'],
  ['--people 2.5', '--people', 'whole number from 1'],
  ['--rounds -1', '--rounds', 'whole number from 1'],
  ['--budget soon', '--budget', 'whole number from 0'],
  ['--releases 1e3', '--releases', 'whole number from 1'],
  ['--seconds 0', '--seconds', 'seconds above 0'],
  ['--seed x', '--seed', 'whole number from 0'],
  ['--corpus fake', '--corpus', 'seeded, real, grown'],
  ['--policies tree,forest', '--policies', '“forest” is none of tree, drive, doors, kubernetes'],
  ['--levels 0.3', '--levels', '“0.3” is none of 1, 0.5'],
  ['--topics inside,near', '--topics', '“near” is none of independent, inside, outside'],
  ['--only row-levels', '--only', '“row-levels”', '“row-level security, iterative”'],
  ['--only none,FGA', '--only', '“none”'],
  ['--quick --policies kubernetes', '--policies', 'real or grown'],
  ['--quick --before nowhere.json', '--before', 'nowhere.json'],
  ['--quick --keep mine', '--keep', 'TEST_DATABASE_URL'],
  ['--quick --keep No', '--keep', 'a-z, 0-9 and _'],
  ['', '--corpus', 'REMIT_SHARED'],
])(
  '`npm run bench -- %s` is refused in one line that names the flag and what it may be',
  (line, ...words) => {
    const { said, settings } = read(line, { REMIT_SHARED: join(folder, 'nothing') })
    expect(settings).toBeUndefined()
    expect(said.trimEnd().split('\n')).toHaveLength(1)
    for (const word of words) expect(said).toContain(word)
  },
)

test('a wrong flag ends the benchmark with 2 and --help with 0, both before any server is started', async () => {
  const ends = (...flags: string[]) =>
    promisify(execFile)(process.execPath, [run, ...flags]).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    )
  const [wrong, help] = await Promise.all([ends('--quick', '--rounds', 'x'), ends('--help')])
  expect(wrong).toMatchObject({ code: 2, stdout: '' })
  expect(wrong.stderr.trimEnd().split('\n')).toHaveLength(1)
  expect(help).toMatchObject({ code: 0, stderr: '' })
  expect(help.stdout).toContain('--seconds <s>')
})

test('--help names every flag that is read, with its default', () => {
  const { code, said } = read('--help')
  expect(code).toBe(0)
  const told = said.replace(/\s+/g, ' ')
  for (const flag of [
    'quick',
    'json',
    'corpus',
    'chunks',
    'policies',
    'levels',
    'topics',
    'questions',
    'people',
  ])
    expect(told).toContain(` --${flag}`)
  for (const flag of ['seed', 'only', 'budget', 'rounds', 'seconds', 'releases', 'vectors', 'before', 'keep'])
    expect(told).toContain(` --${flag}`)
  for (const words of [
    '(default: 100000; --quick: 3000)',
    '(default: 3)',
    'milliseconds',
    'seconds',
    'or none',
  ])
    expect(told).toContain(words)
})

test('a way is asked by the beginning of its name, and by its whole name up to the comma; none leaves all out', () => {
  const only = (names: string) => read(`--quick --only ${names}`).settings?.only
  expect(only('row-level')).toEqual(['row-level security, iterative', 'row-level security, one scan'])
  expect(only('FGA,lab')).toEqual(['FGAFilter, fetch 50', 'labels &&, planner'])
  expect(only('none')).toEqual([])
  expect(read('--quick').settings?.only).toHaveLength(13)
})

test('seeded passages are not asked for as the people of Kubernetes, of whose documents none of them is', () => {
  expect(read('--corpus seeded').settings?.policies).toEqual(['tree', 'drive', 'doors'])
})

test('lists keep the order in which they were named', () => {
  expect(read('--quick --policies drive,tree --levels 0.1,1').settings).toMatchObject({
    policies: ['drive', 'tree'],
    levels: [0.1, 1],
  })
})
