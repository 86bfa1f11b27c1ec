import { afterEach, describe, expect, test, vi } from 'vitest'
import { isPublicAddress } from '../../src/outbound/addresses.ts'
import { createGuardedFetch, type GuardedFetchOptions } from '../../src/outbound/guarded-fetch.ts'
import { certificateFor } from '../support/certificate.ts'
import { serve } from '../support/hostile-server.ts'
import { limits, names, read, refusal, resolver } from './outbound-fetch.ts'

// Whatever address somebody gives us, we must not become their way into our network, nor be held by what
// answers.

describe('is never asked', () => {
  test.each([
    // loopback, in every spelling that a URL may have
    'https://127.0.0.1/',
    'https://127.0.0.1:8788/metrics',
    'https://127.1/',
    'https://127.0.1/',
    'https://127.255.255.254/',
    'https://2130706433/',
    'https://0x7f000001/',
    'https://0x7f.0x0.0x0.0x1/',
    'https://0x7f.1/',
    'https://0177.0.0.1/',
    'https://0177.0.0.01/',
    'https://017700000001/',
    'https://127.0.0.1./',
    'https://①②⑦.⓪.⓪.①/',
    'https://127。0。0。1/',
    'https://%31%32%37.0.0.1/',
    'https:\\\\127.0.0.1\\',
    'https://127.0.0.1\t/',
    'https:127.0.0.1',
    'https://[::1]/',
    'https://[0:0:0:0:0:0:0:1]/',
    'https://[0000:0000:0000:0000:0000:0000:0000:0001]/',
    'https://[::127.0.0.1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:7f00:1]/',
    'https://[::ffff:0:127.0.0.1]/',
    'https://localhost/',
    'https://LOCALHOST/',
    'https://localhost./',
    'https://a.localhost/',
    'https://ｌｏｃａｌｈｏｓｔ/',
    'https://localtest.me/',
    'https://127.0.0.1.nip.io/',
    // this network
    'https://0/',
    'https://0.0.0.0/',
    'https://0.1.2.3/',
    'https://[::]/',
    // private
    'https://10.0.0.1/',
    'https://10.1/',
    'https://167772161/',
    'https://0xa.0.0.1/',
    'https://172.16.0.1/',
    'https://172.31.255.255/',
    'https://192.168.0.1/',
    'https://192.168.257/',
    'https://3232235521/',
    'https://[fc00::1]/',
    'https://[fd12:3456:789a::1]/',
    'https://[::ffff:a00:1]/',
    'https://[::a00:1]/',
    'https://[fec0::1]/',
    'https://kubernetes.default.svc/',
    'https://printer.local/',
    'https://mapped.example/',
    // link-local, and what clouds put there and elsewhere
    'https://169.254.169.254/latest/meta-data/',
    'https://169.254.0.1/',
    'https://2852039166/',
    'https://0xa9fea9fe/',
    'https://0251.0376.0251.0376/',
    'https://[::ffff:169.254.169.254]/',
    'https://[fe80::1]/',
    'https://[fe80::1%25eth0]/',
    'https://zone.example/',
    'https://[fd00:ec2::254]/',
    'https://six.example/',
    'https://100.100.100.200/',
    'https://192.0.0.192/',
    'https://168.63.129.16/',
    'https://azure.example/',
    'https://metadata.google.internal/computeMetadata/v1/',
    'https://metadata/',
    // a carrier's, benchmarks, documentation, multicast, reserved, broadcast
    'https://100.64.0.1/',
    'https://198.18.0.1/',
    'https://192.0.2.1/',
    'https://198.51.100.1/',
    'https://203.0.113.1/',
    'https://[2001:db8::1]/',
    'https://[3fff::1]/',
    'https://224.0.0.1/',
    'https://[ff02::1]/',
    'https://240.0.0.1/',
    'https://255.255.255.255/',
    'https://4294967295/',
    'https://[100::1]/',
    'https://[5f00::1]/',
    // IPv4 inside of IPv6
    'https://[2002:7f00:1::]/',
    'https://[2002:a00:1::1]/',
    'https://[2001:0:a00:1::1]/',
    'https://[2001::1]/',
    'https://[64:ff9b::7f00:1]/',
    'https://[64:ff9b::10.0.0.1]/',
    'https://[64:ff9b::a9fe:a9fe]/',
    'https://[64:ff9b:1::1]/',
    // one bad address among good ones
    'https://mixed.example/',
    'https://mixed6.example/',
    'https://nonsense.example/',
    // not by https, or to whom it does not look like
    'http://93.184.215.14/',
    'http://public.example/',
    'ftp://93.184.215.14/',
    'file:///etc/passwd',
    'data:text/plain,hello',
    'gopher://127.0.0.1:6379/_INFO',
    'blob:https://127.0.0.1/a',
    'javascript:1',
    'unix:/var/run/docker.sock',
    'https://user:secret@public.example/',
    'https://public.example@127.0.0.1/',
    'https://public.example:secret@127.0.0.1/',
    'https://127.0.0.1#@public.example/',
    'https://127.0.0.1\\@public.example/',
    'https://[::1',
    'https://1.2.3.4.5/',
    'https://256.256.256.256/',
    'https:///',
    '//public.example/',
    'public.example',
    '',
  ])('%s', async (address) => {
    const lookup = resolver({ ...names, 'public.example': ['93.184.215.14'] })
    const { reason, sent } = await refusal(address, { lookup })
    expect(['url_refused', 'address_refused']).toContain(reason)
    expect(sent).toBe(false)
  })
})

test('an address that is longer than any needs to be is not asked', async () => {
  const lookup = resolver({ 'public.example': ['93.184.215.14'] })
  const { reason } = await refusal(`https://public.example/${'a'.repeat(9_000)}`, { lookup })
  expect(reason).toBe('url_refused')
})

