import type { RemitError } from '../errors/error.ts'
import type { ApprovalRequired, ConnectionRequired, SignInRequired } from '../errors/kinds.ts'
import { isRemitError } from '../errors/make.ts'
import { accessFrom } from '../service/access.ts'
import { internalsOf, type Session } from '../service/session.ts'
import type { VaultInit } from '../service/vault.ts'
import type { Detail } from '../shared/detail.ts'
import type { Person, TokenSource } from '../tokens/token.ts'
import type { Tool, ToolCall, WrappedTool } from './tool.ts'

/** Settings of `withConnection`. */
export interface ConnectionOptions<Args> {
  /** Name of the provider at the service: `github`. */
  readonly connection: string
  /**
   * `interrupt` (default): what the person has to do first is thrown: `ConnectionRequired` says where they
   * link their account, `ApprovalRequired` what to ask them for. `block`: waits until they have.
   */
  readonly mode?: 'interrupt' | 'block'
  /** Needed with `block`: shows this person where to link their account. */
  readonly onConnect?: (required: ConnectionRequired, session: Session) => void | Promise<void>
  /**
   * With `block`: why the agent wants a call that the person has not agreed to, in its own words; they are
   * asked and waited for. Left out: such a call ends with `ApprovalRequired`.
   */
  readonly purpose?: string | ((args: Args) => string)
  /** With `block` and `purpose`: answers what the person asks back. */
  readonly onQuestion?: (question: string, args: Args, session: Session) => string | Promise<string>
  /** Milliseconds that the person has to link their account. Default ten minutes. */
  readonly waitMs?: number
}

/** Leave to call a third party with the person's account. */
export interface Vault {
  readonly person: Person
  readonly connection: string
  /** As `fetch`, for a path at the provider's API. */
  fetch(path: string, init?: Omit<VaultInit, 'approval'>): Promise<Response>
}

/** A tool that calls a third party through the vault. */
export type ConnectionTool<Args, Result> = (
  args: Args,
  vault: Vault,
  session: Session,
  call: ToolCall,
) => Result | Promise<Result>

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

const waitMsDefault = 600_000
const pauseMs = 3_000

/**
 * A tool that works with an account of its person at a third party. Its token never comes here: calls go
 * through the service's vault, for this person and agent. A refusal ends the wrapped tool also where the tool
 * itself took it for an answer.
 *
 * The wrapped tool throws: ConnectionRequired; ApprovalRequired; ApprovalDenied; ApprovalExpired;
 * OutcomeUnknown; NoPerson.
 */
export function withConnection<Args, Result>(
  options: ConnectionOptions<Args>,
  tool: ConnectionTool<Args, Result>,
): WrappedTool<Args, Result> {
  const { connection, mode = 'interrupt', onConnect } = options
  if (mode === 'block' && onConnect === undefined)
    throw new TypeError(
      'A tool that waits for an account has to show where to link it: onConnect is missing.',
    )

  return async (args, session, call = {}) => {
    internalsOf(session)
    const asking = createAsking({ args, session, call, options })
    const vault: Vault = Object.freeze<Vault>({
      person: session.person,
      connection,
      fetch: (path, init = {}) => asking.fetch(path, { ...init, signal: init.signal ?? call.signal }),
    })
    const result = await tool(args, vault, session, call)
    if (asking.refusal() !== undefined) throw asking.refusal()
    return result
  }
}

interface AskingDeps<Args> {
  readonly args: Args
  readonly session: Session
  readonly call: ToolCall
  readonly options: ConnectionOptions<Args>
}

/** One call of a tool: its requests, each with whatever the person has to do first. */
function createAsking<Args>({ args, session, call, options }: AskingDeps<Args>) {
  const { connection, mode = 'interrupt', onConnect, purpose, onQuestion, waitMs = waitMsDefault } = options
  const { platform } = internalsOf(session)
  let refusal: RemitError | undefined

  async function connected(path: string, init: VaultInit): Promise<Response> {
    const deadline = platform.now() + waitMs
    for (let isShown = false; ; ) {
      try {
        return await session.vaultFetch(connection, path, init)
      } catch (error) {
        const required = connectionRequired(error)
        if (required === undefined || mode !== 'block' || platform.now() >= deadline) throw error
        if (!isShown) await onConnect?.(required, session)
        isShown = true
        // Nothing was sent to the provider: the same call again is the first one.
        await platform.sleep(pauseMs, init.signal)
      }
    }
  }

  /** The grant of the person who was asked. */
  async function agreed(required: ApprovalRequired, init: VaultInit): Promise<string> {
    if (mode !== 'block' || purpose === undefined) throw required
    const { signal } = init
    const { authorizationDetails: authorization_details } = required.data
    const { id } = await session.approvals.request(
      { authorization_details, purpose: typeof purpose === 'string' ? purpose : purpose(args) },
      { signal },
    )
    const approval = await session.approvals.wait(id, {
      ...(signal && { signal }),
      ...(onQuestion && { onQuestion: (question: string) => onQuestion(question, args, session) }),
    })
    // They ask back, and nobody answers: it is still to be asked for.
    if (approval.grant_id === undefined) throw required
    return approval.grant_id
  }

  async function fetch(path: string, init: VaultInit): Promise<Response> {
    try {
      return await connected(path, init)
    } catch (error) {
      if (!isRemitError(error, 'approval_required')) throw error
      return await connected(path, { ...init, approval: call.approval ?? (await agreed(error, init)) })
    }
  }

  return {
    refusal: () => refusal,
    async fetch(path: string, init: VaultInit): Promise<Response> {
      try {
        return await fetch(path, init)
      } catch (error) {
        if (isRemitError(error) && refusals.has(error.code)) refusal ??= error
        throw error
      }
    },
  }
}

const refusals = new Set([
  'connection_required',
  'reconnect_required',
  'approval_required',
  'approval_denied',
  'approval_expired',
  'outcome_unknown',
])

function connectionRequired(error: unknown): ConnectionRequired | undefined {
  if (isRemitError(error, 'connection_required')) return error
  return isRemitError(error, 'reconnect_required') ? error : undefined
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
