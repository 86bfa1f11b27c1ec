import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'

const passed = new Set(['read', 'check', 'changes'])

/** Stands before OpenFGA on loopback, and passes Read, Check and ReadChanges of one store only. */
export function openFgaProxy(url: string, store: string, token: string | undefined): Server {
  return createServer((request, response) => {
    pass(request, response).catch(() => response.writeHead(502).end())
  })

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, search } = new URL(request.url ?? '/', 'http://proxy')
    const [, stores, asked, call = '', ...rest] = pathname.split('/')
    const isPassed = stores === 'stores' && asked === store && passed.has(call) && rest.length === 0
    if (!isPassed || request.method !== (call === 'changes' ? 'GET' : 'POST')) {
      response.writeHead(403).end()
      return
    }
    let body = ''
    request.setEncoding('utf8')
    for await (const part of request) body += part
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
