import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { delegationTuples } from '../../src/delegation/lending/delegation.ts'
import { createAuthority } from '../support/certificate.ts'
import { native, needsOpenfga, needsPostgres } from '../support/native.ts'
import { openPair, type Pair } from '../support/pair.ts'

describe(
  'a process that answers and one that holds the tuples for it',
  needsPostgres.skip ? needsPostgres : needsOpenfga,
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'remit-nominator-'))
    const authority = createAuthority()
    let pair: Pair
    let token: string

    function filesOf(role: 'api' | 'nominator') {
      const issued = authority.issue({ addresses: ['127.0.0.1'], uris: [`urn:remit:role:${role}`] })
      const write = (name: string, text: string): string => {
        const file = join(folder, `${role}-${name}`)
        writeFileSync(file, text)
        return file
      }
      return {
        NOMINATOR_TLS_CERT: write('cert.pem', issued.cert),
        NOMINATOR_TLS_KEY: write('key.pem', issued.key),
        NOMINATOR_TLS_CA: write('ca.pem', authority.cert),
      }
    }

    beforeAll(async () => {
      if (native.databaseUrl === undefined || native.openfga === undefined) return
      pair = await openPair({
        databaseUrl: native.databaseUrl,
        openfga: native.openfga,
        roles: ['api,worker', 'nominator'],
        each: (port) => [
          { ...filesOf('api'), NOMINATOR_URLS: `https://127.0.0.1:${port}` },
          { ...filesOf('nominator'), HOST: '127.0.0.1' },
        ],
      })
      await pair.command('collection', 'add', 'handbook', '--title', 'Handbook')
      await pair.command('service', 'add', 'loader', '--collection', 'handbook')
      for (const [id, owner] of [
        ['plan', 'user:anne'],
        ['secret', 'user:bob'],
      ] as const)
        await put(id, owner)
      const lent = await pair.agentToken()
      token = lent.token
      await lend(lent.delegation)
    }, 300_000)
    afterAll(async () => {
      await pair?.[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    })

    async function put(id: string, owner: string): Promise<void> {
      const response = await fetch(`${pair.urls[0]}/documents/${id}`, {
        method: 'PUT',
        headers: {
          authorization: `Bearer ${await pair.serviceToken('loader')}`,
          'content-type': 'application/json',
          prefer: 'wait=10',
        },
        body: JSON.stringify({
          id,
          collection: 'handbook',
          title: id,
          text: 'The plan of the year.',
          mime_type: 'text/plain',
          access: { owner },
        }),
      })
      expect(response.status, await response.text()).toBe(200)
    }

    /** As a person does on the page: all of the handbook that Anne may read. */
    async function lend(id: string): Promise<void> {
      const [pinned] = await pair.database.query<{ value: { store_id: string } }>(
        `select value from settings where key = 'authorization_model'`,
      )
      const tuples = delegationTuples({
        id,
        subject: 'user:anne',
        agent: 'research-bot',
        subAgents: [],
        scope: ['collection:handbook'],
        resource: undefined,
        details: [],
        purpose: 'tests',
        standing: false,
        createdAt: new Date(),
        expiresAt: new Date(Date.now() + 3_600_000),
        state: 'live',
      })
      const response = await fetch(`${native.openfga?.url}/stores/${pinned?.value.store_id}/write`, {
        method: 'POST',
        headers: { authorization: `Bearer ${native.openfga?.token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ writes: { tuple_keys: tuples } }),
      })
      expect(response.status).toBe(200)
    }

    const ask = () =>
      fetch(`${pair.urls[0]}/retrieve`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ query: 'plan', mode: 'keyword' }),
      })
    const found = async () => {
      const response = await ask()
      const { results, complete } = (await response.json()) as {
        readonly results?: readonly { readonly document_id: string }[]
        readonly complete?: boolean
      }
      return { status: response.status, ids: results?.map((one) => one.document_id), complete }
    }

    test('a search finds all that its person may read and nothing else, by a process that answers nobody but those', async () => {
      await expect.poll(found, { timeout: 20_000, interval: 300 }).toEqual({
        status: 200,
        ids: ['plan'],
        complete: true,
      })
      await expect(fetch(`${pair.urls[1].replace('http:', 'https:')}/nominate`)).rejects.toThrow(
        'fetch failed',
      )
    })

    test('while it is gone, nobody is answered', async () => {
      await pair.killSecond()
      expect((await ask()).status).toBe(503)
      const named = await fetch(`${pair.urls[0]}/documents/plan`, {
        headers: { authorization: `Bearer ${token}` },
      })
      expect(named.status).toBe(503)
    })
  },
)
