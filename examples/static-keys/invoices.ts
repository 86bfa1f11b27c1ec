/** An API like many: invoices of several people, which can be listed and paid. Who may, `admit` says. */
import { createServer } from 'node:http'

const invoices = [
  { id: 'i-1', of: 'anne', amount: 120, paid: false },
  { id: 'i-2', of: 'anne', amount: 80, paid: false },
  { id: 'i-3', of: 'bob', amount: 900, paid: false },
]

export interface Wish {
  readonly action: 'list' | 'pay'
  /** To be paid. */
  readonly invoice: string | undefined
}

/** Whose invoices these are: one person's, or everybody's. Or a refusal. */
export type Admit = (request: Request, wish: Wish) => Promise<{ readonly person: string } | Response>

/** Serves `GET /invoices` and `POST /invoices/{id}/pay` at RESOURCE. */
export function serveInvoices(resource: string, admit: Admit): void {
  const { port, pathname } = new URL(resource)

  async function answer(request: Request): Promise<Response> {
    const path = new URL(request.url).pathname.slice(pathname.length)
    const [, invoice] = /^\/invoices\/([\w-]+)\/pay$/.exec(path) ?? []
    const admitted = await admit(request, { action: invoice === undefined ? 'list' : 'pay', invoice })
    if (admitted instanceof Response) return admitted
    const theirs = invoices.filter(({ of }) => admitted.person === 'everybody' || of === admitted.person)
    if (request.method === 'GET' && path === '/invoices') return Response.json(theirs)
    const found = theirs.find(({ id }) => request.method === 'POST' && id === invoice)
    if (found === undefined) return Response.json({ error: 'not_found' }, { status: 404 })
    found.paid = true
    return Response.json(found)
  }

  createServer((request, response) => {
    const { method = 'GET', url = '/', headers } = request
    answer(new Request(new URL(url, resource), { method, headers: headers as Record<string, string> })).then(
      async (made) =>
        response.writeHead(made.status, Object.fromEntries(made.headers)).end(await made.text()),
      () => response.writeHead(500).end(),
    )
  })
    .on('error', ({ message }) => {
      console.error(`${message}. Is another step still running?`)
      process.exitCode = 1
    })
    .listen(Number(port), '127.0.0.1', () => console.log(`Invoices at ${resource}`))
}
