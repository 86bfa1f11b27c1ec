import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createLendables } from '../../src/delegation/lending/lendable.ts'
import type { SqlValue } from '../../src/store/sql.ts'
import { describeDatabases } from '../support/backends.ts'
import { openWorld, type RetrieveBody, type World } from '../support/world.ts'
import { type FaultyDatabase, faultyDatabase } from './faulty-database.ts'
import { type FaultyOpenFga, startFaultyOpenFga } from './faulty-openfga.ts'

const readable = 'The zirconium plan, as Anne may read it.'
const secret = 'The zirconium plan, for Bob alone.'
const vectorSearch = /embedding <#>/
const wordSearch = /from chunk_words p join/
const reading = /join chunk_texts/

/**
 * A yes is for what a document had in force when OpenFGA was asked. Who is taken off before something else is
 * published reads none of that, whatever was on its way.
 */
describeDatabases('what was published since OpenFGA said yes', (database) => {
  let faulty: FaultyOpenFga
  let storage: FaultyDatabase
  let world: World
  let anne: string
  let asked = 0
  let wordSearches = 0

  beforeAll(async () => {
    faulty = await startFaultyOpenFga()
    storage = faultyDatabase()
    world = await openWorld({
      backend: { database, openfga: 'engine' },
      openfga: faulty.wrap,
      database: (real) =>
        storage.wrap({
          ...real,
          async query<Row extends object>(text: string, values?: readonly SqlValue[]) {
            const rows = await real.query<Row>(text, values)
            if (wordSearch.test(text)) wordSearches += 1
            return rows
          },
        }),
      env: { VERDICT_TTL: '5', REQUEST_DEADLINE_MS: '60000' },
    })
    anne = await world.token({ user: 'anne' })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await faulty?.[Symbol.asyncDispose]()
  })
  beforeEach(async () => {
    storage.set(undefined)
    await put(readable, 'user:anne')
    asked = 0
    faulty.set({
      async decided({ kind }) {
        if (kind === 'batch-check') asked += 1
      },
    })
  })

  const put = (text: string, viewer: string) => world.put({ plan: { text, access: { viewers: [viewer] } } })
  const ask = (consistency: string) =>
    world.retrieve(anne, { query: 'zirconium plan', mode: 'vector', consistency, top_k: 5 })
  /** Once more from the beginning where it says that it is not whole: the log was not read for a second. */
  async function whole(answer: () => Promise<RetrieveBody>): Promise<RetrieveBody> {
    for (let tries = 20; ; tries -= 1) {
      const seen = await answer()
      if (seen.complete || tries === 0) return seen
    }
  }
  const texts = async (consistency: string) => (await ask(consistency)).results.map(({ text }) => text)
  /** The first such statement comes after this. */
  const before = (statement: RegExp, work: () => Promise<unknown>) =>
    storage.set(statement, async () => {
      storage.set(undefined)
      await work()
    })

  test.each(['fast', 'strict'])(
    'does not leave where OpenFGA was asked before the search: %s',
    async (consistency) => {
      const { complete } = await whole(async () => {
        await put(readable, 'user:anne')
        asked = 0
        before(vectorSearch, async () => {
          await expect.poll(() => asked).toBeGreaterThan(0)
          await put(secret, 'user:bob')
        })
        const answer = await ask(consistency)
        expect(answer.results).toEqual([])
        return answer
      })
      expect(complete).toBe(true)
      expect(asked).toBeGreaterThan(1)
    },
  )

  test('does not leave by a yes that is held, and neither where memory has not heard of it', async () => {
    const asksFor = async () => {
      asked = 0
      await ask('fast')
      return asked
    }
    await expect.poll(asksFor).toBe(0)
    // As another process does it: nothing tells this one.
    await world.database.transaction(async (sql) => {
      await sql.query('alter table documents disable trigger user')
      await sql.query(`update documents set publication = publication + 1000000 where id = 'plan'`)
      await sql.query(
        `update chunk_texts set text = $1 where doc_no = (select doc_no from documents where id = 'plan')`,
        [secret],
      )
      await sql.query('alter table documents enable trigger user')
    })
    asked = 0
    const { results } = await ask('fast')
    // Unless memory looked in between, and OpenFGA was asked about it.
    expect(results.length === 0 || asked > 0).toBe(true)
    await world.database.query(`update documents set changed_in = pg_current_xact_id() where id = 'plan'`)
    expect(await texts('fast')).toEqual([secret])
    expect(asked).toBeGreaterThan(0)
  })

  test('is read in its place by whoever may, in the same answer', async () => {
    const { results, complete } = await whole(async () => {
      await put(readable, 'user:anne')
      before(reading, () => put('The zirconium plan, revised.', 'user:anne'))
      return ask('fast')
    })
    expect([results.map(({ text }) => text), complete]).toEqual([['The zirconium plan, revised.'], true])
  })

  test.each([
    [1, true],
    [2, false],
  ])(
    'is not mixed with what was there before, where it came between the two searches of a question: %i times',
    async (times, isComplete) => {
      const race = async () => {
        let edition = 0
        const text = () => `The zirconium plan, edition ${edition}.`
        await put(text(), 'user:anne')
        const publishBetweenSearches = () =>
          storage.set(vectorSearch, async () => {
            storage.set(undefined)
            await expect.poll(() => wordSearches, { timeout: 10_000 }).toBeGreaterThan(edition)
            edition += 1
            await put(text(), 'user:anne')
            // Memory knows of it once a question was answered with it.
            await expect.poll(() => texts('strict'), { timeout: 10_000 }).toEqual([text()])
            if (edition < times) publishBetweenSearches()
          })
        wordSearches = 0
        publishBetweenSearches()
        const { results, complete } = await world.retrieve(anne, {
          query: 'zirconium plan',
          mode: 'hybrid',
          top_k: 5,
        })
        return { edition, complete, isWhole: results.map((result) => result.text).join() === text() }
      }
      let seen = await race()
      // On a machine that stands still for a moment it ends by its deadline: once more from the beginning.
      for (let tries = 0; tries < 5 && isComplete && !seen.complete; tries += 1) seen = await race()
      expect([seen.edition, seen.complete]).toEqual([times, isComplete])
      if (isComplete) expect(seen.isWhole).toBe(true)
    },
    60_000,
  )

  test('shows no title either, where somebody is about to lend it', async () => {
    const { lendables, answered } = lendablesAfter(() =>
      world.put({ plan: { title: secret, access: { viewers: ['user:bob'] } } }),
    )
    expect([...(await lendables.among('user:anne', ['document:plan'])).values()]).toEqual([
      { object: 'document:plan', title: 'plan' },
    ])
    expect(answered()).toBe(1)
  })

  /** OpenFGA says yes, and then this happens. */
  function lendablesAfter(work: () => Promise<unknown>) {
    let count = 0
    const lendables = createLendables({
      sql: world.database,
      fga: world.service.fga,
      hasRelation: () => true,
      clock: Date,
      readableCollections: async () => [],
      askNamed: () => ({
        async answer() {
          count += 1
          await work()
          return { verdicts: ['allowed'], requestIds: [], checks: 1, calls: 1 }
        },
      }),
    })
    return { lendables, answered: () => count }
  }
})
