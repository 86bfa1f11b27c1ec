import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { changesByListing, itemByListing, SourceUnavailable } from '@remit/connector'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { operator } from '../../src/audit/record.ts'
import { loadConfig } from '../../src/config/config.ts'
import { OutboundError } from '../../src/outbound/error.ts'
import { createSourceFetch, Throttled, TooLarge, Unfinished } from '../../src/sources/fetch.ts'
import { defineKind } from '../../src/sources/kind.ts'
import { openWorld, type World } from '../support/world.ts'

/** Answers, and what it was asked: path and credential. */
let answer: (request: IncomingMessage, response: ServerResponse) => void
const asked: { readonly path: string; readonly credential: string | undefined }[] = []
const server = createServer((request, response) => {
  asked.push({ path: request.url ?? '', credential: request.headers.authorization })
  answer(request, response)
})

/** A system over HTTP with one page, behind a credential. */
const notes = defineKind({
  id: 'notes',
  settings: z.strictObject({ base: z.string(), path: z.string().default('/notes') }),
  untold: [],
  credential: 'required',
  originOf: ({ base }) => base,
  open: ({ path }, { prefix, collections: [collection = ''], fetch, secret }) => {
    const list = async () => {
      const { status, body } = await fetch(path, { headers: { authorization: `Bearer ${secret}` } })
      if (status !== 200) throw new SourceUnavailable(`It answers ${status}.`)
      const text = Buffer.from(body).toString()
      const content = { collection, title: 'Note', text }
      return [
        {
          kind: 'item' as const,
          id: `${prefix}note`,
          version: text,
          access: { viewers: ['user:anne'] },
          content,
        },
      ]
    }
    return {
      changes: (cursor, signal) => changesByListing(list, cursor, signal),
      item: (id, signal) => itemByListing(list, id, signal),
    }
  },
})

let world: World
let base: string
let elsewhere: string
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  base = `http://127.0.0.1:${port}`
  elsewhere = `http://localhost:${port}`
  world = await openWorld({
    env: {
      SOURCE_ORIGINS: `${base},${elsewhere}`,
      OUTBOUND_ALLOWED_ORIGINS: `${base},${elsewhere}`,
      SOURCE_SECRETS: JSON.stringify([
        { name: 'notes', kind: 'notes', origin: base, secret_env: 'NOTES_TOKEN' },
        { name: 'notes-elsewhere', kind: 'notes', origin: elsewhere, secret_env: 'NOTES_TOKEN' },
        { name: 'notes-away', kind: 'notes', origin: base },
        { name: 'other-kind', kind: 'folder', origin: base, secret_env: 'NOTES_TOKEN' },
      ]),
      NOTES_TOKEN: 'robin-redbreast',
    },
    sourceKinds: [notes],
  })
  for (const id of ['a', 'b']) await world.service.ingest.saveCollection(operator('test'), { id, title: id })
  for (const user of ['dan', 'carol'])
    await world.service.administrators.add(`user:${user}`, ['security.write'])
}, 120_000)
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  server.close()
})
beforeEach(async () => {
  answer = (_, response) => response.end('Saw an otter.')
  asked.length = 0
  await world.database.query(`update sources set state = 'removing', next_at = now()`)
  await world.service.sources.runDue()
  await world.database.query('delete from source_ids')
})

const post = async (user: string, path: string, body: object) => {
  const response = await world.call('POST', path, { token: await world.token({ user }), body })
  return { status: response.status, body: (await response.json()) as { source: { digest: string } } }
}
const propose = (change: object) =>
  post('dan', '/sources', { id: 'n', kind: 'notes', settings: { base }, collections: ['a'], ...change })
async function add(change: object = {}): Promise<void> {
  const { body } = await propose({ secret: 'notes', ...change })
  const { status } = await post('carol', '/sources/n', { action: 'confirm', digest: body.source.digest })
  expect(status).toBe(200)
}
const sync = () => world.service.sources.runDue()
const row = async () => {
  const [found] = await world.database.query<{
    failures: number
    problem: string | null
    items_at: Date | null
    requests: number
    throttled: number
    waits: number
  }>(
    `select failures, problem, items_at, requests, throttled, extract(epoch from next_at - now())::float8 as waits
     from sources`,
  )
  return found
}

