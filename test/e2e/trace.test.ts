import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { readThread } from '../../src/audit/thread.ts'
import { openTelemetry } from '../../src/compose/telemetry.ts'
import { backends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

const ways = backends.filter(({ name }) => name === 'PGlite × engine' || name === 'Postgres × OpenFGA')
const traceparent = (trace: string) => `00-${trace}-00f067aa0ba902b7-01`
const [retrieving, bringing, quiet] = ['a', 'b', 'c'].map((digit) => digit.repeat(32)) as [
  string,
  string,
  string,
]

describe.each(ways)('a trace on $name', { timeout: 60_000 }, ({ name, options }) => {
  describe('of a service whose traces are received', options, () => {
    let receiver: Receiver
    let telemetry: AsyncDisposable
    let world: World
    let token: string
    let spans: readonly Span[]
    beforeAll(async () => {
      receiver = await openReceiver()
      telemetry = await openTelemetry({ endpoint: receiver.url, version: 'test' })
      const backend = backends.find((one) => one.name === name)
      if (backend === undefined) throw new Error('no such backend')
      world = await openWorld({ backend })
      token = await world.token({ user: 'anne' })
      await world.put({ 'handbook/otter': { text: 'Saw an otter.', access: { viewers: ['user:anne'] } } })
      const asked = await world.call('POST', '/retrieve', {
        token,
        body: { query: 'where was the otter' },
        headers: { traceparent: traceparent(retrieving), 'x-other': 'secret-header' },
      })
      expect(asked.status).toBe(200)
      const brought = await world.call('PUT', '/documents/handbook%2Fheron', {
        token: await world.token({ service: 'loader' }),
        body: {
          collection: 'handbook',
          title: 'Secret heron',
          text: 'A heron.',
          access: { viewers: ['user:anne'] },
        },
        headers: { traceparent: traceparent(bringing), prefer: 'wait' },
      })
      expect(brought.status).toBe(200)
      // The answer does not wait until the job has ended for the trace.
      await vi.waitFor(
        () => expect(receiver.spans().map(({ name: called }) => called)).toContain('job documents'),
        { timeout: 30_000, interval: 50 },
      )
      await telemetry[Symbol.asyncDispose]()
      spans = receiver.spans()
    }, 120_000)
    afterAll(async () => {
      await world?.[Symbol.asyncDispose]()
      await receiver?.[Symbol.asyncDispose]()
    })

    test('that the caller began goes on through HTTP, the database and OpenFGA', () => {
      const mine = spans.filter(({ traceId }) => traceId === retrieving)
      const [request] = mine.filter(({ name: called }) => called === 'POST /retrieve')
      expect(request?.parentSpanId).toBe('00f067aa0ba902b7')
      expect(request?.attributes).toMatchObject({
        'http.route': '/retrieve',
        'http.response.status_code': 200,
      })
      const names = new Set(mine.map(({ name: called }) => called))
      // Text is read and the answer recorded by one statement, which begins with `with`.
      for (const called of ['sql with', 'openfga BatchCheck']) expect(names).toContain(called)
    })

    test('and the record meet: the txn in the one, the trace id in the other', async () => {
      const { txn } = decodeJwt(token)
      const [request] = spans.filter(({ name: called }) => called === 'POST /retrieve')
      expect(request?.attributes['remit.txn']).toBe(txn)
      const { steps } = await readThread(world.database, String(txn))
      expect(steps.filter(({ event }) => event === 'retrieved')).toMatchObject([{ trace: retrieving }])
    })

    test('that a request began goes on in the job that it left', () => {
      const mine = spans.filter(({ traceId }) => traceId === bringing).map(({ name: called }) => called)
      expect(mine).toContain('PUT /documents/:id')
      expect(mine).toContain('job documents')
      expect(mine).toContain('openfga Write')
    })

    test('names no person, document, question, text or token', () => {
      const sent = receiver.text()
      expect(spans.length).toBeGreaterThan(10)
      for (const secret of ['anne', 'otter', 'heron', 'loader', 'secret-header', token, token.slice(0, 20)])
        expect(sent).not.toContain(secret)
    })
  })
})

test('without a receiver the trace of the caller is on record all the same, and one that is none is not', async () => {
  await using _telemetry = await openTelemetry({ endpoint: undefined, version: 'test' })
  await using world = await openWorld()
  const ask = async (header: string) => {
    const token = await world.token({ user: 'anne' })
    await world.call('POST', '/retrieve', { token, body: { query: 'q' }, headers: { traceparent: header } })
    const { steps } = await readThread(world.database, String(decodeJwt(token)['txn']))
    return steps.filter(({ event }) => event === 'retrieved').map(({ trace }) => trace)
  }
  expect(await ask(traceparent(quiet))).toEqual([quiet])
  for (const header of ['', 'x', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`, `00-${quiet}'); drop--`])
    expect(await ask(header)).toEqual([undefined])
})

interface Span {
  readonly traceId: string
  readonly parentSpanId: string | undefined
  readonly name: string
  readonly attributes: Readonly<Record<string, unknown>>
}

interface Receiver extends AsyncDisposable {
  readonly url: string
  spans(): readonly Span[]
  text(): string
}

interface Exported {
  readonly resourceSpans: readonly {
    readonly scopeSpans: readonly {
      readonly spans: readonly (Omit<Span, 'attributes'> & {
        readonly attributes: readonly { readonly key: string; readonly value: object }[]
      })[]
    }[]
  }[]
}

/** Takes traces in as OTLP over HTTP, in JSON. */
async function openReceiver(): Promise<Receiver> {
  const bodies: string[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      if (request.url === '/v1/traces') bodies.push(Buffer.concat(parts).toString())
      response.setHeader('content-type', 'application/json').end('{}')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    text: () => bodies.join('\n'),
    spans: () =>
      bodies
        .flatMap((body) => (JSON.parse(body) as Exported).resourceSpans)
        .flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
        .map(({ attributes, ...span }) => ({
          ...span,
          attributes: Object.fromEntries(
            attributes.map(({ key, value }) => [key, Object.values(value)[0] as unknown]),
          ),
        })),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
