import { once } from 'node:events'
import { createServer as createHttp, type RequestListener } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { createServer as createTcp, type Server, type Socket } from 'node:net'
import { inspect } from 'node:util'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { isPublicAddress } from '../../src/outbound/addresses.ts'
import { OutboundError } from '../../src/outbound/error.ts'
import {
  createGuardedFetch,
  type GuardedFetchOptions,
  type OutboundRequest,
} from '../../src/outbound/guarded-fetch.ts'
import { certificateFor } from '../support/certificate.ts'

// Whatever address somebody gives us, we must not become their way into our network, nor be held by what answers.

const limits = { timeoutMs: 5_000, bytesMax: 64 * 1024 }

/** Names of a resolver that has only bad news. */
const names: Readonly<Record<string, readonly string[]>> = {
  localhost: ['127.0.0.1', '::1'],
  'localhost.': ['127.0.0.1'],
  'a.localhost': ['127.0.0.1'],
  'localtest.me': ['127.0.0.1'],
  '127.0.0.1.nip.io': ['127.0.0.1'],
  'metadata.google.internal': ['169.254.169.254'],
  metadata: ['169.254.169.254'],
  'azure.example': ['168.63.129.16'],
  'kubernetes.default.svc': ['10.96.0.1'],
  'printer.local': ['192.168.1.40'],
  'six.example': ['fd00:ec2::254'],
  'mapped.example': ['::ffff:10.0.0.1'],
  'mixed.example': ['93.184.215.14', '10.0.0.1'],
  'mixed6.example': ['2606:2800:220:1::1', 'fe80::1'],
  'zone.example': ['fe80::1%eth0'],
  'nobody.example': [],
  'nonsense.example': ['not an address'],
}

/** How a fetch ended that must not have been answered. */
async function refusal(
  address: string,
  options: Partial<GuardedFetchOptions> = {},
  request: Partial<OutboundRequest> = {},
) {
  const fetch = createGuardedFetch({ lookup: resolver(names), allowedOrigins: [], ...options })
  const error = await fetch(address, { ...limits, ...request }).then(
    ({ status }) => `answered ${status}`,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof OutboundError)) throw new Error(`Not refused: ${inspect(error)}`)
  return error
}

const resolver =
  (known: Readonly<Record<string, readonly string[]>>): GuardedFetchOptions['lookup'] =>
  async (host) =>
    (known[host] ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))

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

