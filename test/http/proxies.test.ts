import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClientAddress } from '../../src/http/client-address.ts'
import { createRouter } from '../../src/http/env.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { signInAction } from './own-browser.ts'

describe('a request counts for', () => {
  const address = async (trusted: readonly string[], peer: string, forwarded?: string) => {
    const clientAddress = createClientAddress(trusted)
    const app = createRouter().get('/', (c) => c.text(clientAddress(c)))
    const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }
    const response = await app.request('/', { headers }, { incoming: { socket: { remoteAddress: peer } } })
    return response.text()
  }
  const proxies = ['10.0.0.0/8', '2001:db8::1']

  test.each<readonly [string, readonly string[], string, string | undefined, string]>([
    ['the peer, where no proxy is trusted', [], '10.0.0.1', '203.0.113.7', '10.0.0.1'],
    ['the peer that is none of our proxies', proxies, '192.0.2.1', '203.0.113.7', '192.0.2.1'],
    ['the client that our proxy names', proxies, '10.0.0.1', '203.0.113.7', '203.0.113.7'],
    ['the last untrusted hop, not what it said', proxies, '10.0.0.1', '1.1.1.1, 203.0.113.7', '203.0.113.7'],
    [
      'the client before two of our proxies',
      proxies,
      '10.0.0.1',
      '1.1.1.1,203.0.113.7,10.9.9.9',
      '203.0.113.7',
    ],
    ['our own machine behind our proxy', proxies, '10.0.0.1', '10.0.0.7', '10.0.0.7'],
    ['the proxy that names nobody', proxies, '10.0.0.1', undefined, '10.0.0.1'],
    ['the proxy that names what is no address', proxies, '10.0.0.1', '203.0.113.7, unknown', '10.0.0.1'],
    ['the proxy that names an address with a port', proxies, '10.0.0.1', '203.0.113.7:80', '10.0.0.1'],
    ['the proxy that names a zone', proxies, '10.0.0.1', 'fe80::1%eth0', '10.0.0.1'],
    [
      'the client, through a socket of both families',
      proxies,
      '::ffff:10.0.0.1',
      '::ffff:203.0.113.7',
      '203.0.113.7',
    ],
    ['the client, over IPv6, in one spelling', proxies, '2001:db8::1', '2001:DB8:0::9', '2001:db8::9'],
    ['the peer of a link', proxies, 'fe80::1%eth0', '203.0.113.7', 'fe80::1%eth0'],
    ['nobody’s socket', proxies, 'in-process', '203.0.113.7', 'in-process'],
  ])('%s', async (_, trusted, peer, forwarded, expected) => {
    expect(await address(trusted, peer, forwarded)).toBe(expected)
  })
})

describe('behind a proxy', () => {
  let world: IssuerWorld
  beforeAll(async () => {
    // The clock stands still: nothing is refilled while a slow machine hashes.
    const started = Date.now()
    world = await openIssuerWorld({ env: { TRUSTED_PROXIES: '127.0.0.1' }, now: () => started })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  async function openSignIn(from: string) {
    const browser = world.browser()
    const page = await browser.open(`${world.url}/sign-in`)
    const cookie = [...browser.cookies].map(([name, { value }]) => `${name}=${value}`).join('; ')
    const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
    return async (user: string, typed: string) => {
      const response = await fetch(`${world.url}${signInAction(page)}`, {
        method: 'POST',
        body: new URLSearchParams({ csrf, user, password: typed }),
        redirect: 'manual',
        headers: { cookie, origin: world.url, 'x-forwarded-for': `198.51.100.9, ${from}` },
      })
      if (response.status === 303) return 'in'
      return (await response.text()).includes('Too many tries.') ? 'too many' : 'wrong'
    }
  }

  test('a stranger’s guesses shut nobody else out', async () => {
    const stranger = await openSignIn('203.0.113.7')
    for (let guess = 0; guess < 30; guess += 1) await stranger(`nobody-${guess}`, 'guess')
    expect(await stranger('anne', password)).toBe('too many')
    const anne = await openSignIn('203.0.113.8')
    expect(await anne('anne', password)).toBe('in')
  })

  test('signing in is no guess at one’s own password; six wrong ones are too many all the same', async () => {
    const bob = await openSignIn('203.0.113.9')
    for (let time = 0; time < 8; time += 1) expect(await bob('bob', password)).toBe('in')
    for (let guess = 0; guess < 6; guess += 1) expect(await bob('bob', `guess ${guess}`)).toBe('wrong')
    expect(await bob('bob', password)).toBe('too many')
  })
})
