import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClientAddress } from '../../src/http/client-address.ts'
import { createRouter } from '../../src/http/env.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { signIn, signInAction } from './own-browser.ts'

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
    [
      'the client’s /64, over IPv6, in one spelling',
      proxies,
      '2001:db8::1',
      '2001:DB8:0:0A::9',
      '2001:db8:0:a::/64',
    ],
    ['the /64 of a peer, where no proxy is trusted', [], '2001:db8:0:0:1::9', undefined, '2001:db8:0:0::/64'],
    ['the /64 of a peer whose every group is written', [], '1:2:3:4:5:6:7:8', undefined, '1:2:3:4::/64'],
    ['the peer, through a socket of both families', [], '::ffff:192.0.2.1', undefined, '192.0.2.1'],
    ['the peer, its IPv4 address in other digits', [], '::FFFF:c000:0201', undefined, '192.0.2.1'],
    ['the /64 of the peer of a link', proxies, 'fe80::1%eth0', '203.0.113.7', 'fe80:0:0:0::/64'],
    ['nobody’s socket', proxies, 'in-process', '203.0.113.7', 'in-process'],
  ])('%s', async (_, trusted, peer, forwarded, expected) => {
    expect(await address(trusted, peer, forwarded)).toBe(expected)
  })
})

describe('behind a proxy', () => {
  let world: IssuerWorld
  let ahead = 0
  beforeAll(async () => {
    // The clock stands still: nothing is refilled while a slow machine hashes.
    const started = Date.now()
    world = await openIssuerWorld({ env: { TRUSTED_PROXIES: '127.0.0.1' }, now: () => started + ahead })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  /** `known`: the cookie that an earlier sign-in left. */
  async function openSignIn(from: string, known?: string) {
    const browser = world.browser()
    const page = await browser.open(`${world.url}/sign-in`)
    const cookie = [
      ...[...browser.cookies].map(([name, { value }]) => `${name}=${value}`),
      ...(known === undefined ? [] : [`remit_known=${known}`]),
    ].join('; ')
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
  }, 120_000)

  test('signing in is no guess at one’s own password; six wrong ones are too many all the same', async () => {
    const bob = await openSignIn('203.0.113.9')
    for (let time = 0; time < 8; time += 1) expect(await bob('bob', password)).toBe('in')
    for (let guess = 0; guess < 6; guess += 1) expect(await bob('bob', `guess ${guess}`)).toBe('wrong')
    expect(await bob('bob', password)).toBe('too many')
  })

  test('a whole /64 is one address: for guesses at one account, and for one guess at each of many', async () => {
    const guessed = (n: number) => openSignIn(`2001:db8:0:1::${n.toString(16)}`)
    const at = async (n: number, user: string) => (await guessed(n))(user, 'guess')
    for (let n = 0; n < 6; n += 1) expect(await at(n, 'carol')).toBe('wrong')
    expect(await at(6, 'carol')).toBe('too many')
    // One was taken already by the refusal before.
    for (let n = 7; n < 30; n += 1) expect(await at(n, `nobody-${n}`)).toBe('wrong')
    expect(await at(30, 'nobody-30')).toBe('too many')
  }, 120_000)

  test('whoever signed in from their browser before gets in while strangers guess from everywhere, and guesses there no more than six times', async () => {
    ahead = 1_000
    const ofOldPassword = (await signedIn('dan')).cookies.get('remit_known')?.value
    ahead = 0
    const { cookies } = await signedIn('dan')
    const known = cookies.get('remit_known')?.value ?? ''
    expect(known).not.toBe('')
    expect(known).not.toContain('dan')
    for (let n = 0; n < 60; n += 1) await (await openSignIn(`198.51.100.${n}`))('dan', 'guess')
    expect(await (await openSignIn('192.0.2.1'))('dan', password)).toBe('too many')
    const own = await openSignIn('192.0.2.1', known)
    expect(await own('dan', password)).toBe('in')
    for (let guess = 0; guess < 6; guess += 1) expect(await own('dan', `guess ${guess}`)).toBe('wrong')
    expect(await own('dan', password)).toBe('too many')
    // It is this account's alone, and nobody makes one up.
    const others = await signedIn('anne')
    for (const one of [others.cookies.get('remit_known')?.value, known.replace(/.$/, '_'), 'x.y', '~~~'])
      expect(await (await openSignIn('192.0.2.2', one))('dan', password)).toBe('too many')
    // Whoever had the password before it was changed is a stranger like others.
    const before = await openSignIn('192.0.2.4', ofOldPassword)
    expect(await before('dan', password)).toBe('in')
    ahead = 2_000
    await world.service.issuer.passwords.set('dan', password)
    ahead = 0
    expect(await before('dan', password)).toBe('too many')
  }, 120_000)

  test('whoever keeps the marks of many sign-ins guesses twelve times by all of them', async () => {
    const marks: string[] = []
    for (ahead = 0; ahead < 4_000; ahead += 1_000)
      marks.push((await signedIn('carol')).cookies.get('remit_known')?.value ?? '')
    ahead = 0
    expect(new Set(marks).size).toBe(4)
    const told: string[] = []
    for (const mark of marks) {
      const thief = await openSignIn('192.0.2.3', mark)
      for (let guess = 0; guess < 6; guess += 1) told.push(await thief('carol', `guess ${guess}`))
    }
    expect(told.filter((one) => one === 'wrong')).toHaveLength(12)
  }, 120_000)

  async function signedIn(user: string) {
    const browser = world.browser()
    await signIn(world, browser, user)
    return browser
  }
})
