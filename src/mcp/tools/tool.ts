import type { CallToolResult, InputRequiredResult } from '@modelcontextprotocol/server'
import { AppError } from '../../kernel/errors.ts'
import type { Principal, Scope } from '../../kernel/principal.ts'
import { type Deadline, inTime } from '../../retrieval/deadline.ts'
import type { Call } from '../call.ts'
import { type FailureDeps, toolFailure } from '../failure.ts'

export interface Run extends FailureDeps {
  readonly call: Call
  /** As it stands in the record. */
  readonly tool: string
  readonly scopes: readonly Scope[]
  /** Whether its outcome has to be told however long it takes: what was sent may have happened. Default false. */
  readonly untimed?: boolean
}

export type Outcome = CallToolResult | InputRequiredResult

/** Who asks, as the features get it: the principal, with the tool's name for the record. */
export function asker({ call, tool, scopes }: Pick<Run, 'call' | 'tool' | 'scopes'>): Principal {
  // The challenge stands before this; should the library ever not ask for it, nothing is read all the same.
  if (call.lacking(scopes) !== undefined) throw new AppError('insufficient_scope')
  return { ...call.principal, tool }
}

/** Runs one tool to its end or the request's, and turns what went wrong into a result. */
export async function run(
  options: Run,
  work: (principal: Principal, deadline: Deadline) => Promise<Outcome>,
): Promise<Outcome> {
  const { deadline } = options.call
  try {
    const working = work(asker(options), deadline)
    return await (options.untimed === true ? working : inTime(deadline, working))
  } catch (error) {
    return toolFailure(error, options)
  }
}
