/**
 * A program that uses Remit by MCP, with the official client: it signs its person in by their browser, with
 * tokens bound to a key of its own, asks a question, and asks the person for what is kept from agents until
 * they agree. With the demo running, in the folder of the repository:
 *
 *     npm run -s remit -- client add example-mcp --kind agent --of research-bot --title "MCP example" \
 *       --redirect-uri http://127.0.0.1/callback                   # once
 *     npm run -s example -- mcp "What did the March recall cost?"
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  Client,
  DpopSession,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from '@modelcontextprotocol/client'
import { McpSignIn } from '@remit/client'

// As for `npm start`: with a port of your own, set the same here.
const { PORT = '8787', PUBLIC_URL: api = `http://localhost:${PORT}` } = process.env
const query = process.argv[2] ?? 'What did the March recall cost?'

/** What a program has to remember of a tool's result: a no is an error, and no answer. */
interface Result {
  readonly isError?: boolean | undefined
  readonly structuredContent?: unknown
  readonly content: readonly object[]
}
interface Passage {
  readonly document_id: string
  readonly title: string
  readonly text: string
}
interface Found {
  readonly results: readonly Passage[]
  readonly approval?: { readonly offer_id: string }
}
interface Asked {
  readonly id: string
  readonly state: string
  readonly grant_id?: string
}

async function main(): Promise<void> {
  // The browser comes back to a port of this program: registered for loopback, it may be any.
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  const signIn = new McpSignIn({
    client: { client_id: 'example-mcp', issuer: `${api}/oauth` },
    redirectUrl: `http://127.0.0.1:${port}/callback`,
    open: (url) => console.error(`Open in a browser: ${url.href}`),
    // Without the last one nobody would be told that there is something to ask for.
    scopes: ['docs.search', 'docs.read', 'approvals.request'],
    dpop: DpopSession.create(),
  })
  const client = new Client(
    { name: 'example', version: '1.0.0' },
    {
      versionNegotiation: { mode: { pin: '2026-07-28' } },
      // So that the server sends the person to its pages, instead of telling the model an address.
      capabilities: { elicitation: { url: {} } },
    },
  )
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    console.error(`Your answer is asked for at ${'url' in params ? params.url : api}`)
    // Not the answer: that is given there, and what a program says of it is not listened to.
    return { action: 'accept' }
  })
  const makeTransport = () =>
    new StreamableHTTPClientTransport(new URL(`${api}/mcp`), { authProvider: signIn })
  let transport = makeTransport()

  /** The step; where the person has to sign in, or to agree to more, once more when they have. */
  async function withPerson<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step()
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error
      const [request, response] = await once(listener, 'request')
      response.setHeader('connection', 'close').end('Signed in. You can close this page.')
      await transport.finishAuth(signIn.back(new URL(String(request.url), signIn.redirectUrl)))
      return step()
    }
  }
  const call = async <T>(name: string, args: Record<string, unknown>): Promise<T> => {
    const result: Result = await withPerson(() => client.callTool({ name, arguments: args }))
    if (result.isError === true) throw new Error(`${name}: ${JSON.stringify(result.content)}`)
    return result.structuredContent as T
  }

  try {
    await withPerson(() => {
      // One that failed to connect is spent; what was begun is kept by the sign-in.
      transport = makeTransport()
      return client.connect(transport)
    })
    const found = await call<Found>('retrieve', { query, top_k: 3 })
    show(found)
    const offer = found.approval?.offer_id
    if (offer === undefined) return
    let asked = await call<Asked>('request_approval', {
      authorization_details: [{ type: 'document_access', offer }],
      purpose: 'To answer your question whole',
    })
    // Each look waits a few seconds by itself.
    while (asked.state === 'pending') asked = await call<Asked>('request_approval', { id: asked.id })
    console.log('— and with your yes:')
    show(await call<Found>('retrieve', { query, top_k: 3, approval: asked.grant_id }))
  } finally {
    await client.close()
    listener.close()
  }
}

function show({ results }: Found): void {
  for (const [id, [first]] of Map.groupBy(results, ({ document_id }) => document_id)) {
    // A heading would say the title again.
    const line = first?.text.split('\n').find((one) => /^[^#\s]/.test(one))
    console.log(`${id}  ${first?.title}\n    ${line ?? ''}`)
  }
}

await main().catch((error: unknown) => {
  const { message } = error instanceof Error ? error : new Error('Something was thrown that is no error.')
  console.error(message === 'fetch failed' ? `Nothing answers at ${api}: start Remit, or set PORT.` : message)
  process.exitCode = 1
})