describe('a source over the network', () => {
  test('is asked with the credential that the machine registered for its kind and origin, and no other', async () => {
    for (const change of [
      {},
      { secret: 'OPENFGA_API_TOKEN' },
      { secret: 'NOTES_TOKEN' },
      { secret: 'other-kind' },
      { secret: 'notes', settings: { base: elsewhere } },
    ])
      expect(await propose(change), JSON.stringify(change)).toMatchObject({
        status: 422,
        body: { field: 'secret' },
      })
    expect(await propose({ secret: 'notes', settings: { base: 'https://attacker.example' } })).toMatchObject({
      status: 422,
      body: { field: 'settings' },
    })
    await add()
    await sync()
    expect(asked).toEqual([{ path: '/notes', credential: 'Bearer robin-redbreast' }])
    expect(await row()).toMatchObject({ failures: 0, requests: 1, throttled: 0 })
  })

  test('whose stored origin is another one is not asked, and gets no credential', async () => {
    await add()
    await world.database.query(
      `update sources set origin = $1, settings = jsonb_set(settings, '{base}', to_jsonb($1::text))`,
      [elsewhere],
    )
    await sync()
    expect(asked).toEqual([])
  })

  test('that is to be asked elsewhere takes no credential along: one for there has to be named', async () => {
    await add()
    await sync()
    asked.length = 0
    const set = (more: object) =>
      post('dan', '/sources/n', { action: 'set', settings: { base: elsewhere }, ...more })
    for (const more of [{}, { settings: { base } }, { secret: 'notes' }, { secret: 'other-kind' }])
      expect(await set(more), JSON.stringify(more)).toMatchObject({ status: 422, body: { field: 'secret' } })
    // With one for there it is another system, and no change.
    expect(await set({ secret: 'notes-elsewhere' })).toMatchObject({
      status: 422,
      body: { field: 'settings' },
    })
    await world.database.query('update sources set next_at = now()')
    await sync()
    expect(asked).toEqual([{ path: '/notes', credential: 'Bearer robin-redbreast' }])
    expect(await world.database.query('select origin, secret from sources')).toEqual([
      { origin: base, secret: 'notes' },
    ])
  })

  test('whose credential is with another process is not read by this one', async () => {
    await add({ secret: 'notes-away' })
    await sync()
    expect(asked).toEqual([])
    expect(await row()).toMatchObject({ failures: 0, items_at: null })
  })

  test.each(['//localhost/steal', 'http://localhost/steal', '\\\\localhost/steal'])(
    'is never left by a path: %s',
    async (path) => {
      await add({ settings: { base, path } })
      await sync()
      expect(asked).toEqual([])
      expect(await row()).toMatchObject({ failures: 1, items_at: null })
    },
  )

  test('that asks to come again soon is waited for, and one that asks for long is left until then', async () => {
    let refusals = 1
    answer = (_, response) => {
      refusals -= 1
      if (refusals >= 0) response.writeHead(429, { 'retry-after': '1' }).end()
      else response.end('Saw an otter.')
    }
    await add()
    await sync()
    expect(await row()).toMatchObject({ failures: 0, requests: 2, throttled: 1 })

    answer = (_, response) => response.writeHead(503, { 'retry-after': '2000' }).end()
    await world.database.query('update sources set next_at = now()')
    await sync()
    const after = await row()
    expect(after).toMatchObject({ failures: 1, requests: 3, throttled: 2 })
    expect(after?.waits).toBeGreaterThan(1_900)
  })

  test('that answers too much for one thing is not away as a whole', async () => {
    const failing = (reason: 'too_large' | 'timed_out' | 'unreachable') =>
      createSourceFetch({
        outbound: async () => {
          throw new OutboundError(reason, { sent: true })
        },
        origin: base,
        perMinute: 60,
        now: () => 0,
        sleep: async () => {},
        signal: new AbortController().signal,
      }).fetch('/a', { bytesMax: 10 })
    await expect(failing('timed_out')).rejects.toBeInstanceOf(Unfinished)
    expect(new Unfinished()).toBeInstanceOf(SourceUnavailable)
    const away: unknown = await failing('unreachable').catch((error: unknown) => error)
    expect(away).toBeInstanceOf(SourceUnavailable)
    expect(away).not.toBeInstanceOf(Unfinished)
    const tooLarge: unknown = await failing('too_large').catch((error: unknown) => error)
    expect(tooLarge).toBeInstanceOf(TooLarge)
    expect(tooLarge).toMatchObject({ message: 'The source’s answer is too large: it may have 10 bytes.' })
    expect(tooLarge).not.toBeInstanceOf(SourceUnavailable)
  })

  test('is away as a whole where it says when to come again, and else for what was asked for', async () => {
    let time = 0
    const asked = async (status: number, headers: Readonly<Record<string, string>> = {}) => {
      time = 0
      let count = 0
      const { fetch } = createSourceFetch({
        outbound: async () => {
          count += 1
          return { status, headers: new Headers(headers), body: new Uint8Array() }
        },
        origin: base,
        perMinute: 60_000,
        now: () => time,
        elapsed: () => time,
        sleep: async (ms) => {
          time += ms
        },
        signal: new AbortController().signal,
      })
      const outcome = await fetch('/a').then(
        (response) => response.status,
        (error: unknown) => (error instanceof Throttled ? 'throttled' : error),
      )
      return [outcome, count, Math.round(time / 1_000)]
    }
    expect(await asked(503)).toEqual([503, 3, 6])
    expect(await asked(503, { 'retry-after': '1' })).toEqual(['throttled', 5, 4])
    expect(await asked(503, { 'retry-after': '60' })).toEqual(['throttled', 1, 0])
    expect(await asked(429)).toEqual(['throttled', 5, 30])
  })

  test('is asked no more often than its requests a minute, and no later where the clock is set back', async () => {
    let [time, setBackMs] = [0, 0]
    const at: number[] = []
    const { fetch } = createSourceFetch({
      outbound: async () => {
        at.push(time)
        setBackMs += 3_600_000
        return { status: 200, headers: new Headers(), body: new Uint8Array() }
      },
      origin: base,
      perMinute: 60,
      now: () => time - setBackMs,
      elapsed: () => time,
      sleep: async (ms) => {
        time += ms
      },
      signal: new AbortController().signal,
    })
    for (const path of ['/a', '/b', '/c']) await fetch(path)
    expect(at).toEqual([0, 1_000, 2_000])
  })
})

