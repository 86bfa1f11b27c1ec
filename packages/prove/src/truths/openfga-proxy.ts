import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'

export interface ProxiedOpenFga {
  readonly url: string
  readonly store: string
  /** OpenFGA's own key, which whoever asks here never gets. */
  readonly token: string | undefined
  /** What whoever asks here has to bring: without it everybody on the machine would read all tuples. */
  readonly askedToken: string
}

const passed = new Set(['read', 'check', 'changes'])
const bodyMax = 65_536

/** Stands before OpenFGA on loopback, and passes Read, Check and ReadChanges of one store only. */
export function openFgaProxy({ url, store, token, askedToken }: ProxiedOpenFga): Server {
  const server = createServer((request, response) => {
    pass(request, response).catch(() => response.writeHead(502).end())
  })
  return server

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { host, authorization = '' } = request.headers
    // By another name it is a page's, whose own name was made to lead here.
    const isHere = host === `127.0.0.1:${portOf(server.address())}`
    if (!isHere || !isSame(authorization, `Bearer ${askedToken}`)) {
      response.writeHead(isHere ? 401 : 421).end()
      return
    }
    const { pathname, search } = new URL(request.url ?? '/', 'http://proxy')
    const [, stores, asked, call = '', ...rest] = pathname.split('/')
    const isPassed = stores === 'stores' && asked === store && passed.has(call) && rest.length === 0
    if (!isPassed || request.method !== (call === 'changes' ? 'GET' : 'POST')) {
      response.writeHead(403).end()
      return
    }
    let body = ''
    request.setEncoding('utf8')
    for await (const part of request) {
      body += part
      if (body.length > bodyMax) {
        response.writeHead(413, { connection: 'close' }).end()
        return
      }
    }
    const answer = await fetch(`${url}${pathname}${search}`, {
      method: request.method,
      headers: {
        'content-type': 'application/json',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      ...(request.method === 'POST' && { body }),
      signal: AbortSignal.timeout(30_000),
    })
    const text = await answer.text()
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text)
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

const isSame = (one: string, other: string): boolean => timingSafeEqual(digest(one), digest(other))

/** undefined: it listens at no port. */
const portOf = (address: ReturnType<Server['address']>): number | undefined =>
  typeof address === 'object' ? address?.port : undefined
