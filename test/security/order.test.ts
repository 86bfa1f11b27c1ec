import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createRandom, type Random } from '../../packages/engine/test/support/random.ts'
import { seed } from '../../packages/engine/test/support/seed.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import type { ChunkId } from '../../src/kernel/ids.ts'
import { fuse } from '../../src/retrieval/best.ts'
import { noting, notingChecks, sentBy } from '../support/noting.ts'
import { type DocumentSketch, openWorld, type RetrieveBody, type World } from '../support/world.ts'

// Whoever may read forty documents asks in every way, with and without others that they may not know of. The
// order of what they get, how it is searched, and what OpenFGA is asked must be the same; and a hybrid answer
// must be what anybody can make of the two single lists.

const worlds = Number(process.env.FUZZ_WORLDS ?? 20)
const words = [
  'merger',
  'budget',
  'salary',
  'audit',
  'supplier',
  'board',
  'travel',
  'pump',
  'recall',
  'zebra',
]
const ended = '2020-01-01T00:00:00Z'
const staff = 'group:staff#member'

type Reader = 'person' | 'agent' | 'mute agent'
const readers: readonly Reader[] = ['person', 'agent', 'mute agent']

/** What hides a document from the person, and so from their agent. */
const fromBoth: Readonly<
  Record<string, { readonly [member: string]: unknown; readonly parents?: string[] }>
> = {
  blocked: { viewers: [staff], blocked: ['user:anne'] },
  'blocked by a group': { viewers: [staff], blocked: ['group:out#member'] },
  ended: { viewers: [{ user: 'user:anne', expires_at: ended }] },
  'ended for a group': { viewers: [{ user: staff, expires_at: ended }] },
  'blocked and sensitive': { viewers: [staff], blocked: ['user:anne'], sensitive: true },
  'somebody else’s': { viewers: ['user:bob'] },
  'blocked by a folder above': { viewers: [staff], parents: ['folder:kept/inner'] },
  'blocked by a collection': { viewers: [staff], parents: ['folder:of-collection'] },
  'blocked by an organization': { viewers: [staff], parents: ['folder:of-organization'] },
  'behind a gate': { parents: ['folder:behind-gate'] },
}
/** What stands above those documents. */
const places = [
  'folder:kept parent folder:kept/inner',
  'group:out#member blocked folder:kept',
  'collection:kept parent folder:of-collection',
  'user:anne blocked collection:kept',
  'collection:theirs parent folder:of-organization',
  'organization:theirs organization collection:theirs',
  'group:out#member blocked organization:theirs',
  'zone:gated parent folder:behind-gate',
  'group:staff#member audience zone:gated',
  'user:* gate_1 zone:gated',
  'user:bob gate_2 zone:gated',
  'user:* gate_3 zone:gated',
]
/** The person reads these, and the agent must not know of them where it may not ask. */
const fromAgent: Readonly<Record<string, object>> = {
  sensitive: { viewers: [staff], sensitive: true },
}

const sentence = (random: Random, length: number): string =>
  Array.from({ length }, () => random.pick(words)).join(' ')

const tests = { subject: 'service:loader', actors: [], client: 'test', txn: 't_test' } as const

let world: World
/** Set: nothing is heard of OpenFGA's log. */
let deaf: Promise<void> | undefined
let other: FgaApi
beforeAll(async () => {
  const random = createRandom(seed)
  world = await openWorld({
    database: noting,
    openfga(api) {
      other = api
      return Object.assign(notingChecks(api), {
        async readChanges(...given: Parameters<FgaApi['readChanges']>) {
          await deaf
          return api.readChanges(...given)
        },
      })
    },
    env: { REQUEST_DEADLINE_MS: '60000' },
  })
  await world.write(
    'user:anne member group:staff',
    'user:bob member group:staff',
    'user:anne member group:out',
  )
  await world.put(
    Object.fromEntries(
      Array.from({ length: 40 }, (_, at) => [
        `open/${at}`,
        { text: sentence(random, 6 + random.below(12)), access: { viewers: [staff] } },
      ]),
    ),
  )
  // Folders are filed at their first mention; what was there before is no longer then.
  await world.put({
    mentioning: {
      text: 'nothing',
      access: { parents: Object.values(fromBoth).flatMap(({ parents = [] }) => parents) },
    },
  })
  await world.write(...places)
  await world.lend('anne', 'research-bot', 'collection:handbook')
  await world.service.ranking.renew()
  // Statements are described once.
  for (const reader of readers) await ask({ reader, query: 'merger', mode: 'hybrid', top_k: 10 })
}, 120_000)
afterAll(() => world?.[Symbol.asyncDispose]())
beforeEach(() => world.database.query('delete from offer_limits'))

