import { type Command, Option } from 'commander'
import { printable } from '../kernel/printable.ts'
import type { CliDeps } from './deps.ts'
import { bare } from './ids.ts'
import { createRemitHttp, problemOf } from './remit-http.ts'
import { requireHttps, type SignIns, signInHint } from './sign-ins.ts'
import type { Terminal } from './terminal.ts'

/** As whom a command asks. */
interface AsPerson {
  /** `--url`: address of the service. */
  readonly url?: string | undefined
  /** `--token`. */
  readonly token?: string | undefined
  /** A person of the demo, named on the command line. */
  readonly user?: string | undefined
  /** A person of the demo who asks where nobody is signed in. */
  readonly userByDefault?: string
  /** What the demo's person asks with. */
  readonly scope: string
}

/** Flags by which a command is told as whom it asks: those of {@link asPerson}. */
export interface PersonFlags {
  /** A person of the demo. */
  readonly as?: string
  /** The same, as 0.9.0 said it. */
  readonly user?: string
  readonly token?: string
  readonly url?: string
}

/** Adds {@link PersonFlags}, for an administrator. */
export const asPerson = (command: Command): Command =>
  command
    .option('--as <user>', 'the administrator who asks (demo)', bare('user'))
    .addOption(new Option('--user <user>').argParser(bare('user')).conflicts('as').hideHelp())
    .option('--token <token>', 'the administrator’s access token (default: REMIT_TOKEN, or your sign-in)')
    .option('--url <url>', 'address of the service')

/** As whom {@link sendAs} asks by these flags. */
export const personOf = ({ as: user, user: userBefore, token, url }: PersonFlags) => ({
  user: user ?? userBefore,
  token,
  url,
})

/** What a command works with that asks the service as the person at this terminal. */
export type AskDeps = Pick<
  CliDeps,
  'terminal' | 'fetch' | 'publicUrl' | 'demoTokens' | 'signIns' | 'envToken'
>

interface Sent {
  /** Goes as JSON, by POST. Without one it is a GET. */
  readonly body?: object
  readonly accept?: string
}

/** What the commands that sign a person in and out work with. */
interface LoginCommandsDeps {
  readonly signIns: SignIns
  readonly terminal: Terminal
  /** Address of the service, without a trailing slash. */
  readonly publicUrl: string
  /** REMIT_TOKEN. */
  readonly envToken: string | undefined
}

interface Where {
  readonly url?: string
}

/**
 * Asks as a person, never with machine rights: gives the answer, whatever its form. Throws what a refusal
 * says.
 */
export async function sendAs(
  dependencies: AskDeps,
  person: AsPerson,
  path: string,
  { body, accept = 'application/json' }: Sent = {},
): Promise<Response> {
  const url = (person.url ?? dependencies.publicUrl).replace(/\/$/, '')
  requireHttps(url)
  const http = createRemitHttp({
    url,
    token: () => personToken(url, person, dependencies),
    fetch: dependencies.fetch,
  })
  const response = await http.send(path, () => ({
    headers: { accept, ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
  }))
  if (!response.ok) throw new Error(await problemOf(response))
  return response
}

/** The same, of an answer in JSON. */
export const askAs = async <T>(...question: Parameters<typeof sendAs>): Promise<T> =>
  (await (await sendAs(...question)).json()) as T

/**
 * A person's own token: `--token`, the demo's person who is named, REMIT_TOKEN, the sign-in of `remit login`,
 * and last the demo's default. Only the demo gives one out, and there too it is one person's, never the
 * machine's.
 */
async function personToken(
  url: string,
  { token, user, userByDefault, scope }: AsPerson,
  { demoTokens, signIns, envToken, publicUrl }: AskDeps,
): Promise<string> {
  const ofDemo = (name: string) => {
    // The demo's token is for the demo: another address would get it, and could use it here.
    if (url !== publicUrl)
      throw new Error(`${url} is not the demo, whose people alone --as names. ${signInHint}`)
    return demoTokens.person({ user: name, scopes: [scope] })
  }
  if (token !== undefined && user !== undefined)
    throw new Error(`--token says who asks already: leave out ${user}.`)
  if (token !== undefined) return token
  if (user !== undefined) return ofDemo(user)
  const ownToken = envToken ?? (await signIns.token(url))
  if (ownToken !== undefined) return ownToken
  if (userByDefault !== undefined) return ofDemo(userByDefault)
  throw new Error(
    `Nobody is signed in at ${url}. ${signInHint} (or give a token in REMIT_TOKEN; in the demo --as NAME does).`,
  )
}

/** `login`, `logout`, `whoami`: a person at this machine, as the service knows them. */
export function addLoginCommands(program: Command, dependencies: LoginCommandsDeps): void {
  const { signIns, terminal, envToken } = dependencies
  const urlOf = ({ url }: Where) => (url ?? dependencies.publicUrl).replace(/\/$/, '')
  const withUrl = (command: Command): Command => command.option('--url <url>', 'address of the service')
  const noteToken = () => {
    if (envToken !== undefined) terminal.say('REMIT_TOKEN is set: commands use it, and not your sign-in.')
  }

  withUrl(
    program
      .command('login')
      .description(
        'Signs you in: shows a code that you enter in any browser, and keeps what it gets for you.',
      )
      .option('--scope <scopes>', 'asks for these only, for example "docs.search docs.read"'),
  ).action(async ({ scope, ...address }: Where & { readonly scope?: string }) => {
    const url = urlOf(address)
    const identity = await signIns.login(url, scope, ({ url: page, code, seconds }) => {
      terminal.say(`Open this page in a browser:  ${printable(page)}`)
      terminal.say(`and enter this code:          ${printable(code)}`)
      terminal.say(
        `It counts for ${Math.floor(seconds / 60)} minutes. Go on only if the page shows this code, and give it to nobody.`,
      )
    })
    terminal.say(`Signed in as ${printable(identity.subject)} at ${url}, for: ${printable(identity.scope)}`)
    noteToken()
  })

  withUrl(program.command('whoami').description('Who you are signed in as, as the service says now.')).action(
    async (address: Where) => {
      const url = urlOf(address)
      const identity = await signIns.whoami(url)
      noteToken()
      if (identity === undefined)
        throw new Error(`No sign-in is kept here for ${url}; nothing was asked there. ${signInHint}`)
      const { subject, scope, signedInAt } = identity
      terminal.out(printable(`${subject} at ${url}`))
      terminal.out(printable(`may: ${scope}`))
      if (signedInAt !== undefined) terminal.out(`signed in: ${new Date(signedInAt * 1_000).toISOString()}`)
    },
  )

  withUrl(
    program.command('logout').description('Ends your sign-in at the service, and forgets it here.'),
  ).action(async (address: Where) => {
    const url = urlOf(address)
    terminal.say(
      (await signIns.logout(url))
        ? `Signed out at ${url}. No token of this sign-in counts any more.`
        : `You are not signed in at ${url}.`,
    )
    noteToken()
  })
}