describe('a public address', () => {
  test.each([
    ...[
      '1.1.1.1',
      '8.8.8.8',
      '9.255.255.255',
      '11.0.0.0',
      '100.63.255.255',
      '100.128.0.0',
      '126.255.255.255',
    ],
    ...['128.0.0.0', '169.253.255.255', '169.255.0.0', '172.15.255.255', '172.32.0.0', '192.0.1.0'],
    ...['192.167.255.255', '192.169.0.0', '198.17.255.255', '198.20.0.0', '203.0.112.255', '223.255.255.255'],
    ...['2606:4700:4700::1111', '2a00:1450:4001:80b::200e', '2001:4860:4860::8888', '2001:200::1'],
    ...['64:ff9b::808:808', '64:ff9b::8.8.8.8'],
  ])('is known as one: %s', (address) => {
    expect(isPublicAddress(address)).toBe(true)
  })

  test.each([
    ...['', 'localhost', '8.8.8', '8.8.8.8 ', '08.8.8.8', '0x08080808', '8.8.8.8/32', '[2606:4700::1]'],
    ...['2606:4700::1%eth0', '64:ff9b::', '64:ff9b::1', '64:ff9b:0:0:0:1::', '::8.8.8.8', '::ffff:8.8.8.8'],
  ])('is not everything that could be read as one: %j', (address) => {
    expect(isPublicAddress(address)).toBe(false)
  })
})

describe('an origin that the settings name', () => {
  test('may be http and inside; its neighbours may not', async () => {
    await using server = await serve((_, response) => response.end('inside'))
    const options = { allowedOrigins: [server.origin] }
    expect(await read(server.origin, options)).toMatchObject({ status: 200, text: 'inside' })
    await using neighbour = await serve((_, response) => response.end('inside too'))
    for (const other of [
      neighbour.origin,
      server.origin.replace('http:', 'https:'),
      server.origin.replace('127.0.0.1', 'localhost'),
      server.origin.replace('127.0.0.1', '127.0.0.2'),
      server.origin.replace('http://', 'http://me@'),
    ])
      expect((await refusal(other, options)).sent, other).toBe(false)
    expect([server.seen.length, neighbour.connections()]).toEqual([1, 0])
  })

  test('is an answer and no more when it redirects: nobody else is asked', async () => {
    await using inside = await serve((_, response) => response.end('inside'))
    await using server = await serve((_, response) =>
      response.writeHead(307, { location: `${inside.origin}/admin` }).end('moved'),
    )
    const answer = await read(server.origin, { allowedOrigins: [server.origin, inside.origin] })
    expect(answer).toMatchObject({ status: 307, text: 'moved' })
    expect(answer.headers.get('location')).toBe(`${inside.origin}/admin`)
    expect(inside.connections()).toBe(0)
  })
})

describe('by https', () => {
  const tls = certificateFor('provider.example')
  // All there is on this machine is loopback: one of its addresses is "public" here, the others are not.
  const one = { ca: tls.cert, isPublic: (address: string) => address === '127.0.0.1' }
  const known = resolver({ 'provider.example': ['127.0.0.1'], 'other.example': ['127.0.0.1'] })
  const at = ({ port }: { readonly port: number }, name = 'provider.example') => `https://${name}:${port}/`

  test('a name is resolved once, and the connection goes to what was judged (DNS rebinding)', async () => {
    await using honest = await serve((_, response) => response.end('honest'), { tls })
    await using inside = await serve((_, response) => response.end('inside'), {
      tls,
      host: '127.0.0.2',
      port: honest.port,
    })
    let asked = 0
    const lookup: GuardedFetchOptions['lookup'] = async () => {
      asked += 1
      return [{ address: asked === 1 ? '127.0.0.1' : '127.0.0.2', family: 4 }]
    }
    const fetch = createGuardedFetch({ ...one, lookup, allowedOrigins: [] })
    const first = await fetch(at(honest), limits)
    expect([Buffer.from(first.body).toString(), asked]).toEqual(['honest', 1])
    // A connection that is still open would be the way around: each request is judged and connects anew.
    await expect(fetch(at(honest), limits)).rejects.toMatchObject({ reason: 'address_refused', sent: false })
    expect([honest.seen.length, inside.connections()]).toEqual([1, 0])
  })

  test('the other side is who the name says, whatever the environment allows', async () => {
    await using server = await serve((_, response) => response.end('here'), { tls })
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
    const options = { ...one, lookup: known }
    expect((await read(at(server), options)).text).toBe('here')
    for (const [address, ca] of [
      [at(server, 'other.example'), tls.cert],
      [at(server), certificateFor('provider.example').cert],
    ] as const)
      expect(await refusal(address, { ...options, ca })).toMatchObject({ reason: 'unreachable', sent: false })
    expect(server.seen).toHaveLength(1)
  })

  test('proxies of the environment are not used', async () => {
    await using server = await serve((_, response) => response.end('direct'), { tls })
    await using proxy = await serve((_, response) => response.end('proxied'))
    for (const name of ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY'])
      vi.stubEnv(name, proxy.origin)
    vi.stubEnv('NODE_USE_ENV_PROXY', '1')
    expect((await read(at(server), { ...one, lookup: known })).text).toBe('direct')
    expect(proxy.connections()).toBe(0)
  })

  test('each request has a connection of its own', async () => {
    await using server = await serve((_, response) => response.end('here'), { tls })
    for (const _ of [1, 2, 3]) await read(at(server), { ...one, lookup: known })
    expect(server.connections()).toBe(3)
  })
})

afterEach(() => {
  vi.unstubAllEnvs()
})
