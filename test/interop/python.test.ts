import { fileURLToPath } from 'node:url'
import { exportJWK, exportPKCS8, generateKeyPair, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Browser, Page } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { decide } from '../support/approvals.ts'
import { native, needsInteropPython } from '../support/native.ts'
import { drive } from './drive.ts'

// Libraries of others as they come, in another language: what they cannot do with the service, nobody's program can.

type Said = Readonly<Record<string, unknown>>

const folder = fileURLToPath(new URL('python', import.meta.url))

describe('by libraries for Python', needsInteropPython, () => {
  let world: IssuerWorld
  let browser: Browser
  let key: string
  beforeAll(async () => {
    if (needsInteropPython.skip === true) return
    world = await openIssuerWorld()
    browser = world.browser()
    await world.put({
      'handbook/travel': { text: 'Travel budget: 900.', access: { viewers: ['user:anne'] } },
      'handbook/board': {
        text: 'Travel budget of the board.',
        access: { viewers: ['user:anne'], sensitive: true },
      },
    })
    // What an exchange rests on.
    await world.lend('anne', 'research-bot', 'collection:handbook')
    const { clients } = world.service
    const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
    key = await exportPKCS8(privateKey)
    const jwk = { ...(await exportJWK(publicKey)), alg: 'RS256' } as JWK & { kty: 'RSA' }
    const agent = { kind: 'agent', agent: 'research-bot' } as const
    await clients.register(
      { clientId: 'authlib-app', ...agent },
      {
        title: 'Authlib',
        redirectUris: [world.redirectUri],
        jwks: { keys: [jwk] },
        idTokenAlgorithm: 'RS256',
      },
    )
    await clients.register(
      { clientId: 'cli-app', kind: 'person' },
      { title: 'A device', redirectUris: [], jwks: undefined },
    )
    await clients.register(
      { clientId: 'fastmcp-app', ...agent },
      { title: 'FastMCP', redirectUris: ['http://localhost/callback'], jwks: undefined },
    )
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const lend = (page: Page) => world.consent(browser, page, { objects: ['collection:handbook'] })

  async function atDevice(url: string, code: string): Promise<void> {
    const entry = await browser.open(url)
    const confirm = await browser.submit(entry, '/oauth/device', { user_code: code })
    await lend(await browser.submit(confirm, '/oauth/device'))
  }

  /** Runs a program to its end, as the person who sits at it; gives what it said. */
  async function run(program: string, asked: Said): Promise<Said[]> {
    const env = {
      PYTHONPATH: native.interopPython,
      PYTHONDONTWRITEBYTECODE: '1',
      // Where it opens a browser, the address comes out as a line.
      BROWSER: 'echo %s',
    }
    const all: Said[] = []
    await drive(['python3', `${folder}/${program}.py`, JSON.stringify(asked)], env, async (line) => {
      if (line.startsWith('http')) {
        const { url } = await lend(await browser.open(line))
        expect(url.hostname).toBe('localhost')
        expect((await fetch(url)).status).toBe(200)
        return undefined
      }
      const said = JSON.parse(line) as Said
      if ('open' in said) return (await lend(await browser.open(String(said['open'])))).url.href
      if ('decide' in said)
        return (await decide(world.service, String(said['decide']), { answer: 'approve' })) ?? ''
      if (!('device' in said)) return void all.push(said)
      await atDevice(String(said['device']), String(said['code']))
      return ''
    })
    return all
  }

  test('Authlib: pushed sign-in → ID token → search → approval → refresh → introspection → revocation → device → exchange', {
    timeout: 240_000,
  }, async () => {
    const said = await run('with_authlib', {
      url: world.url,
      issuer: world.issuer,
      agent: `${world.url}/agents/research-bot`,
      redirect_uri: world.redirectUri,
      query: 'travel budget',
      key,
    })
    const scope = 'openid docs.search docs.read approvals.request'
    expect(said).toEqual([
      { signed_in: 'anne', scope, algorithm: 'RS256' },
      { found: ['handbook/travel'] },
      { found_by_approval: ['handbook/board', 'handbook/travel'] },
      { refreshed: scope, found: ['handbook/travel'] },
      { introspected: { active: true, sub: 'anne', client_id: 'authlib-app' } },
      { revoked: 401, introspected: { active: false } },
      { refused: 'invalid_grant' },
      {
        exchanged: 'urn:ietf:params:oauth:token-type:access_token',
        found: ['handbook/travel'],
      },
    ])
  })

  test('FastMCP: sign-in at localhost → tools → search → reading → approval → reading what it opens', {
    timeout: 240_000,
  }, async () => {
    const said = await run('with_fastmcp', {
      url: `${world.url}/mcp`,
      client_id: 'fastmcp-app',
      query: 'travel budget',
      document: 'handbook/travel',
    })
    const [listed, ...calls] = said
    expect(listed?.['tools']).toEqual(expect.arrayContaining(['retrieve', 'request_approval']))
    expect(calls.map(({ called, error }) => [called, error])).toEqual([
      ['retrieve', false],
      ['read_document', false],
      ['read_document', true],
      ['request_approval', false],
      ['request_approval', false],
      ['retrieve', false],
    ])
    const texts = calls.map(({ result }) => JSON.stringify(result))
    expect(texts.map((text) => text.includes('of the board'))).toEqual([
      false,
      false,
      false,
      false,
      false,
      true,
    ])
    expect(texts[2]).toContain('not_found')
    expect(calls[3]?.['result']).toMatchObject({
      state: 'pending',
      next: expect.stringContaining('request_approval'),
    })
  })
})
