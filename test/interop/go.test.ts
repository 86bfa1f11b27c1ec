import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { native, needsInteropGo } from '../support/native.ts'
import { documents } from './documents.ts'
import { createPerson, type Said } from './person.ts'
import { rowOf, shown } from './table.ts'

describe('by libraries for Go', needsInteropGo, () => {
  let world: IssuerWorld
  beforeAll(async () => {
    if (needsInteropGo.skip === true) return
    world = await openIssuerWorld()
    await world.put(documents)
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  /** Runs one of the programs, as a public client of an agent's. */
  const run = (name: 'oidc' | 'mcp'): Promise<Said[]> => {
    const asked = {
      url: world.url,
      issuer: world.issuer,
      client_id: 'public-agent',
      redirect_uri: 'http://127.0.0.1:49152/callback',
      query: 'travel budget',
      document: 'handbook/travel',
    }
    return createPerson(world).run([`${native.interopGo}/interop`, name, JSON.stringify(asked)])
  }

  test('go-oidc with x/oauth2, which prove themselves by a secret before they do without: sign-in → ID token → search → approval → refresh → introspection → revocation → device', {
    timeout: 240_000,
  }, async () => {
    const said = await run('oidc')
    const found = ['handbook/travel']
    expect(said).toEqual([
      {
        shows: 'sign-in, ID token',
        signed_in: 'anne',
        scope: 'openid docs.search docs.read approvals.request',
        // Told before anything is sent.
        user_info: expect.stringContaining('not supported by this provider'),
      },
      { shows: 'retrieve', found },
      { shows: 'approval', found: ['handbook/board', 'handbook/travel'] },
      { shows: 'refresh', new: true, found },
      { shows: 'introspection by hand', active: true },
      { shows: 'revocation by hand', status: 200, found: 401, active: false },
      { shows: 'revocation by hand', refused: 'invalid_grant' },
      { shows: 'device', found },
    ])
    expect(shown(said)).toEqual(rowOf('go-oidc with x/oauth2'))
  })

  test('the Go MCP SDK: sign-in for less than is offered → tools → search → step-up → approval without an address to open, and with one', {
    timeout: 240_000,
  }, async () => {
    const said = await run('mcp')
    expect(said.filter(({ scopes }) => scopes !== undefined)).toEqual([
      { shows: 'sign-in', scopes: ['approvals.request', 'docs.search'] },
      { shows: 'step-up', scopes: ['approvals.request', 'docs.read', 'docs.search'] },
    ])
    expect(said.find(({ revision }) => revision !== undefined)).toMatchObject({
      revision: '2026-07-28',
      tools: expect.arrayContaining(['retrieve', 'request_approval']),
    })
    const calls = said.filter(({ called }) => called !== undefined)
    expect(calls.map(({ shows, called, error }) => [shows, called, error])).toEqual([
      ['retrieve', 'retrieve', false],
      ['step-up', 'read_document', false],
      ['retrieve', 'retrieve', false],
      ['approval', 'request_approval', false],
      ['approval', 'request_approval', false],
      ['approval', 'retrieve', false],
      ['retrieve', 'retrieve', false],
      ['approval', 'request_approval', false],
      ['approval', 'retrieve', false],
    ])
    expect(calls.map(({ result }) => JSON.stringify(result).includes('of the board'))).toEqual([
      ...[false, false, false, false, false, true],
      ...[false, false, true],
    ])
    const states = calls.map(({ result }) => (result as Said)['state'])
    expect(states.filter((state) => state !== undefined)).toEqual(['pending', 'approved', 'approved'])
    expect(shown(said)).toEqual(rowOf('Go MCP SDK'))
  })
})
