import type { Command } from 'commander'
import { printable } from '../kernel/printable.ts'
import { type SignIns, signInHint } from './sign-ins.ts'
import type { Terminal } from './terminal.ts'

/** What the commands that sign a person in and out work with. */
export interface LoginCommandsDeps {
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
