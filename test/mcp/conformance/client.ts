import {
  Client,
  DpopSession,
  discoverOAuthServerInfo,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from '@modelcontextprotocol/client'
import { McpSignIn } from '@remit/client'

// The client that MCP's suite examines: the official one, with our sign-in. Started by the suite with the
// server's address.

const {
  MCP_CONFORMANCE_SCENARIO: scenario = '',
  MCP_CONFORMANCE_CONTEXT: given = '{}',
  MCP_CONFORMANCE_PROTOCOL_VERSION: revision = '2026-07-28',
} = process.env
const url = process.argv.at(-1) ?? ''
const context = JSON.parse(given) as { readonly client_id?: string; readonly client_secret?: string }

/** Whoever has a secret knows whose it is; the suite does not say. */
async function issuerOf(server: string): Promise<string> {
  const { authorizationServerMetadata: metadata } = await discoverOAuthServerInfo(server)
  if (metadata === undefined) throw new Error('The suite names no issuer.')
  return metadata.issuer
}

async function registered() {
  const { client_id, client_secret } = context
  if (client_id === undefined) return {}
  if (client_secret === undefined) return { client: { client_id } }
  return { client: { client_id, client_secret, issuer: await issuerOf(url) } }
}

const opened: URL[] = []
const signIn = new McpSignIn({
  redirectUrl: 'http://127.0.0.1:49152/callback',
  open: (page) => void opened.push(page),
  clientMetadataUrl: 'https://conformance-test.local/client-metadata.json',
  ...(await registered()),
  ...(scenario.startsWith('auth/dpop') && { dpop: DpopSession.create() }),
})

const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider: signIn })
const client = new Client(
  { name: 'remit-test', version: '1.0.0' },
  { versionNegotiation: { mode: revision === '2026-07-28' ? { pin: revision } : 'legacy' } },
)
let current = transport()

const askedMax = 3

/** The step, with a person who agrees to whatever they are sent to, three times at most. */
async function withPerson<T>(step: () => Promise<T>): Promise<T> {
  for (let asked = 0; ; asked += 1) {
    const before = opened.length
    try {
      return await step()
    } catch (error) {
      const page = opened.at(-1)
      const isSent = error instanceof UnauthorizedError && opened.length > before
      if (!isSent || page === undefined || asked === askedMax) throw error
      const { headers } = await fetch(page, { redirect: 'manual' })
      await current.finishAuth(signIn.back(new URL(headers.get('location') ?? 'about:blank')))
    }
  }
}

await withPerson(async () => {
  current = transport()
  await client.connect(current)
})
const { tools } = await withPerson(() => client.listTools())
for (const { name } of tools) await withPerson(() => client.callTool({ name, arguments: {} }))
await client.close()
