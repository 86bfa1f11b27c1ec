import type { SignInRequired } from '../errors/kinds.ts'
import { accessFrom } from '../service/access.ts'
import { internalsOf, type Session } from '../service/session.ts'
import type { Detail } from '../shared/detail.ts'
import type { TokenSource } from '../tokens/token.ts'
import type { Tool, WrappedTool } from './tool.ts'

/** Settings of `withDeviceFlow`. */
export interface DeviceFlowToolOptions<Args> {
  /** The API that the tool calls: exact address, as it is registered. */
  readonly audience: string
  readonly scopes?: readonly string[]
  readonly details?: (args: Args) => readonly Detail[]
  /**
   * `interrupt` (default): throws `SignInRequired` until the person has signed in; the same call again looks
   * again. `block`: waits, once `onSignIn` has shown where.
   */
  readonly mode?: 'interrupt' | 'block'
  /** Needed with `block`: shows this person where to sign in. */
  readonly onSignIn?: (signIn: SignInRequired, session: Session) => void | Promise<void>
}

/**
 * A tool that has its person sign in first, in any browser (device flow), for the API that it calls. Whoever
 * signs in has to be that person. The sign-in is kept for them, this agent and this API until it is over.
 *
 * The wrapped tool throws: SignInRequired; WrongPerson; GrantedDiffers; NoPerson.
 */
export function withDeviceFlow<Args, Result>(
  options: DeviceFlowToolOptions<Args>,
  tool: Tool<Args, Result>,
): WrappedTool<Args, Result> {
  const { audience, scopes = [], details, mode = 'interrupt', onSignIn } = options
  if (mode === 'block' && onSignIn === undefined)
    throw new TypeError('A tool that waits for a sign-in has to show where: onSignIn is missing.')

  return async (args, session, call = {}) => {
    const { device, platform } = internalsOf(session)
    if (device === undefined) throw new TypeError('createRemit was given no device: nobody can sign in.')
    const source: TokenSource = {
      ...device,
      get: (request) =>
        mode === 'block'
          ? device.wait(request, (signIn) => onSignIn?.(signIn, session))
          : device.look(request),
    }
    const { signal } = call
    const tokenRequest = { person: session.person, audience, scopes, details: details?.(args), signal }
    return await tool(args, await accessFrom(source, tokenRequest, platform), session, call)
  }
}
