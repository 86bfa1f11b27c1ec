import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Database, SqlValue } from '../../src/store/sql.ts'
import { openWorld, type RetrieveBody, type World } from '../support/world.ts'
import { type AskedCall, type FaultyOpenFga, startFaultyOpenFga, type Verdicts } from './faulty-openfga.ts'

// An offer tells one bit. Everything here asks whether it tells more, or tells it without OpenFGA.

const text = 'Quicksilver budgets of the year.'
const asking = { query: 'quicksilver budgets', mode: 'keyword', top_k: 4, consistency: 'strict' }
const told = { viewers: ['user:anne'], sensitive: true }

let faulty: FaultyOpenFga
let world: World
let bot: string
const calls: AskedCall[] = []

/** A document whose words are not found before that ends. */
let held: { readonly docNo: number; readonly until: Promise<void> } | undefined
const holding = (database: Database): Database => ({
  ...database,
  async query(text, values = []) {
    const isSearched = (value: SqlValue) => value instanceof Int32Array && value.includes(held?.docNo ?? 0)
    if (held !== undefined && text.includes('chunk_words') && values.some(isSearched)) await held.until
    return database.query(text, values)
  },
})

beforeAll(async () => {
  faulty = await startFaultyOpenFga()
  world = await openWorld({
    database: holding,
    openfga: faulty.wrap,
    env: { REQUEST_DEADLINE_MS: '60000' },
  })
  await world.put({
    ...Object.fromEntries(
      Array.from({ length: 12 }, (_, index) => [
        `open/${index}`,
        { text, access: { viewers: ['user:anne'] } },
      ]),
    ),
    'open/first': { text: `${text} ${text}`, access: { viewers: ['user:anne'] } },
  })
  await world.lend('anne', 'research-bot', 'collection:handbook')
  bot = await world.token({ user: 'anne', agent: 'research-bot' })
}, 60_000)
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await faulty?.[Symbol.asyncDispose]()
})
beforeEach(() => world.database.query('delete from offer_limits'))

type Answer = RetrieveBody & { readonly approval?: { readonly offer_id: string } }
const ask = async () => (await world.retrieve(bot, asking)) as Answer
const isOffered = () => expect.poll(async () => (await ask()).approval, { timeout: 20_000 })
/** Its answer, asked again while it says itself that it may lack something: then it offers nothing either. */
async function askWhole(): Promise<Answer> {
  for (;;) {
    const answer = await ask()
    if (answer.complete) return answer
  }
}

/**
 * Checks sent to OpenFGA for one question: as few as it takes once the replica has all, whatever the machine
 * does.
 */
async function checksSent(times = 8): Promise<number> {
  let fewest = Number.POSITIVE_INFINITY
  for (let count = 0; count < times; count += 1) {
    calls.length = 0
    faulty.set({
      verdicts: (all, call) => {
        calls.push(call)
        return all
      },
    })
    await ask()
    faulty.set(undefined)
    fewest = Math.min(
      fewest,
      calls.reduce((sum, { objects }) => sum + objects.length, 0),
    )
    await vi.waitUntil(() => world.service.index.status().lagMs < 1_000, { timeout: 10_000 })
  }
  return fewest
}

async function withDocuments(
  documents: Parameters<World['put']>[0],
  run: () => Promise<void>,
): Promise<void> {
  await world.put(documents)
  try {
    await run()
  } finally {
    const loader = { subject: 'service:loader', actors: [], client: 'test', txn: 't_test' } as const
    for (const id of Object.keys(documents)) {
      const job = await world.service.ingest.withdraw(loader, id)
      await world.service.ingest.waitForJob(job, loader.subject, AbortSignal.timeout(20_000))
    }
  }
}

const perfect = `${text} ${text} ${text}`
const untold: Parameters<World['put']>[0] = {
  'hidden/none': { text: perfect, access: { sensitive: true } },
  'hidden/bob': { text: perfect, access: { viewers: ['user:bob'], sensitive: true } },
  'hidden/blocked': { text: perfect, access: { ...told, blocked: ['user:anne'] } },
  'hidden/elsewhere': { collection: 'finance', text: perfect, access: told },
}

