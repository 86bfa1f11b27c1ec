import type { CliDeps } from './deps.ts'
import { createRemitHttp, problemOf } from './remit-http.ts'
import { signInHint } from './sign-ins.ts'

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
  { demoTokens, signIns, envToken }: AskDeps,
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
