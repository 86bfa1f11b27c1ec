import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { native } from '../support/native.ts'
import { noting, sentBy } from '../support/noting.ts'
import { openWorld, type RetrieveBody, type World } from '../support/world.ts'

// Anne leaves a group that reads all of these, and the replica has not heard of it: it lets all of them
// through.

const many = 240
const staff = { user: 'user:anne', relation: 'member', object: 'group:staff' }

let world: World
let other: FgaApi
/** Set: nothing is heard of OpenFGA's log. */
let deaf: Promise<void> | undefined
beforeAll(async () => {
  world = await openWorld({
    database: noting,
    openfga(api) {
      other = api
      return Object.assign(Object.create(api) as FgaApi, {
        async readChanges(...given: Parameters<FgaApi['readChanges']>) {
          await deaf
          return api.readChanges(...given)
        },
      })
    },
    env: { REQUEST_DEADLINE_MS: '60000' },
  })
  await world.write('user:anne member group:staff')
  await world.put(
    Object.fromEntries(
      Array.from({ length: many }, (_, at) => [
        `staff/${at}`,
        { text: `Merger ${at}.`, access: { viewers: ['group:staff#member'] } },
      ]),
    ),
  )
  // Last: a question hears of what was written beside other changes only within the last hundred of them.
  await world.put({
    'anne/1': { text: 'A merger of mine, with much else to say.', access: { viewers: ['user:anne'] } },
  })
}, 180_000)
afterAll(() => world?.[Symbol.asyncDispose]())

const writeAs = (operation: 'writes' | 'deletes') =>
  other.write(world.service.fga.storeId, {
    authorization_model_id: world.service.fga.modelId,
    [operation]: { tuple_keys: [staff] },
  })

async function ask(token: string, mode: string) {
  let answer: RetrieveBody | undefined
  const sent = await sentBy(async () => {
    answer = await world.retrieve(token, { query: 'merger', mode, top_k: 10, consistency: 'strict' })
  })
  return {
    ids: answer?.results.map(({ document_id }) => document_id),
    complete: answer?.complete,
    searches: sent.filter((one) => /chunk_words|distance/.test(one)).length,
  }
}

// Words that are equally good are looked up once more on OpenSearch.
const words = native.isOnOpensearch ? 2 : 1

test.each([
  ['keyword', words],
  ['vector', 1],
  ['hybrid', words + 1],
])(
  'what may be read is found behind all that OpenFGA refuses, in a few searches: %s',
  async (mode, each) => {
    const token = await world.token({ user: 'anne' })
    await expect
      .poll(() => ask(token, mode), { timeout: 20_000 })
      .toMatchObject({ complete: true, searches: each })
    const askWhileDeaf = async () => {
      let hear = (): void => undefined
      deaf = new Promise((resolve) => {
        hear = resolve
      })
      await writeAs('deletes')
      try {
        return await ask(token, mode)
      } finally {
        hear()
        deaf = undefined
        await writeAs('writes')
        await world.service.index.catchUp()
      }
    }
    // Whoever was deaf for a second before it looked says that it is not whole: once more from the beginning.
    let seen = await askWhileDeaf()
    for (let tries = 0; tries < 10 && seen.complete !== true; tries += 1) seen = await askWhileDeaf()
    expect([seen.ids, seen.complete]).toEqual([['anne/1'], true])
    // A search for each few of them would be 13 of one list.
    expect(seen.searches).toBeLessThanOrEqual(6 * each)
  },
  60_000,
)
