import { afterAll, beforeAll, expect, test } from 'vitest'
import { remitAdapter } from '../../packages/prove/src/adapters/remit.ts'
import { probes, prove } from '../../packages/prove/src/prove.ts'
import { tableTruth } from '../../packages/prove/src/truths/table.ts'
import { operator } from '../../src/audit/record.ts'
import { openTelemetry } from '../../src/compose/telemetry.ts'
import { people as few, openWorld, type World } from '../support/world.ts'

/** `npm run full` asks for a million passages. */
const answers = Number(process.env['PROVE_ANSWERS'] ?? 60)
const isFull = process.env['PROVE_ANSWERS'] !== undefined
const topics = ['travel', 'budget', 'salary', 'board', 'paint', 'train', 'merger', 'office', 'lease', 'audit']
const people = isFull ? [...few, ...Array.from({ length: 60 }, (_, number) => `p${number}`)] : few
/** In full everybody but carol and dan, so that a hundred passages may be read. */
const staff = people.filter((person) => person !== 'carol' && person !== 'dan')
const pairs = topics.flatMap((one, index) => topics.slice(index).map((other) => `${one} ${other}`))
const questions = isFull
  ? pairs.flatMap((pair) => topics.slice(0, 4).map((topic) => `${pair} ${topic}`))
  : pairs

let world: World
let telemetry: AsyncDisposable
/** Lines `person,document`, as the documents were made: nothing of Remit was asked. */
const table: string[] = []

beforeAll(async () => {
  // As each process opens it: the record holds the traces that callers bring.
  telemetry = await openTelemetry({ endpoint: undefined, version: '0' })
  world = await openWorld()
  for (const key of people.slice(few.length)) await world.service.people.save({ key, name: key })
  await world.write(...staff.map((person) => `user:${person} member group:staff`))
  const documents = Array.from({ length: isFull ? 400 : 40 }, (_, number) => {
    const words = topics.filter((_, index) => (number + index) % 3 > 0)
    const isForStaff = number % 2 === 0
    const direct = people[number % people.length] ?? ''
    const blocked = number % 5 === 0 ? 'bob' : undefined
    const readers = [...(isForStaff ? staff : []), direct].filter((one) => one !== blocked)
    table.push(...new Set(readers.map((reader) => `${reader},d/${number}`)))
    const access = {
      viewers: [`user:${direct}`, ...(isForStaff ? ['group:staff#member'] : [])],
      ...(blocked && { blocked: [`user:${blocked}`] }),
    }
    return [`d/${number}`, { text: `${words.join(' ')} ${number}.`, access }] as const
  })
  await world.put(Object.fromEntries(documents))
  await world.service.ingest.saveCollection(operator('test'), {
    id: 'canary',
    title: 'Canary',
    publicAllowed: false,
  })
  await world.service.services.save({ name: 'prover', collections: ['canary'], prefixes: [] })
  for (const key of ['ida', 'otto']) await world.service.people.save({ key, name: key })
}, 300_000)
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await telemetry[Symbol.asyncDispose]()
})

test('nothing is found in Remit, and its record tells the probes from people', {
  timeout: isFull ? 7_200_000 : 120_000,
}, async () => {
  const report = await prove(
    {
      adapter: remitAdapter({
        url: world.config.publicUrl,
        fetch: async (url, init) => world.service.app.request(url, init),
        collection: 'canary',
        writerToken: () => world.token({ service: 'prover' }),
      }),
      token: (user) => world.token({ user }),
      truth: tableTruth(table.join('\n')),
      people,
      questions,
      canaryPeople: ['ida', 'otto'],
    },
    {
      key: 'k',
      seed: 1,
      // Tell-tales need many words; `npm run full` looks for them.
      ...(isFull
        ? { sizes: { answers, concurrency: 4 } }
        : {
            sizes: { answers, crowd: 20, revocations: 2 },
            only: probes.map(({ id }) => id).filter((id) => id !== 'twins' && id !== 'by-id'),
          }),
    },
  )
  if (isFull) console.log(JSON.stringify(report, null, 2))
  // A time of this machine is a false alarm once in a hundred runs.
  expect(report.findings.filter(({ message }) => !message.includes('by: time'))).toEqual([])
  expect(report.checks.filter(({ state }) => state !== 'held' && state !== 'broken')).toEqual([])
  expect(report.left).toEqual([])
  // By the trace the record tells its probes from people.
  const [found] = await world.database.query<{ readonly count: number }>(
    `select count(*)::int as count from decision_records where event = 'retrieved' and trace_id = $1`,
    [report.trace],
  )
  expect(found?.count).toBeGreaterThan(answers)
})
