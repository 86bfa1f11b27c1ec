import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { native, needsOpenfga, needsPostgres } from '../support/native.ts'
import { openPair, type Pair } from '../support/pair.ts'

describe(
  'a process that answers and one that works',
  needsPostgres.skip ? needsPostgres : needsOpenfga,
  () => {
    let pair: Pair
    let token: string
    beforeAll(async () => {
      if (native.databaseUrl === undefined || native.openfga === undefined) return
      pair = await openPair({
        databaseUrl: native.databaseUrl,
        openfga: native.openfga,
        roles: ['api', 'worker'],
        // Whoever waits for a document does so no longer than that.
        env: { REQUEST_DEADLINE_MS: '20000' },
      })
      await pair.command('collection', 'add', 'handbook', '--title', 'Handbook')
      await pair.command('service', 'add', 'loader', '--collection', 'handbook')
      token = await pair.serviceToken('loader')
    }, 300_000)
    afterAll(() => pair?.[Symbol.asyncDispose]())

    /** Sends a document to the first process; the answer's status after a wait of so many seconds at most. */
    async function put(id: string, seconds: number): Promise<number> {
      const response = await fetch(`${pair.urls[0]}/documents/${id}`, {
        method: 'PUT',
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          prefer: `wait=${seconds}`,
        },
        body: JSON.stringify({
          id,
          collection: 'handbook',
          title: id,
          text: `About ${id}.`,
          mime_type: 'text/plain',
          access: { owner: 'user:anne' },
        }),
      })
      await response.arrayBuffer()
      return response.status
    }

    test('a document that the one accepts is taken in by the other, and whoever waits hears of it', async () => {
      expect(await put('plan', 15)).toBe(200)
    })

    test('the one that works answers nobody but its operators', async () => {
      await expect(fetch(`${pair.urls[1]}/readyz`)).rejects.toThrow('fetch failed')
      expect((await fetch(`${pair.opsUrls[1]}/readyz`)).status).toBe(200)
    })

    test('while none works, a document is accepted and waits', async () => {
      await pair.stopSecond()
      expect(await put('later', 5)).toBe(202)
      const [waits] = await pair.database.query<{ state: string }>(
        `select state from job_items where document_id = 'later'`,
      )
      expect(waits).toEqual({ state: 'queued' })
    })
  },
)