describe('whoever answers badly', () => {
  test.each<[string, (socket: Socket) => void, string]>([
    ['never', () => undefined, 'timed_out'],
    [
      'with headers, a byte at a time',
      (socket) => drip(socket, 'HTTP/1.1 200 OK\r\nx-slow: ', 'a'),
      'timed_out',
    ],
    [
      'with a body, a byte at a time',
      (socket) => drip(socket, head('transfer-encoding: chunked'), '1\r\na\r\n'),
      'timed_out',
    ],
    [
      'with early hints for ever',
      (socket) => drip(socket, '', 'HTTP/1.1 103 Early Hints\r\n\r\n'),
      'timed_out',
    ],
    [
      'with headers without end',
      (socket) => flood(socket, 'HTTP/1.1 200 OK\r\n', 'x-more: aaaaaaaaaaaaaaaa\r\n'),
      'too_large',
    ],
    ['with a body without end', (socket) => flood(socket, head(), 'a'.repeat(1_024)), 'too_large'],
    [
      'with chunks without end',
      (socket) => flood(socket, head('transfer-encoding: chunked'), '4\r\naaaa\r\n'),
      'too_large',
    ],
    ['with half of what it promised', (socket) => socket.end(`${head('content-length: 10')}half`), 'broken'],
    ['with something else than HTTP', (socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'), 'broken'],
    [
      'with two lengths',
      (socket) => socket.end(`${head('content-length: 1\r\ncontent-length: 2')}ab`),
      'broken',
    ],
    [
      'with a length and chunks',
      (socket) => socket.end(`${head('content-length: 3\r\ntransfer-encoding: chunked')}0\r\n\r\n`),
      'broken',
    ],
    [
      'with a status that is none',
      (socket) => socket.end('HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n'),
      'broken',
    ],
    ['by hanging up', (socket) => socket.destroy(), 'broken'],
    [
      'with another protocol',
      (socket) =>
        socket.end('HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n'),
      'broken',
    ],
  ])('%s, is given up', async (_, answer, reason) => {
    await using server = await serveRaw(answer)
    const error = await refusal(
      server.origin,
      { allowedOrigins: [server.origin] },
      { timeoutMs: reason === 'timed_out' ? 300 : 5_000 },
    )
    expect(error).toMatchObject({ reason, sent: true })
  })

  test('with a body that takes its time is waited for, with headers that do is not', async () => {
    const options = (origin: string) => ({ allowedOrigins: [origin] })
    await using body = await serveRaw((socket) => {
      socket.write(head('content-length: 2'))
      setTimeout(() => socket.end('ok'), 400)
    })
    const patience = { timeoutMs: 30_000, headersTimeoutMs: 200 }
    expect((await read(body.origin, options(body.origin), patience)).text).toBe('ok')
    await using headers = await serveRaw((socket) => drip(socket, 'HTTP/1.1 200 OK\r\nx-slow: ', 'a'))
    expect((await refusal(headers.origin, options(headers.origin), patience)).reason).toBe('timed_out')
  })

  test('by a bomb, is given up before it is unpacked, whatever it is packed in', async () => {
    const zeros = Buffer.alloc(64 * 1024 * 1024)
    const packed = { gzip: gzipSync(zeros), deflate: deflateSync(zeros), br: brotliCompressSync(zeros) }
    for (const [encoding, body] of Object.entries(packed)) {
      expect(body.byteLength).toBeLessThan(limits.bytesMax * 2)
      await using server = await serve((_, response) =>
        response.writeHead(200, { 'content-encoding': encoding }).end(body),
      )
      const before = process.memoryUsage().arrayBuffers
      const { reason } = await refusal(server.origin, { allowedOrigins: [server.origin] })
      expect([encoding, reason]).toEqual([encoding, 'too_large'])
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024)
    }
  })

  test('with a stream that decodes to nothing for ever, is given up by what came in', async () => {
    const nothing = gzipSync('')
    await using server = await serveRaw((socket) => flood(socket, head('content-encoding: gzip'), nothing))
    expect((await refusal(server.origin, { allowedOrigins: [server.origin] })).reason).toBe('too_large')
  })

  test.each([['zstd'], ['gzip, gzip'], ['compress'], ['br, gzip'], ['gzip']])(
    'with something that is not %s, or not one of the encodings that are read, is given up',
    async (encoding) => {
      await using server = await serve((_, response) =>
        response.writeHead(200, { 'content-encoding': encoding }).end('plain text'),
      )
      expect((await refusal(server.origin, { allowedOrigins: [server.origin] })).reason).toBe('broken')
    },
  )

  test('and quotes what it was sent, is not quoted in the error', async () => {
    const secret = 'a-token-of-somebody'
    for (const answer of [
      `${secret} is what you sent\r\n`,
      `HTTP/1.1 200 OK\r\n${secret} x: y\r\n\r\n`,
      `HTTP/1.1 ${secret}\r\n\r\n`,
      `${head('content-encoding: gzip')}${secret}`,
      `${head('transfer-encoding: chunked')}${secret}\r\n`,
    ]) {
      await using server = await serveRaw((socket) => socket.end(answer))
      const error = await refusal(
        server.origin,
        { allowedOrigins: [server.origin] },
        { headers: { authorization: `Bearer ${secret}` } },
      )
      expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(secret)
    }
  })
})

describe('the request', () => {
  test('asks for a body that is not packed, and reads one that is packed all the same', async () => {
    for (const [encoding, pack] of [
      ['gzip', gzipSync],
      ['x-gzip', gzipSync],
      ['deflate', deflateSync],
      ['br', brotliCompressSync],
    ] as const) {
      await using server = await serve((_, response) =>
        response.writeHead(200, { 'content-encoding': encoding }).end(pack('unpacked')),
      )
      const answer = await read(server.origin, { allowedOrigins: [server.origin] })
      expect([answer.text, answer.headers.has('content-encoding')]).toEqual(['unpacked', false])
      expect(server.seen[0]?.headers).toMatchObject({ 'accept-encoding': 'identity', 'user-agent': 'remit' })
    }
  })

  test('is what was asked for, and nothing else', async () => {
    await using server = await serve((_, response) => response.end())
    await read(
      `${server.origin}/a/b?c=d#e`,
      { allowedOrigins: [server.origin] },
      { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: 'text' },
    )
    expect(server.seen).toEqual([
      {
        method: 'POST',
        url: '/a/b?c=d',
        headers: {
          host: server.origin.slice('http://'.length),
          connection: 'keep-alive',
          'user-agent': 'remit',
          'content-type': 'text/plain',
          'content-length': '4',
          'accept-encoding': 'identity',
        },
        body: 'text',
      },
    ])
  })

  test.each([
    'Host',
    'connection',
    'Transfer-Encoding',
    'content-length',
    'proxy-authorization',
    'accept-encoding',
    'expect',
    'upgrade',
  ])('cannot set %s', async (name) => {
    await using server = await serve((_, response) => response.end())
    await expect(
      read(server.origin, { allowedOrigins: [server.origin] }, { headers: { [name]: 'a' } }),
    ).rejects.toBeInstanceOf(TypeError)
    expect(server.connections()).toBe(0)
  })

  test.each([
    [{ headers: { 'x-a': 'b\r\nx-c: d' } }],
    [{ headers: { 'x-a\r\nx-c': 'd' } }],
    [{ method: 'GET / HTTP/1.1\r\nx: y\r\n\r\nGET' }],
  ])('cannot be split: %j', async (request) => {
    await using server = await serve((_, response) => response.end())
    await expect(read(server.origin, { allowedOrigins: [server.origin] }, request)).rejects.toThrow(/invalid/)
    expect(server.seen).toEqual([])
  })

  test('ends when its caller gives up, also while the name is being resolved', async () => {
    await using server = await serveRaw(() => undefined)
    const controller = new AbortController()
    const ended = refusal(server.origin, { allowedOrigins: [server.origin] }, { signal: controller.signal })
    await expect.poll(() => server.connections()).toBe(1)
    controller.abort()
    expect((await ended).reason).toBe('aborted')
    const lookup = () => new Promise<never>(() => undefined)
    const late = await refusal('https://slow.example/', { lookup }, { timeoutMs: 50 })
    expect(late).toMatchObject({ reason: 'timed_out', sent: false })
    const given = await refusal('https://slow.example/', { lookup }, { signal: AbortSignal.abort() })
    expect(given).toMatchObject({ reason: 'aborted', sent: false })
  })

  test('says of a name that nobody has, and of a port where nobody listens, that nothing was sent', async () => {
    expect(await refusal('https://nobody.example/')).toMatchObject({ reason: 'unreachable', sent: false })
    const gone = await serve((_, response) => response.end())
    await gone[Symbol.asyncDispose]()
    expect(await refusal(gone.origin, { allowedOrigins: [gone.origin] })).toMatchObject({
      reason: 'unreachable',
      sent: false,
    })
  })
})

afterEach(() => {
  vi.unstubAllEnvs()
})

async function read(
  address: string,
  options: Partial<GuardedFetchOptions>,
  request: Partial<OutboundRequest> = {},
) {
  const fetch = createGuardedFetch({ lookup: resolver(names), allowedOrigins: [], ...options })
  const { status, headers, body } = await fetch(address, { ...limits, ...request })
  return { status, headers, text: Buffer.from(body).toString() }
}

const head = (headers = 'connection: close') => `HTTP/1.1 200 OK\r\n${headers}\r\n\r\n`

/** Sends a little, for as long as anybody listens. */
function drip(socket: Socket, first: string, then: string): void {
  socket.write(first)
  const timer = setInterval(() => socket.write(then), 20)
  socket.on('close', () => clearInterval(timer))
}

/** Sends as much as the other side takes. */
function flood(socket: Socket, first: string, then: string | Uint8Array): void {
  const block = Buffer.concat(Array.from({ length: 64 }, () => Buffer.from(then)))
  const more = () => {
    while (!socket.destroyed && socket.write(block));
  }
  socket.write(first)
  socket.on('drain', more)
  more()
}

interface Seen {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: object
  readonly body: string
}

interface ServeOptions {
  readonly tls?: { readonly key: string; readonly cert: string }
  readonly host?: string
  readonly port?: number
}

async function serve(answer: RequestListener, { tls, host, port }: ServeOptions = {}) {
  const seen: Seen[] = []
  const listener: RequestListener = (request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const { method, url, headers } = request
      seen.push({ method, url, headers, body: Buffer.concat(parts).toString() })
      answer(request, response)
    })
  }
  const server = tls === undefined ? createHttp(listener) : createHttps(tls, listener)
  return { ...(await listening(server, host, port)), seen }
}

const serveRaw = (answer: (socket: Socket) => void) =>
  listening(
    createTcp((socket) => {
      socket.on('error', () => socket.destroy())
      socket.once('data', () => answer(socket))
    }),
  )

async function listening(server: Server, host = '127.0.0.1', wanted = 0) {
  const sockets = new Set<Socket>()
  let connections = 0
  server.on('connection', (socket: Socket) => {
    connections += 1
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(wanted, host)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The server has no port.')
  return {
    port: address.port,
    origin: `http://${host}:${address.port}`,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      if (!server.listening) return
      server.close()
      await once(server, 'close')
    },
  }
}
