import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { isId } from '@remit/contract/id'
import type { Command } from 'commander'
import type { Fetch } from '../../delegation/tokens/fetch-json.ts'
import type { AdminClient } from '../admin-client.ts'
import { typed } from '../ids.ts'
import { createSignInStore } from '../sign-in-store.ts'
import { createSignIns, type Prompt, type SignInProgram, type SignIns } from '../sign-ins.ts'
import type { Terminal } from '../terminal.ts'

export interface McpCommandsDeps {
  readonly admin: AdminClient
  readonly terminal: Terminal
  readonly fetch: Fetch
  readonly now: () => number
  /** Address of the service, without a trailing slash. */
  readonly publicUrl: string
  readonly stdio: {
    /** Where keys and sign-ins of agents are kept: one folder a client. */
    readonly folder: string
    readonly stdin: Readable
    readonly stdout: Writable
  }
}

interface Where {
  readonly url?: string
  readonly client: string
}

interface Asked {
  readonly scope?: string
  readonly patience: string
}

const agent = 'local-mcp'
const scopes = ['docs.search', 'docs.read', 'approvals.request', 'vault.use']
// What a model may do without the person's own page is read; an account of theirs is asked for when it is
// needed.
const scopeDefault = 'docs.search docs.read approvals.request'

/** `mcp`: the proxy of a program on this machine that speaks MCP by standard input and output. */
export function addMcpCommands(program: Command, deps: McpCommandsDeps): void {
  const { admin, terminal } = deps
  const at = (command: Command): Command =>
    command
      .option('--url <url>', 'address of the service')
      .option('--client <id>', 'the client as which it signs in: an agent’s, without a key', 'remit-mcp')
  const scoped = (command: Command): Command =>
    command.option('--scope <scopes>', `asks for these at the sign-in (default: "${scopeDefault}")`)

  const mcp = program.command('mcp').description('Lets a program on this machine speak MCP with the service.')

  scoped(at(mcp.command('serve', { isDefault: true })))
    .description('Passes MCP between standard input and output and the service. People are told on stderr.')
    .option('--patience <seconds>', 'how long a message waits for the person to sign in', '45')
    .action(async (flags: Where & Asked) => {
      const { clientId, url, signIns, key } = await open(flags, deps)
      // Loaded here, since no other command has a use for them.
      const [{ StdioServerTransport }, { proxyStdio }, { createDpopFetch, createSession }] =
        await Promise.all([
          import('@modelcontextprotocol/server/stdio'),
          import('./stdio-proxy.ts'),
          import('./session.ts'),
        ])
      const closing = new AbortController()
      const session = createSession({
        url,
        signIns,
        scope: flags.scope,
        show: (prompt) => show(prompt, terminal),
        welcome: (subject, scope) => terminal.say(welcome(subject, clientId, scope)),
        patienceMs: Number(flags.patience) * 1_000,
        closing: closing.signal,
      })
      try {
        await proxyStdio({
          url: `${url}/mcp`,
          inside: new StdioServerTransport(deps.stdio.stdin, deps.stdio.stdout),
          fetch: await createDpopFetch({ session, key, fetch: deps.fetch }),
          say: (line) => terminal.say(printable(line)),
        })
      } finally {
        closing.abort(new Error('The program has closed its side.'))
      }
    })

  scoped(at(mcp.command('sign-in')))
    .description('Signs you in ahead, so that a program that starts the proxy waits for nobody.')
    .action(async (flags: Where & Asked) => {
      const { clientId, url, signIns } = await open(flags, deps)
      const { subject, scope } = await signIns.login(url, flags.scope, (prompt) => show(prompt, terminal))
      terminal.say(welcome(subject, clientId, scope))
    })

  at(mcp.command('sign-out'))
    .description('Ends that sign-in at the service, and forgets it here.')
    .action(async (flags: Where) => {
      const { url, signIns } = await open(flags, deps)
      terminal.say(
        (await signIns.logout(url))
          ? `Signed out at ${url}. No token of this sign-in counts any more.`
          : `Nobody is signed in at ${url}.`,
      )
    })

  mcp
    .command('register')
    .description(`Registers the agent ${agent} and its client, at this machine's running service.`)
    .requiredOption('--owner <user>', 'who answers for it, for example user:anne', typed('user'))
    .action(async ({ owner }: { readonly owner: string }) => {
      const title = 'Programs on your own computer'
      const purpose = 'Answers you in programs on your own computer that speak MCP.'
      const added = await admin.run('agent_add', {
        id: agent,
        owner,
        title,
        purpose,
        scopes,
        collections: null,
      })
      await admin.run('client_add', { client_id: 'remit-mcp', kind: 'agent', of: agent, title })
      terminal.say(
        `The agent ${agent} and its client remit-mcp are registered. People lend it something when they sign in.`,
      )
      if (added['owner_known'] === false) terminal.say(`Note: there is no account of its owner ${owner} yet.`)
    })
}

async function open(flags: Where, { stdio, fetch, now, publicUrl }: McpCommandsDeps) {
  const { client: clientId } = flags
  if (!isId(clientId) || clientId.includes('/')) throw new Error('This is not the id of a client.')
  const url = (flags.url ?? publicUrl).replace(/\/$/, '')
  const dir = join(stdio.folder, encodeURIComponent(clientId))
  const { loadProofKey } = await import('./proof-key.ts')
  // Before anything is asked: with a key that others have, nobody is signed in.
  const key = await loadProofKey(dir, url)
  const program: SignInProgram = {
    clientId,
    audience: (at) => `${at}/mcp`,
    scope: scopeDefault,
    hint: `Sign in: npm run remit -- mcp sign-in --url ${url}`,
    unregistered: `The service at ${url} knows no client ${clientId}. Whoever runs it registers one: npm run remit -- mcp register --owner user:SUBJECT`,
    proofKey: key,
  }
  const signIns: SignIns = createSignIns({ store: createSignInStore(dir), fetch, now, program })
  return { clientId, url, signIns, key }
}

function show({ url, code, seconds }: Prompt, terminal: Terminal): void {
  terminal.say(`To let this program ask for you, open in a browser:  ${printable(url)}`)
  terminal.say(`and enter this code:                                ${printable(code)}`)
  terminal.say(`It counts for ${Math.floor(seconds / 60)} minutes. There you choose what you lend it.`)
}

const welcome = (subject: string, clientId: string, scope: string): string =>
  printable(`${clientId} may ask for ${subject}: ${scope}`)

// What a service says may hold control characters, which a terminal would obey.
const printable = (text: string): string => text.replaceAll(/\p{C}/gu, '?')
