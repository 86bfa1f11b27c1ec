import { once } from 'node:events'
import { createServer } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openVaultWorld, readRules, type VaultWorld } from '../http/vault-world.ts'
import type { ApiAnswer, SeenRequest } from '../support/provider.ts'

// An agent has the vault call APIs of others. It must not get the token by it, nor anywhere that nobody
// agreed to.

let vault: VaultWorld
beforeAll(async () => {
  vault = await openVaultWorld()
})
afterAll(() => vault?.[Symbol.asyncDispose]())
beforeEach(() => vault.anew())

/** Ways in which an API gives back what it was sent. */
const forms: Readonly<Record<string, (text: string) => string>> = {
  'as it is': (text) => text,
  'in capitals': (text) => text.toUpperCase(),
  'for a URL': encodeURIComponent,
  'for a URL, every character': (text) => bytesOf(text, (hex) => `%${hex}`),
  'in JSON': (text) => JSON.stringify({ authorization: text }),
  'in JSON, every character': (text) => `"${bytesOf(text, (hex) => `\\u00${hex}`)}"`,
  'in HTML': (text) => `<b>${bytesOf(text, (hex) => `&#x${hex};`)}</b>`,
  'in base64': (text) => Buffer.from(text).toString('base64'),
  'in base64 after a byte': (text) => Buffer.from(`a${text}`).toString('base64'),
  'in base64 after two bytes': (text) => Buffer.from(`ab${text}`).toString('base64'),
  'in base64url': (text) => Buffer.from(`user:${text}`).toString('base64url'),
  'in base64 of base64': (text) => Buffer.from(Buffer.from(text).toString('base64')).toString('base64'),
  'in lines of base64': (text) => Buffer.from(text).toString('base64').replaceAll(/.{16}/g, '$&\r\n'),
  'in hexadecimal': (text) => Buffer.from(text).toString('hex'),
  'in UTF-16': (text) => Buffer.from(text, 'utf16le').toString('latin1'),
}
const bytesOf = (text: string, spell: (hex: string) => string): string =>
  [...Buffer.from(text)].map((byte) => spell(byte.toString(16).padStart(2, '0'))).join('')

/** Where in its answer an API may do so. */
const places: Readonly<Record<string, (said: string) => ApiAnswer>> = {
  body: (said) => ({ body: `{"you sent": ${said}}` }),
  'body of bytes': (said) => ({
    headers: { 'content-type': 'image/png' },
    body: Buffer.from(said, 'latin1'),
  }),
  'body that is packed': (said) => ({ headers: { 'content-encoding': 'gzip' }, body: gzipSync(said) }),
  'body in pieces': (said) => ({ parts: [said.slice(0, 9), said.slice(9, 20), said.slice(20)] }),
  error: (said) => ({ status: 500, body: said }),
  'answer to a bad token': (said) => ({ status: 401, body: said }),
  header: (said) => ({
    headers: { etag: `"${inHeader(said)}"`, link: `<https://a.example/?t=${inHeader(said)}>` },
  }),
  'header that is not given on': (said) => ({
    headers: {
      'set-cookie': `t=${inHeader(said)}`,
      'x-debug': inHeader(said),
      'www-authenticate': inHeader(said),
    },
  }),
  'place to go on': (said) => ({ status: 302, headers: { location: `/issues?state=${inHeader(said)}` } }),
  'length that is wrong': (said) => ({
    headers: { 'content-length': '9999' },
    body: said,
    hangsUp: 'half way',
  }),
  'encoding that is none': (said) => ({ headers: { 'content-encoding': 'gzip' }, body: said }),
}
const inHeader = (said: string): string => said.replaceAll(/[^\x21-\x7e]/g, '')

/** Everything that this service said or kept, beside its answers. */
async function kept(): Promise<string> {
  const { database, logged, service } = vault.world
  const tables = await database.query<{ name: string }>(
    `select quote_ident(table_name) as name from information_schema.tables
     where table_schema = current_schema() and table_type = 'BASE TABLE'`,
  )
  expect(tables.length).toBeGreaterThan(20)
  const rows = await Promise.all(
    tables.map(({ name }) => database.query(`select to_jsonb(t)::text as row from ${name} as t`)),
  )
  const metrics = await service.ops.request('http://127.0.0.1:8788/metrics')
  return JSON.stringify([rows, logged, await metrics.text()])
}

const found = (text: string, secrets: readonly string[]): string[] =>
  secrets.flatMap((secret) =>
    Object.entries(forms).flatMap(([form, say]) => {
      // Base64 mixes the secret's ends with what stands beside it; in between it is the same.
      const said = form.includes('base64') ? say(secret).slice(4, -4) : say(secret)
      return text.includes(said) || text.toLowerCase().includes(secret.toLowerCase())
        ? [`${secret} ${form}`]
        : []
    }),
  )