const tokenOf = (reader: Reader) =>
  world.token({
    user: 'anne',
    ...(reader !== 'person' && { agent: 'research-bot' }),
    ...(reader === 'mute agent' && { scopes: ['docs.search', 'docs.read'] }),
  })

interface Asked {
  readonly reader: Reader
  readonly query: string
  readonly mode: 'hybrid' | 'vector' | 'keyword'
  readonly top_k: number
}

async function ask({ reader, ...body }: Asked, token?: string): Promise<RetrieveBody> {
  return world.retrieve(token ?? (await tokenOf(reader)), { ...body, consistency: 'strict' })
}

const order = ({ results }: RetrieveBody): string[] => results.map(({ document_id }) => document_id)

/** What anybody makes of the two single lists: the documented constants, and nothing else. */
const fused = (lists: readonly RetrieveBody[]): string[] =>
  fuse(
    lists.map(({ results }) =>
      results.map(({ chunk_id, document_id }) => ({
        chunkId: chunk_id as ChunkId,
        documentId: document_id,
        ordinal: 0,
        score: 0,
      })),
    ),
  ).map(({ documentId }) => documentId)

/** The answer and what it took, without what is drawn anew for each. */
async function told(asked: Asked): Promise<string[]> {
  let answer: RetrieveBody | undefined
  const token = await tokenOf(asked.reader)
  const sent = await sentBy(async () => {
    answer = await ask(asked, token)
  })
  const { approval: _, ...rest } = { approval: undefined, ...answer }
  const text = JSON.stringify(rest)
    .replaceAll(/"txn":"[^"]*"/g, '"txn":"…"')
    .replaceAll(/"index_lag_ms":[\d.]+/g, '"index_lag_ms":0')
  // Of search and check; those that are under way together come in any order. What a token says is looked up
  // now and then, and an offer that is made, which the answer itself says, takes statements of its own.
  return [text, ...sent.filter((one) => isOfSearch.test(one)).sort()]
}

/** The first line that is another one. */
function differenceOf(before: readonly string[], after: readonly string[]): string | undefined {
  const lines = Math.max(before.length, after.length)
  for (let at = 0; at < lines; at++)
    if (before[at] !== after[at]) return `line ${at} is ${after[at]} for ${before[at]}`
  return undefined
}

const isOfSearch = /distance|chunk_words|ranking_|string_agg|BatchCheck/

async function inconsistent(reader: Reader, query: string): Promise<string | undefined> {
  const [vector, keyword, hybrid] = await Promise.all(
    (['vector', 'keyword', 'hybrid'] as const).map((mode) => ask({ reader, query, mode, top_k: 100 })),
  )
  if (vector === undefined || keyword === undefined || hybrid === undefined) throw new Error('no answer')
  const [seen, expected] = [order(hybrid).join(), fused([vector, keyword]).join()]
  return seen === expected ? undefined : `${reader} asks ${query}: ${seen} for ${expected}`
}

async function withHidden<T>(
  documents: Readonly<Record<string, DocumentSketch>>,
  run: () => Promise<T>,
): Promise<T> {
  await world.put(documents)
  await world.service.index.catchUp()
  try {
    return await run()
  } finally {
    for (const id of Object.keys(documents)) {
      const job = await world.service.ingest.withdraw(tests, id)
      await world.service.ingest.waitForJob(job, tests.subject, AbortSignal.timeout(20_000))
    }
  }
}

/** One or many, of which each is anywhere in either list. */
function drawHidden(random: Random, kinds: Readonly<Record<string, object>>): Record<string, DocumentSketch> {
  const count = random.chance(0.5) ? 1 : 2 + random.below(5)
  return Object.fromEntries(
    Array.from({ length: count }, (_, at) => [
      `hidden/${at}`,
      { text: sentence(random, 1 + random.below(14)), access: kinds[random.pick(Object.keys(kinds))] ?? {} },
    ]),
  )
}

test('whoever may read them reads what stands in each of those places, and she reads none of it', async () => {
  const above = Object.entries(fromBoth).filter(([, { parents }]) => parents !== undefined)
  const hidden = Object.fromEntries(
    above.map(([, access], at) => [`hidden/${at}`, { text: 'merger', access }]),
  )
  await withHidden(hidden, async () => {
    const readBy = async (user: string) => {
      const { results } = await world.retrieve(await world.token({ user }), { query: 'merger', top_k: 100 })
      return Object.keys(hidden).filter((id) => results.some(({ document_id }) => document_id === id))
    }
    expect(await readBy('bob')).toEqual(Object.keys(hidden))
    expect(await readBy('anne')).toEqual([])
  })
})

