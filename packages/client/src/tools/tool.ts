import type { PendingApproval } from '../errors/kinds.ts'
import type { Access } from '../service/access.ts'
import type { Session } from '../service/session.ts'

/**
 * What an agent can do, as its author writes it: it gets leave to call one API for one person, and no token.
 * `session` and `call` are those of the call, so that wrapped tools stand in one another:
 * `withDeviceFlow(…, (args, _access, session, call) => approved(args, session, call))`.
 */
export type Tool<Args, Result> = (
  args: Args,
  access: Access,
  session: Session,
  call: ToolCall,
) => Result | Promise<Result>

/**
 * The same, for whichever person it is called for. The session is the person: without one, or with one that
 * `remit.for` did not make, nothing happens.
 *
 * @throws NoPerson
 */
export type WrappedTool<Args, Result> = (args: Args, session: Session, options?: ToolCall) => Promise<Result>

/** Options of one call of a wrapped tool. */
export interface ToolCall {
  readonly signal?: AbortSignal | undefined
  /**
   * Goes on with a question that was put earlier, in another process perhaps: `data.resume` of
   * `ApprovalPending`.
   */
  readonly resume?: PendingApproval
  /** A grant that the person gave since, for what a tool of `withConnection` was refused. */
  readonly approval?: string
}