describe('a token', () => {
  test.each(Object.keys(places))(
    'is in nothing that left where an API gives it back, in any form, in its %s',
    async (place) => {
      await vault.link({ rules: [...readRules, { title: 'Write', methods: ['POST'], paths: ['/issues'] }] })
      const left: string[] = []
      for (const [form, say] of Object.entries(forms)) {
        let said = ''
        vault.double.api = ({ headers }: SeenRequest) => {
          said = say(headers.authorization ?? '')
          return places[place]?.(said) ?? {}
        }
        left.push((await vault.fetch({ method: 'GET', path: '/issues/1' })).text)
        const write = {
          method: 'POST',
          path: '/issues',
          headers: { 'content-type': 'text/plain' },
          body: form,
        }
        left.push((await vault.fetch(write)).text)
        // Whoever reads this has to know that it was tried.
        expect(said.length).toBeGreaterThan(20)
      }
      expect(found(left.join('\n'), vault.double.issued)).toEqual([])
      const decoded = left.map((text) =>
        Buffer.from(String(JSON.parse(text)['body'] ?? ''), 'base64').toString('latin1'),
      )
      expect(found(decoded.join('\n').replaceAll('\0', ''), vault.double.issued)).toEqual([])
      expect(found(await kept(), vault.double.issued)).toEqual([])
    },
  )

  test('is not in what is said where the call breaks, in whichever way', async () => {
    await vault.link()
    const left: string[] = []
    for (const [path, answer] of [
      ['/issues/1', { hangsUp: 'at once' }],
      ['/issues/1', { status: 401 }],
      ['/issues/1', { body: 'a'.repeat(1_100_000) }],
      ['/token', {}],
      ['/users/1', {}],
      ['//evil.example', {}],
    ] as const) {
      vault.double.api = () => answer
      left.push((await vault.fetch({ method: 'GET', path })).text)
    }
    expect(found(left.join('\n'), vault.double.issued)).toEqual([])
    expect(found(await kept(), vault.double.issued)).toEqual([])
  })

  test('of this service never reaches an API, nor anything else of the agent’s request', async () => {
    await vault.link()
    const headers = {
      dpop: 'a-proof',
      cookie: 'remit_session=a-session',
      'x-forwarded-for': '192.0.2.7',
      'x-request-id': 'an-id',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      'accept-language': 'xx-language',
      'user-agent': 'an-agent',
      referer: 'https://agent.example/',
    }
    await vault.fetch({ method: 'GET', path: '/issues/1' }, { headers })
    const seen = JSON.stringify(vault.double.apiRequests.at(-1))
    expect(seen).toContain('Bearer at_')
    for (const inner of [vault.token, ...Object.values(headers), 'user:anne', 'research-bot'])
      expect(seen, inner).not.toContain(inner)
  })
})

describe('a place that nobody agreed to', () => {
  test('is not reached by any spelling of a path', async () => {
    let reached = 0
    const inside = createServer((socket) => {
      reached += 1
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ninside')
    })
    inside.listen(0, '127.0.0.1')
    await once(inside, 'listening')
    const address = inside.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const at = `127.0.0.1:${address.port}`
    await vault.link({ rules: [{ title: 'All', methods: ['GET'], paths: ['/**?*'] }] })
    const before = vault.double.apiRequests.length
    try {
      for (const path of [
        `//${at}/`,
        `///${at}/`,
        `////${at}/`,
        `/\\${at}/`,
        `\\\\${at}\\`,
        `/%2F${at}/`,
        `/%5C${at}/`,
        `/%09/${at}/`,
        `/\t/${at}/`,
        `/..//${at}/`,
        `/.//${at}/`,
        `/;//${at}/`,
        `http://${at}/`,
        `https://${at}/`,
        `HTTP://${at}/`,
        `http:/${at}/`,
        `http:${at}/`,
        `//user@${at}/`,
        `@${at}/`,
        `:80@${at}/`,
        `.${at}/`,
        `${vault.double.origin}@${at}/`,
        `${vault.double.origin}:${at}/`,
        `${vault.double.origin}.nip.io/`,
        `${vault.double.origin}\\@${at}/`,
        `${vault.double.origin}#@${at}/`,
        `/issues#//${at}/`,
        `/issues\r\nHost: ${at}`,
        `/issues HTTP/1.1\r\nHost: ${at}\r\n\r\nGET /`,
        `/issues%0d%0aHost:%20${at}`,
        'file:///etc/passwd',
        'data:text/plain,a',
      ]) {
        const { body } = await vault.fetch({ method: 'GET', path })
        expect(body, path).toMatchObject({ status: 422, field: 'path' })
      }
      vault.double.api = () => ({ status: 307, headers: { location: `http://${at}/` } })
      expect((await vault.fetch({ method: 'GET', path: '/issues/1' })).body).toMatchObject({
        status: 307,
        headers: { 'content-type': 'application/json' },
      })
      expect(reached).toBe(0)
      expect(vault.double.apiRequests.length - before).toBe(1)
    } finally {
      inside.close()
    }
  })

  test('is not a write that an agent dresses as a reading', async () => {
    await vault.link()
    const before = vault.double.apiRequests.length
    for (const call of [
      { method: 'GET', path: '/issues/1?_method=DELETE' },
      { method: 'GET', path: '/echo/1?X-HTTP-Method-Override=PUT' },
      { method: 'GET', path: '/echo/1', headers: { 'x-http-method-override': 'DELETE' } },
      { method: 'GET', path: '/echo/1', headers: { 'content-type': 'text/plain' }, body: 'a body' },
      { method: 'get', path: '/issues/1' },
      { method: 'DELETE', path: '/issues/1' },
      { method: 'POST', path: '/issues/1' },
    ])
      expect([403, 422], JSON.stringify(call)).toContain((await vault.fetch(call)).status)
    expect(vault.double.apiRequests.length).toBe(before)
  })
})