describe('SOURCE_SECRETS', () => {
  const load = (entries: object[], more: Readonly<Record<string, string>> = {}) =>
    loadConfig({ SOURCE_SECRETS: JSON.stringify(entries), ...more })
  const entry = { name: 'wiki', kind: 'wiki', origin: 'https://wiki.example', secret_env: 'WIKI_TOKEN' }

  test('takes what a source is given from a variable or its file, and never from the service’s own secrets', () => {
    expect(load([entry], { WIKI_TOKEN: 'x' }).sourceSecrets).toEqual([
      { name: 'wiki', kind: 'wiki', origin: 'https://wiki.example', value: 'x' },
    ])
    expect(() => load([entry])).toThrow(/WIKI_TOKEN, which is not set/)
    expect(() => load([{ ...entry, secret_env: 'OPENFGA_API_TOKEN' }], { OPENFGA_API_TOKEN: 'x' })).toThrow(
      /another setting’s secret/,
    )
    // A process that reads nothing has no use for it, and would be the one that reads.
    const api = { REMIT_ROLE: 'api', DATABASE_URL: 'postgres://db/remit', TRUSTED_ISSUERS: '[]' }
    expect(() => load([entry], { ...api, WIKI_TOKEN: 'x' })).toThrow(/leave it out here/)
    expect(load([{ ...entry, secret_env: undefined }], api).sourceSecrets).toMatchObject([{ name: 'wiki' }])
    // A password of the directory is nothing for a wiki.
    const people = [{ ...entry, kind: 'ldap', origin: 'ldaps://ldap.example', secret_env: 'LDAP_PASSWORD' }]
    expect(() =>
      load([{ ...entry, secret_env: 'LDAP_PASSWORD' }], {
        LDAP_PASSWORD: 'x',
        DIRECTORY_SECRETS: JSON.stringify(people),
      }),
    ).toThrow(/SOURCE_SECRETS.0.secret_env names LDAP_PASSWORD, which is another/)
    expect(() => load([entry, entry], { WIKI_TOKEN: 'x' })).toThrow(/two entries of one name/)
    expect(() => load([{ ...entry, origin: 'https://wiki.example/' }], { WIKI_TOKEN: 'x' })).toThrow(/origin/)
  })
})