describe('an offer', () => {
  test('and the checks behind it are as many whatever is there of which the agent may not be told', async () => {
    const plain = await checksSent()
    await withDocuments(untold, async () => {
      expect(await checksSent()).toBe(plain)
      expect((await ask()).approval).toBeUndefined()
    })
  }, 60_000)

  test('takes as many checks for no document as for one, for eight, or for fifteen', async () => {
    const plain = await checksSent()
    const sent: number[] = []
    for (const count of [1, 8, 15]) {
      const kept = Array.from({ length: count }, (_, index) => [
        `kept/${index}`,
        { text: perfect, access: told },
      ])
      await withDocuments(Object.fromEntries(kept), async () => {
        sent.push(await checksSent())
        await world.database.query('delete from offer_limits')
        await isOffered().toEqual({ offer_id: expect.stringMatching(/^o_[\w-]{22}$/) })
      })
    }
    expect(new Set(sent)).toEqual(new Set([plain]))
    const offered = await world.database.query<{ count: number }>(
      'select max(cardinality(document_ids)) as count from offers',
    )
    // Of those that would have been among the four that were asked for.
    expect(offered).toEqual([{ count: 4 }])
  }, 60_000)

  test('asks as much once its limit is reached', async () => {
    const plain = await checksSent()
    await withDocuments({ 'kept/one': { text: perfect, access: told } }, async () => {
      for (let count = 0; count < 10; count += 1) await isOffered().toBeDefined()
      expect((await askWhole()).approval).toBeUndefined()
      expect(await checksSent()).toBe(plain)
    })
  }, 60_000)

  test('asks OpenFGA of nothing that it will not be made of: beyond what is asked for, or beyond its limit', async () => {
    const askedOf = async (body: object) => {
      await vi.waitUntil(() => world.service.index.status().lagMs < 1_000, { timeout: 10_000 })
      calls.length = 0
      faulty.set({
        verdicts: (all, call) => {
          calls.push(call)
          return all
        },
      })
      const { approval } = (await world.retrieve(bot, { ...asking, ...body })) as Answer
      faulty.set(undefined)
      const isAsked = calls.some(({ objects }) => objects.includes('document:kept/one'))
      return { isAsked, isOffered: approval !== undefined }
    }
    await withDocuments({ 'kept/one': { text, access: told } }, async () => {
      // Twice the words: it comes before all others.
      expect(await askedOf({ top_k: 1 })).toEqual({ isAsked: false, isOffered: false })
      for (let count = 0; count < 10; count += 1)
        // What is found late is asked of nobody.
        await expect
          .poll(() => askedOf({ top_k: 20 }), { timeout: 20_000 })
          .toEqual({ isAsked: true, isOffered: true })
      expect(await askedOf({ top_k: 20 })).toEqual({ isAsked: false, isOffered: false })
    })
  }, 60_000)

  test('is not made of what is found late, and no answer waits for that', async () => {
    await withDocuments({ 'kept/one': { text: perfect, access: told } }, async () => {
      await isOffered().toBeDefined()
      const [row] = await world.database.query<{ doc_no: number }>(
        `select doc_no from documents where id = 'kept/one'`,
      )
      const { promise: until, resolve: release } = Promise.withResolvers<void>()
      held = { docNo: row?.doc_no ?? 0, until }
      const answer = await ask()
      release()
      held = undefined
      expect(answer.results).toHaveLength(4)
      expect(answer.approval).toBeUndefined()
      await isOffered().toBeDefined()
    })
  }, 60_000)

  test.each<[string, (verdicts: Verdicts) => Verdicts]>([
    ['says no', (all) => mapTold(all, () => ({ allowed: false }))],
    ['fails on it', (all) => mapTold(all, () => ({ error: { message: 'too deep' } }))],
    ['leaves it out', (all) => mapTold(all, () => undefined)],
  ])(
    'is never the replica’s word: none where OpenFGA %s',
    async (_, verdicts) => {
      await withDocuments({ 'kept/one': { text: perfect, access: told } }, async () => {
        await isOffered().toBeDefined()
        faulty.set({ verdicts })
        const answer = await askWhole()
        faulty.set(undefined)
        expect(answer.approval).toBeUndefined()
        expect(answer.results).toHaveLength(4)
      })
    },
    60_000,
  )
})

describe('a document by its id', () => {
  const read = async (id: string) => {
    calls.length = 0
    faulty.set({
      verdicts: (all, call) => {
        calls.push(call)
        return all
      },
    })
    const response = await world.call('GET', `/documents/${encodeURIComponent(id)}`, { token: bot })
    faulty.set(undefined)
    return { status: response.status, asked: calls.map(({ objects }) => objects.length) }
  }
  /**
   * Beside the decoys all is asked about where the log was not read for a second, and half a second more
   * brought nothing: once more then, and then alone.
   */
  async function answers(id: string, status: number, asked: readonly number[]): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      const began = performance.now()
      const seen = await read(id)
      if (tries < 10 && seen.asked.length > asked.length && performance.now() - began > 450) continue
      expect(seen).toEqual({ status, asked })
      return
    }
  }

  test('is asked about twice in one call beside the decoys, where it may be read or told of; else are the decoys alone', async () => {
    await withDocuments({ ...untold, 'kept/one': { text, access: told } }, async () => {
      await answers('open/1', 200, [2, 2])
      await answers('kept/one', 403, [2, 2])
      for (const id of [...Object.keys(untold), 'never/was']) await answers(id, 404, [2])
    })
    // Withdrawn: whatever tuples were left of it.
    await world.write('user:anne viewer document:kept/one', 'user:* sensitive document:kept/one')
    await world.write('collection:handbook filed_in document:kept/one')
    await answers('kept/one', 404, [2])
  }, 60_000)

  test('on which OpenFGA alone has no verdict is the 404 of a missing one, although it may be told of', async () => {
    await withDocuments({ 'kept/two': { text, access: told } }, async () => {
      faulty.set({ verdicts: (all) => ({ ...all, 'document:kept/two': { error: { message: 'too deep' } } }) })
      const response = await world.call('GET', '/documents/kept%2Ftwo', { token: bot })
      faulty.set(undefined)
      expect(response.status).toBe(404)
    })
  }, 60_000)
})

function mapTold(all: Verdicts, change: () => Verdicts[string] | undefined): Verdicts {
  return Object.fromEntries(
    Object.entries(all).flatMap(([name, verdict]) => {
      const told = name.endsWith(' can_be_told') ? change() : verdict
      return told === undefined ? [] : [[name, told]]
    }),
  )
}
