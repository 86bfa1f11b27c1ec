import { createDecipheriv, createECDH, hkdfSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { importJWK, type JWTPayload, jwtVerify } from 'jose'

/**
 * A push service that believes nothing: it checks who sends (RFC 8292) and what (RFC 8291), by code of its
 * own.
 */
export interface PushService extends AsyncDisposable {
  readonly origin: string
  /** A browser that subscribed there for this `applicationServerKey`. */
  browser(applicationServerKey: string): PushedBrowser
  /** Every request that came, whatever became of it. */
  readonly requests: readonly string[]
}

export interface PushedBrowser {
  /** As `PushSubscription.toJSON()` gives it. */
  readonly subscription: {
    readonly endpoint: string
    readonly keys: { readonly p256dh: string; readonly auth: string }
  }
  /** What was accepted for it, decrypted, in order. */
  readonly messages: readonly Received[]
  /** What the next requests are answered with, in order; then 201. `slow`: never. */
  readonly answers: (
    | number
    | 'slow'
    | { readonly status: number; readonly headers: Record<string, string> }
  )[]
}

export interface Received {
  readonly text: string
  readonly ttl: string | undefined
  readonly urgency: string | undefined
  readonly topic: string | undefined
  readonly claims: JWTPayload
  /** Everything that can be read without the browser's key: request line, headers, body in base64. */
  readonly open: string
}

interface Kept extends PushedBrowser {
  readonly messages: Received[]
  readonly applicationServerKey: string
  readonly receive: (body: Buffer) => string
}

export async function startPushService(): Promise<PushService> {
  const browsers = new Map<string, Kept>()
  const requests: string[] = []
  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    requests.push(`${request.method} ${request.url}`)
    const browser = browsers.get(request.url ?? '')
    const answer = browser === undefined ? 404 : browser.answers.shift()
    if (answer === 'slow') return
    if (browser === undefined || answer !== undefined) {
      const { status, headers = {} } = typeof answer === 'object' ? answer : { status: answer ?? 404 }
      response.writeHead(status, headers).end('Why should I?')
      return
    }
    try {
      browser.messages.push(await received(request, browser, origin))
      response.writeHead(201).end()
    } catch (error) {
      response.writeHead(403).end(String(error))
    }
  }
  const server = createServer((request, response) => void respond(request, response)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('There is no port.')
  const origin = `http://127.0.0.1:${address.port}`
  return {
    origin,
    requests,
    browser(applicationServerKey) {
      const path = `/send/${randomBytes(24).toString('base64url')}`
      const curve = createECDH('prime256v1')
      curve.generateKeys()
      const auth = randomBytes(16)
      const browser: Kept = {
        subscription: {
          endpoint: `${origin}${path}`,
          keys: { p256dh: curve.getPublicKey('base64url'), auth: auth.toString('base64url') },
        },
        messages: [],
        answers: [],
        applicationServerKey,
        receive: (body) => decrypt(body, curve, auth),
      }
      browsers.set(path, browser)
      return browser
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

async function received(request: IncomingMessage, browser: Kept, origin: string): Promise<Received> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  const body = Buffer.concat(parts)
  const { headers } = request
  if (request.method !== 'POST' || headers['content-encoding'] !== 'aes128gcm')
    throw new Error('Not a message.')
  if (!/^\d+$/.test(String(headers['ttl']))) throw new Error('No TTL (RFC 8030 §5.2).')
  return {
    text: browser.receive(body),
    ttl: headers['ttl'] as string | undefined,
    urgency: headers['urgency'] as string | undefined,
    topic: headers['topic'] as string | undefined,
    claims: await vapid(headers.authorization ?? '', browser.applicationServerKey, origin),
    open: `${request.url}\n${request.rawHeaders.join('\n')}\n${body.toString('base64')}`,
  }
}

/**
 * RFC 8292 §2 and §4.2: signed by the key that this browser subscribed for, for this service, for a day at
 * most.
 */
async function vapid(authorization: string, key: string, origin: string): Promise<JWTPayload> {
  const [, token = '', sent = ''] = /^vapid t=([\w.-]+), ?k=([\w-]+)$/.exec(authorization) ?? []
  if (sent !== key) throw new Error('Not the key of the subscription.')
  const point = Buffer.from(key, 'base64url')
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => part.toString('base64url'))
  const imported = await importJWK({ kty: 'EC', crv: 'P-256', x: x ?? '', y: y ?? '' }, 'ES256')
  const { payload } = await jwtVerify(token, imported, {
    algorithms: ['ES256'],
    audience: origin,
    requiredClaims: ['exp', 'sub'],
  })
  if ((payload.exp ?? 0) > Date.now() / 1_000 + 86_400) throw new Error('Good for more than a day.')
  if (!/^(https:|mailto:)/.test(payload.sub ?? '')) throw new Error('Nobody to write to.')
  return payload
}

/** RFC 8291 §3 over RFC 8188 §2: one record. */
function decrypt(body: Buffer, own: ReturnType<typeof createECDH>, auth: Buffer): string {
  const salt = body.subarray(0, 16)
  const senderLength = body.readUInt8(20)
  const sender = body.subarray(21, 21 + senderLength)
  const sealed = body.subarray(21 + senderLength)
  const info = Buffer.concat([Buffer.from('WebPush: info\0'), own.getPublicKey(), sender])
  const secret = hkdfSync('sha256', own.computeSecret(sender), auth, info, 32)
  const derive = (use: string, size: number) =>
    Buffer.from(hkdfSync('sha256', new Uint8Array(secret), salt, `Content-Encoding: ${use}\0`, size))
  const cipher = createDecipheriv('aes-128-gcm', derive('aes128gcm', 16), derive('nonce', 12), {
    authTagLength: 16,
  })
  cipher.setAuthTag(sealed.subarray(-16))
  const padded = Buffer.concat([cipher.update(sealed.subarray(0, -16)), cipher.final()])
  // The last record ends with 2, and padding after it.
  const end = padded.lastIndexOf(2)
  if (end === -1 || padded.subarray(end + 1).some((byte) => byte !== 0))
    throw new Error('Not the last record.')
  return padded.subarray(0, end).toString('utf8')
}
