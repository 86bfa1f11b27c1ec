import { readFileSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { createTexts } from '../../src/authz/model/texts.ts'
import { TextError } from '../../src/authz/text-error.ts'

// What administrators may send for a model, at the size that is taken: the language's own reader never ends
// on some.
const size = 256 * 1_024
const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const table = readFileSync(new URL('../../model.fga.yaml', import.meta.url), 'utf8')
const head = 'model\n  schema 1.1\ntype user\n'
const filled = (start: string, line: (index: number) => string): string => {
  let text = start
  for (let index = 0; text.length < size - 100; index++) text += line(index)
  return text
}
const texts = createTexts({ cpuMsMax: 300 })
afterAll(() => texts[Symbol.asyncDispose]())
const never = new AbortController().signal

async function mainThreadMs(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  const before = process.threadCpuUsage()
  await work()
  const { user, system } = process.threadCpuUsage(before)
  // The looks at what the text has used take some milliseconds of each second.
  return (user + system) / 1_000 - ((performance.now() - began) / 1_000) * 15
}

const hostile = {
  'empty lines': head.padEnd(size, '\n'),
  parentheses: filled(
    `${head}type d\n  relations\n    define a: [user]\n`,
    (index) => `    define b${index}: ${'('.repeat(12)}a${')'.repeat(12)}\n`,
  ),
  'relations of relations': filled(
    `${head}type d\n  relations\n    define p: [d]\n    define r0: [user]\n`,
    (index) => `    define r${index + 1}: r${index} from p\n`,
  ),
}

test.each(Object.entries(hostile))(
  '256 KiB of %s are no model, and hold up nobody but who sent them',
  async (_, text) => {
    const took = await mainThreadMs(() =>
      expect(texts.read(text)).rejects.toMatchObject({ name: 'TextError' }),
    )
    expect(took).toBeLessThan(250)
  },
  120_000,
)

test.each([
  ['members', filled('', (index) => `k${index}: 1\n`)],
  ['aliases of aliases', filled('a: &a x\ntests:\n', () => '  - *a\n')],
])(
  '256 KiB of %s are no truth table, and hold up nobody but who sent them',
  async (_, text) => {
    const took = await mainThreadMs(() =>
      expect(texts.readTable(text, readDsl(dsl))).rejects.toMatchObject({ name: 'TextError' }),
    )
    expect(took).toBeLessThan(250)
  },
  120_000,
)

test('a model and its truth table are read as they are, after all of that', async () => {
  const model = await texts.read(dsl)
  expect(model).toEqual(readDsl(dsl))
  expect((await texts.readTable(table, model)).tests.length).toBeGreaterThan(10)
}, 120_000)

test('an allow-list is read there as well: what of it fits, what the model lacks, and what may not stand', async () => {
  const list = readFileSync(new URL('../../model.allow-list.yaml', import.meta.url), 'utf8')
  const wrong = list
    .replace('    blocked: {', '    shown: { subjects: [user], write: writer }\n    blocked: {')
    .replace('delete: administrator', 'delete: tagger')
  expect(await texts.readAllowList(list, readDsl(dsl))).toEqual({ fitting: list, lacking: [], refused: [] })
  expect(await texts.readAllowList(wrong, readDsl(dsl))).toEqual({
    fitting: expect.not.stringContaining('shown:'),
    lacking: [expect.stringMatching(/^allow_list:\d+: document#shown: The model has no such relation/)],
    refused: [expect.objectContaining({ rule: 'allow_list_refused', relation: 'document#sensitive' })],
  })
  await expect(texts.readAllowList('schema: [', readDsl(dsl))).rejects.toThrow(TextError)
}, 120_000)

test('more relations than anybody writes are no model: to compile them takes the thread that serves everybody', async () => {
  const define = (index: number): string => `    define r${index}: [user]\n`
  const many = `${head}type d\n  relations\n${Array.from({ length: 501 }, (_, index) => define(index)).join('')}`
  await using own = createTexts()
  await expect(own.read(many)).rejects.toThrow('at most 500 relations')
  expect((await own.check(many, never)).problems).toMatchObject([
    { line: 1, message: expect.stringContaining('at most 500 relations') },
  ])
})

test('a text that is wrong in each of its characters is answered with the first hundred', async () => {
  await using own = createTexts()
  const { problems } = await own.check(head + '\0'.repeat(2_000), never)
  expect(problems).toHaveLength(100)
}, 120_000)

test('a check that takes too long is a problem of the text', async () => {
  await using own = createTexts({ cpuMsMax: 100 })
  const { problems } = await own.check(hostile['empty lines'], never)
  expect(problems).toMatchObject([{ line: 1, message: 'It takes too much time to read.' }])
}, 120_000)

test('a check that nobody waits for any more makes room', async () => {
  const stop = new AbortController()
  await using own = createTexts()
  const { check } = own
  const left = check(hostile['empty lines'], stop.signal)
  const next = check(dsl, never)
  stop.abort()
  await expect(left).rejects.toMatchObject({ code: 'deadline_exceeded' })
  expect(await next).toMatchObject({ problems: [] })
}, 120_000)

test('who comes while as many others wait as may is told to come again', async () => {
  await using own = createTexts({ waitingMax: 1 })
  const { read } = own
  const [first, second, third] = await Promise.allSettled([read(head), read(head), read(head)])
  expect([first?.status, second?.status]).toEqual(['fulfilled', 'fulfilled'])
  expect(third).toMatchObject({
    reason: { code: 'overloaded', headers: { 'retry-after': '10' } },
  })
}, 120_000)
