import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import type { Database } from '../../src/store/sql.ts'
import { describeDatabases } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

interface Asking {
  /** OpenFGA was asked. */
  readonly asked: PromiseWithResolvers<void>
  /** What was compared, when OpenFGA had been asked or gave no sign. */
  readonly searched: ('asked' | 'not asked')[]
  readonly fails: boolean
  /** So many milliseconds a search waits for that. */
  readonly waitMs: number
}
interface Question extends Pick<Asking, 'fails' | 'waitMs'> {
  readonly mode: string
  readonly agent: boolean
}
const asking = new AsyncLocalStorage<Asking>()

/** A search does not begin before OpenFGA was asked, or gave no sign for as long as it waits. */
const waiting = (database: Database): Database => ({
  ...database,
  async queryFixedPlan(statement, values) {
    const now = asking.getStore()
    if (now !== undefined && statement.name.startsWith('search_')) {
      const sign = now.asked.promise.then(() => 'asked' as const)
      now.searched.push(await Promise.race([sign, sleep(now.waitMs, 'not asked' as const)]))
    }
    return database.queryFixedPlan(statement, values)
  },
})

const watched = (real: FgaApi): FgaApi =>
  Object.create(real, {
    batchCheck: {
      value: async (...given: Parameters<FgaApi['batchCheck']>) => {
        const now = asking.getStore()
        now?.asked.resolve()
        if (now?.fails) throw new Error('down')
        return real.batchCheck(...given)
      },
    },
  })

describeDatabases('an answer for whoever sees little', (kind) => {
  let world: World
  beforeAll(async () => {
    world = await openWorld({
      backend: { database: kind, openfga: 'engine' },
      database: waiting,
      openfga: watched,
      env: { REQUEST_DEADLINE_MS: '60000' },
    })
    const some = (count: number, person: string) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, at) => [
          `${person}/${at}`,
          { text: `Page ${at} of the travel budget.`, access: { viewers: [`user:${person}`] } },
        ]),
      )
    await world.put({ ...some(3, 'anne'), ...some(30, 'bob') })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  // Where it is to be asked: a machine that is busy may take its time until then.
  const patient = 20_000

  async function ask(
    user: string,
    { mode = 'vector', fails = false, agent = false, waitMs = 500 }: Partial<Question> = {},
  ) {
    const token = await world.token({
      user,
      ...(agent && { agent: 'research-bot', scopes: ['docs.search', 'approvals.request'] }),
    })
    const now: Asking = { asked: Promise.withResolvers(), searched: [], fails, waitMs }
    const response = await asking.run(now, () =>
      world.call('POST', '/retrieve', {
        token,
        body: { query: 'travel budget', mode, consistency: 'strict' },
      }),
    )
    const { results } = (await response.json()) as { results?: { document_id: string }[] }
    return { status: response.status, found: results?.length, searched: now.searched }
  }

  test.each(['vector', 'hybrid'])(
    'by %s asks OpenFGA while it searches: what is found anyway is known before',
    async (mode) => {
      const answer = await ask('anne', { mode, waitMs: patient })
      expect(answer).toEqual({ status: 200, found: 3, searched: ['asked'] })
    },
  )

  test('asks first what is found where more is visible than an answer looks for', async () => {
    expect(await ask('bob')).toEqual({ status: 200, found: 10, searched: ['not asked'] })
  })

  test('asks first what is best for an agent that may be told of more: it is told of the best, not of whatever there is', async () => {
    await world.lend('anne', 'research-bot', 'collection:handbook')
    // What it is given, and what it could be told of, whether there is any or not.
    const searched = ['not asked', 'not asked']
    // Within what the second is waited for: 0083.
    expect(await ask('anne', { agent: true, waitMs: 50 })).toEqual({ status: 200, found: 3, searched })
  })

  test('releases nothing, and says why, where OpenFGA does not answer meanwhile', async () => {
    const answer = await ask('anne', { fails: true, waitMs: patient })
    expect(answer).toEqual({ status: 503, found: undefined, searched: ['asked'] })
  })
})