test('the comparison can fail: a document that she may read is in the order of all that she is told', async () => {
  const asked: Asked = { reader: 'person', query: 'merger', mode: 'hybrid', top_k: 10 }
  const before = await told(asked)
  await withHidden({ 'hidden/0': { text: 'merger merger', access: { viewers: [staff] } } }, async () => {
    expect(await told(asked)).not.toEqual(before)
  })
  expect(await told(asked)).toEqual(before)
})

test(`neither order nor work tells of what is hidden, in ${worlds} random worlds (FUZZ_SEED=${seed})`, async () => {
  const wrong: string[] = []
  let asked = 0
  for (let nth = 0; nth < worlds; nth++) {
    const random = createRandom(seed + nth)
    const query = sentence(random, 1 + random.below(2))
    const [all, some] = [10, 1 + random.below(5)]
    // The agent that may ask may be told of what is only sensitive: by an offer, and by nothing else.
    const isSensitive = random.chance(0.3)
    const kinds = isSensitive ? fromAgent : fromBoth
    const about = readers.filter((reader) => !isSensitive || reader !== 'person')
    const questions = about.flatMap((reader) =>
      (['hybrid', 'vector', 'keyword'] as const).flatMap((mode): Asked[] => [
        { reader, query, mode, top_k: mode === 'hybrid' ? all : some },
      ]),
    )
    const before: string[][] = []
    for (const one of questions) before.push(await told(one))
    await withHidden(drawHidden(random, kinds), async () => {
      for (const [at, one] of questions.entries()) {
        asked += 1
        const difference = differenceOf(before[at] ?? [], await told(one))
        if (difference !== undefined) wrong.push(`${seed + nth}: ${JSON.stringify(one)}: ${difference}`)
      }
      for (const reader of about) {
        const found = await inconsistent(reader, query)
        if (found !== undefined) wrong.push(`${seed + nth}: ${found}`)
      }
    })
  }
  console.log(`seed ${seed}: ${asked} questions beside what is hidden, ${wrong.length} told of it`)
  expect(wrong).toEqual([])
}, 900_000)

describe('while the replica has not heard yet that she is blocked', () => {
  let hear = (): void => undefined
  afterEach(() => {
    hear()
    deaf = undefined
  })

  const block = (operation: 'writes' | 'deletes', ids: readonly string[]) =>
    other.write(world.service.fga.storeId, {
      authorization_model_id: world.service.fga.modelId,
      [operation]: {
        tuple_keys: ids.map((id) => ({ user: 'user:anne', relation: 'blocked', object: `document:${id}` })),
      },
    })

  // Believed to have the tail; known to have lost it; not asked any more.
  test.each([0, 1_200, 2_500])(
    'what OpenFGA refuses is in no order: %i ms after the last that was heard',
    async (ms) => {
      const hidden = Object.fromEntries(
        ['merger', 'merger budget', 'audit', 'salary board audit'].map((text, at) => [
          `hidden/${at}`,
          { text: `${text} ${text}`, access: { viewers: [staff] } },
        ]),
      )
      const ids = Object.keys(hidden)
      const questions = ['merger', 'budget merger', 'audit salary', 'board'].flatMap((query) =>
        readers.map((reader): Asked => ({ reader, query, mode: 'hybrid', top_k: 10 })),
      )
      const before: RetrieveBody[] = []
      for (const one of questions) before.push(await ask(one))
      await withHidden(hidden, async () => {
        const seen = await ask({ reader: 'person', query: 'merger', mode: 'hybrid', top_k: 100 })
        expect(order(seen)).toEqual(expect.arrayContaining(ids))
        await vi.waitUntil(() => world.service.index.status().lagMs < 300, { timeout: 20_000 })
        deaf = new Promise((resolve) => {
          hear = resolve
        })
        await block('writes', ids)
        await new Promise((resolve) => setTimeout(resolve, ms))
        try {
          for (const [at, one] of questions.entries()) {
            const { results, complete } = await ask(one)
            expect(results, JSON.stringify(one)).toEqual(before[at]?.results)
            if (ms > 0) expect(complete).toBe(false)
          }
          for (const reader of readers) expect(await inconsistent(reader, 'merger budget')).toBeUndefined()
          for (const reader of ms > 0 ? readers : []) {
            const listed = await world.call('GET', '/collections', { token: await tokenOf(reader) })
            expect(await listed.json()).toMatchObject({ complete: false })
          }
        } finally {
          hear()
          deaf = undefined
          await block('deletes', ids)
        }
      })
    },
    120_000,
  )
})
