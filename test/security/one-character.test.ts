import { afterAll, beforeAll, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { sendRaw } from './raw.ts'

// What a stranger may send, all of it one character: this process has one thread for everybody.

let world: IssuerWorld
beforeAll(async () => {
  world = await openIssuerWorld({ env: { REQUEST_DEADLINE_MS: '60000' } })
})
afterAll(() => world?.[Symbol.asyncDispose]())

const kilobytes = 8
// A URL of more than 8,192 characters is refused before anything looks at it.
const most = kilobytes * 1_024 - 200
const millisecondsMax = 20

const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index))
/** One of each kind, and whatever stands in an expression. */
const telling = [...' \t!"%&()*,-./0:;<=?@A[\\_a{~']

const places: Readonly<
  Record<string, readonly [target: (run: string) => string, letters: readonly string[]]>
> = {
  'path of the authorization server': [(run) => `/oauth/${run}`, printable],
  'end of a path of the authorization server': [(run) => `/oauth/auth${run}`, printable],
  'path of a sign-in': [(run) => `/oauth/interaction/${run}/sign-in`, printable],
  path: [(run) => `/${run}`, printable],
  'path of a document': [(run) => `/documents/${run}`, telling],
  'path of the documentation': [(run) => `/docs/${run}`, telling],
  'path of the console': [(run) => `/console/${run}`, telling],
  'path of what is well known': [(run) => `/.well-known/${run}`, telling],
  query: [(run) => `/oauth/auth?${run}`, printable],
  'where a sign-in leads': [(run) => `/sign-in?next=${run}`, telling],
  'scope of a request': [
    (run) => `/oauth/auth?client_id=cli&scope=${run}&redirect_uri=${run.slice(4_000)}`,
    telling,
  ],
  'way back from elsewhere': [(run) => `/sign-in/upstream/up/callback?state=${run}`, telling],
}

const headers = [
  'Accept',
  'Accept-Encoding',
  'Accept-Language',
  'Authorization',
  'Content-Type',
  'Cookie',
  'DPoP',
  'Forwarded',
  'Idempotency-Key',
  'If-None-Match',
  'MCP-Protocol-Version',
  'Origin',
  'Range',
  'Sec-Fetch-Site',
  'Traceparent',
  'Tracestate',
  'User-Agent',
  'X-CSRF-Token',
  'X-Forwarded-For',
] as const

/** Behind which more is read. */
const begins: Readonly<Record<string, readonly string[]>> = {
  Authorization: ['Bearer ', 'DPoP '],
  Cookie: ['a=b; ', 'remit_session='],
}

/**
 * Milliseconds of this thread that one request takes, its sender's own among them: the median where the first
 * is high.
 */
async function cost(target: string, lines: readonly string[] = []): Promise<number> {
  const request = [
    `GET ${target} HTTP/1.1`,
    `Host: ${new URL(world.url).host}`,
    'Connection: close',
    ...lines,
    '',
    '',
  ].join('\r\n')
  const once = async (): Promise<number> => {
    const before = process.threadCpuUsage()
    await sendRaw(world.config.port, request)
    const { user, system } = process.threadCpuUsage(before)
    return (user + system) / 1_000
  }
  const first = await once()
  if (first < millisecondsMax) return first
  const more = [first, await once(), await once(), await once(), await once()].sort((a, b) => a - b)
  return more[2] ?? first
}

test.each(Object.entries(places))(
  `${kilobytes} KB of any one character in the %s take less than ${millisecondsMax} ms of the processor`,
  async (_, [target, letters]) => {
    const dear: (readonly [string, number])[] = []
    for (const letter of letters) {
      const took = await cost(target(letter.repeat(most)))
      if (took >= millisecondsMax) dear.push([letter, took])
    }
    expect(dear).toEqual([])
  },
)

test.each(headers)(
  `${kilobytes} KB of any one character in the header %s take less than ${millisecondsMax} ms of the processor`,
  async (header) => {
    const dear: (readonly [string, string, number])[] = []
    for (const letter of telling)
      for (const begin of ['', ...(begins[header] ?? [])]) {
        for (const target of ['/delegations', '/oauth/auth/x']) {
          const took = await cost(target, [`${header}: ${begin}${letter.repeat(most)}`])
          if (took >= millisecondsMax) dear.push([target, `${begin}${letter}`, took])
        }
      }
    expect(dear).toEqual([])
  },
)
