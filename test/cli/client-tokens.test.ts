import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportJWK, generateKeyPair } from 'jose'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Fetch } from '../../src/delegation/tokens/fetch-json.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { noDemo, remit } from './world.ts'

let world: IssuerWorld
let folder: string
let files: string
let keyFile: string
beforeAll(async () => {
  world = await openIssuerWorld()
  folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  files = join(folder, 'files')
  keyFile = join(folder, 'scribe-app.key.json')
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const named = { kid: 'scribe-app-1', alg: 'ES256' }
  await writeFile(keyFile, JSON.stringify({ ...(await exportJWK(privateKey)), ...named }), { mode: 0o600 })
  await world.service.clients.register(
    { clientId: 'scribe-app', kind: 'service', service: 'loader' },
    {
      title: 'Scribe',
      redirectUris: [],
      jwks: { keys: [{ ...(await exportJWK(publicKey)), ...named, kty: 'EC' }] },
    },
  )
  await mkdir(files)
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) await writeFile(join(files, `${name}.txt`), name)
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

/** Seconds for which the service says that its tokens count. */
const lifetime = 300

let asked: string[]
/** Milliseconds by which the clock is ahead: the authorization server's own cannot be set. */
let ahead: number
beforeEach(() => {
  asked = []
  ahead = 0
})

/**
 * `before` is told of each request, and may answer, or throw what fetch would. Tokens that are over by the
 * clock get a 401.
 */
const ingest = (more: readonly string[], before: (path: string) => unknown = () => undefined) => {
  const issued = new Map<string, number>()
  const told: Fetch = async (to, init) => {
    const { pathname } = new URL(String(to))
    asked.push(pathname)
    const instead = before(pathname)
    if (instead instanceof Response) return instead
    const [, token = ''] = (new Headers(init?.headers).get('authorization') ?? '').split(' ')
    const since = issued.get(token)
    if (since !== undefined && ahead - since >= lifetime * 1_000)
      return Response.json({ detail: 'The access token is expired.' }, { status: 401 })
    const response = await fetch(to, init)
    if (pathname !== '/oauth/token' || !response.ok) return response
    const body = (await response.clone().json()) as { access_token: string; expires_in: number }
    expect(body.expires_in).toBe(lifetime)
    issued.set(body.access_token, ahead)
    return response
  }
  return remit(
    ['ingest', files, '--collection', 'handbook', '--viewer', 'user:anne', ...more],
    { home: folder },
    { url: world.url, fetch: told, demoTokens: noDemo, now: () => Date.now() + ahead },
  )
}
const byKey = () => ['--client', 'scribe-app', '--key', keyFile]
const tokens = () => asked.filter((path) => path === '/oauth/token').length

const nthDocument = (nth: number, then: () => void) => (path: string) => {
  if (path.startsWith('/documents/') && asked.filter((one) => one.startsWith('/documents/')).length === nth)
    then()
}

test('a run that outlives its token goes on with the next one, and asks for none before', async () => {
  const ran = await ingest(
    byKey(),
    nthDocument(4, () => {
      ahead += lifetime * 700
    }),
  )
  expect(ran).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('6 of 6 files are in handbook, 0 failed'),
  })
  expect(tokens()).toBe(2)
})

const timeOut = () => new DOMException('The operation was aborted due to timeout', 'TimeoutError')
const breaksOff = (error: Error) =>
  new Response(new ReadableStream({ pull: (stream) => stream.error(error) }), {
    headers: { 'content-type': 'application/json' },
  })

test.each([
  [
    'no connection comes about',
    () => {
      throw new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') })
    },
  ],
  [
    'it does not answer in time',
    () => {
      throw timeOut()
    },
  ],
  ['its answer does not end in time', () => breaksOff(timeOut())],
  ['its answer breaks off', () => breaksOff(new TypeError('terminated'))],
])('a token that cannot be had while the service restarts is asked for again: %s', async (_, fails) => {
  let isDown = true
  const late = nthDocument(4, () => {
    ahead += lifetime * 700
  })
  const ran = await ingest(byKey(), (path) => {
    late(path)
    if (path !== '/oauth/token' || tokens() !== 2 || !isDown) return undefined
    isDown = false
    return fails()
  })
  expect(ran).toMatchObject({ code: 0, stderr: expect.stringContaining('Trying again') })
  expect(tokens()).toBe(3)
})

test.each([
  ['a client that is not registered', () => ['--client', 'nobody', '--key', keyFile], 'invalid_client'],
  [
    'no key',
    () => ['--client', 'scribe-app', '--key', join(folder, 'none')],
    'There is no private key (a JWK) in ',
  ],
  ['a client without its key', () => ['--client', 'scribe-app'], 'belong together'],
])('with %s nothing is sent, and it says why', async (_, more, says) => {
  const ran = await ingest(more())
  expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining(says) })
  expect(asked.filter((path) => path.startsWith('/documents/'))).toEqual([])
})

test('a key that others can read is not used', async () => {
  const open = join(folder, 'open.json')
  await writeFile(open, '{}', { mode: 0o644 })
  const ran = await ingest(['--client', 'scribe-app', '--key', open])
  expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining('Others can read') })
})

test('an address that is not this machine’s demo gets no token of it, and is asked nothing', async () => {
  const ran = await ingest(['--url', 'http://127.0.0.1:9', '--service', 'loader'])
  expect(ran).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^There is no token for http:\/\/127\.0\.0\.1:9\. Set REMIT_TOKEN/),
  })
  expect(asked).toEqual([])
})
