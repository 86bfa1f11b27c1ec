import type { DemoTokens } from './demo-tokens.ts'
import { type SignIns, signInHint } from './sign-ins.ts'

/** As whom a command asks. */
export interface AsPerson {
  /** Address of the service. */
  readonly url: string
  /** `--token`. */
  readonly token?: string | undefined
  /** A person of the demo, named on the command line. */
  readonly user?: string | undefined
  /** A person of the demo who asks where nobody is signed in. */
  readonly userByDefault?: string
  /** What the demo's person asks with. */
  readonly scope: string
}

/** Where the token of the person at this terminal comes from. */
export interface AsPersonDeps {
  readonly demoTokens: DemoTokens
  readonly signIns: SignIns
  /** REMIT_TOKEN. */
  readonly envToken: string | undefined
}

/**
 * A person's own token: `--token`, the demo's person who is named, REMIT_TOKEN, the sign-in of `remit login`, and
 * last the demo's default. Only the demo gives one out, and there too it is one person's, never the machine's.
 */
export async function personToken(
  { url, token, user, userByDefault, scope }: AsPerson,
  { demoTokens, signIns, envToken }: AsPersonDeps,
): Promise<string> {
  const ofDemo = (name: string) => demoTokens.person({ user: name, scopes: [scope] })
  if (token !== undefined) return token
  if (user !== undefined) return ofDemo(user)
  const ownToken = envToken ?? (await signIns.token(url))
  if (ownToken !== undefined) return ownToken
  if (userByDefault !== undefined) return ofDemo(userByDefault)
  throw new Error(
    `Nobody is signed in at ${url}. ${signInHint} (or give a token in REMIT_TOKEN; in the demo --user NAME does).`,
  )
}
