import type { CliDeps } from '../../src/cli/deps.ts'
import { runCli } from '../../src/cli/program.ts'
import { createTerminal } from '../../src/cli/terminal.ts'
import type { World } from '../support/world.ts'
import { onceFollowing } from './once-following.ts'
import { nobody } from './world.ts'

/** What `remit …` printed: to stdout, to stderr, and to both as it came. */
export interface Printed {
  readonly code: number
  readonly out: string
  readonly said: string
  readonly printed: string
}

/** Runs `remit …` against a service in this process, as the person of the demo whom the flags name. */
export async function runRemit(
  {
    service,
    config,
    token,
  }: Pick<World, 'config' | 'token'> & { readonly service: Pick<World['service'], 'app'> },
  argv: readonly string[],
  more: object = {},
): Promise<Printed> {
  let [out, said, printed] = ['', '', '']
  const code = await runCli(argv, {
    demoTokens: {
      person: ({ user, scopes }: { user: string; scopes?: string[] }) =>
        token({ user, ...(scopes && { scopes }) }),
    },
    terminal: createTerminal({
      stdout: {
        write(text) {
          out += text
          printed += text
        },
      },
      stderr: {
        write(text) {
          said += text
          printed += text
        },
      },
    }),
    fetch: onceFollowing(service.app),
    publicUrl: config.publicUrl,
    envToken: undefined,
    now: Date.now,
    signIns: nobody,
    ...more,
  } as unknown as CliDeps)
  return { code, out, said, printed }
}
