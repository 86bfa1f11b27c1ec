import { fileURLToPath } from 'node:url'
import { exportJWK, exportPKCS8, generateKeyPair, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { native, needsInteropLangchain, needsInteropPython } from '../support/native.ts'
import { documents } from './documents.ts'
import { createPerson, type Said } from './person.ts'
import { rowOf, shown } from './table.ts'

// Libraries of others as they come, in another language: what they cannot do with the service, nobody's
// program can.

const folder = fileURLToPath(new URL('python', import.meta.url))

describe('by libraries for Python', needsInteropPython, () => {
  let world: IssuerWorld
  let key: string
  beforeAll(async () => {
    if (needsInteropPython.skip === true) return
    world = await openIssuerWorld()
    await world.put(documents)
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

  /** Runs a program to its end, as the person who sits at it; gives what it said. */
  const run = (program: string, asked: Said, libraries = native.interopPython): Promise<Said[]> =>
    createPerson(world).run(['python3', `${folder}/${program}.py`, JSON.stringify(asked)], {
      PYTHONPATH: libraries,
      PYTHONDONTWRITEBYTECODE: '1',
      // Where it opens a browser, the address comes out as a line.
      BROWSER: 'echo %s',
    })

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
    const found = ['handbook/travel']
    expect(said).toEqual([
      { shows: 'sign-in, PAR by hand, ID token', signed_in: 'anne', scope, algorithm: 'RS256' },
      { shows: 'retrieve', found },
      { shows: 'approval', found: ['handbook/board', 'handbook/travel'] },
      { shows: 'refresh', scope, found },
      {
        shows: 'introspection',
        introspected: { active: true, sub: 'anne', client_id: 'authlib-app' },
      },
      { shows: 'revocation', found: 401, introspected: { active: false } },
      { shows: 'revocation', refused: 'invalid_grant' },
      {
        shows: 'device by hand, exchange',
        exchanged: 'urn:ietf:params:oauth:token-type:access_token',
        found,
      },
    ])
    expect(shown(said)).toEqual(rowOf('Authlib'))
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
    expect(shown(said)).toEqual(rowOf('FastMCP'))
  })

  describe('on an older SDK of MCP', needsInteropLangchain, () => {
    test("LangChain's adapters: sign-in → tools → reading → what needs approval, told to the agent → approval → reading what it opens", {
      timeout: 240_000,
    }, async () => {
      const asked = {
        url: `${world.url}/mcp`,
        client_id: 'public-agent',
        query: 'travel budget',
        document: 'handbook/travel',
        sensitive: 'handbook/board',
      }
      const said = await run('with_langchain', asked, native.interopLangchain)
      const [listed, ...calls] = said
      expect(listed?.['tools']).toEqual(expect.arrayContaining(['retrieve', 'request_approval']))
      expect(calls.map(({ called, status }) => [called, status])).toEqual([
        ['read_document', 'success'],
        ['read_document', 'error'],
        ['retrieve', 'success'],
        ['request_approval', 'success'],
        ['request_approval', 'success'],
        ['retrieve', 'success'],
      ])
      expect(calls.map(({ result }) => JSON.stringify(result).includes('of the board'))).toEqual([
        ...[false, false, false, false, false, true],
      ])
      // What a model reads of a refusal and of a question: a code, what to send, where the person decides,
      // what to do next.
      expect(calls[1]?.['result']).toMatchObject({
        code: 'approval_required',
        detail: expect.stringMatching(/retrieve.*request_approval/),
        authorization_details: [{ type: 'document_access', offer: expect.anything() }],
      })
      expect(calls[3]?.['result']).toMatchObject({
        state: 'pending',
        url: expect.stringContaining(`${world.url}/approvals/ap_`),
        next: expect.stringContaining('request_approval'),
      })
      expect(shown(said)).toEqual(rowOf('langchain-mcp-adapters'))
    })
  })
})
