import { RemitError } from '../errors/error.ts'
import type { Session } from '../service/session.ts'
import type { ToolCall, WrappedTool } from '../tools/tool.ts'
import type { InputSchema, Validated } from './schema.ts'

/** A tool before it is bound to an adapter: its name, its arguments' schema and what it does. */
export interface ToolDefinition<Args, Result> {
  /** As the model calls it: letters, digits, `_` and `-`. */
  readonly name: string
  /** For the model. */
  readonly description: string
  readonly input: InputSchema<Args>
  readonly run: WrappedTool<Args, Result>
}

/** A tool as a framework wants it described, which is called with whatever a model made up. */
export interface DefinedTool<Args, Result> {
  readonly name: string
  readonly description: string
  readonly input: InputSchema<Args>
  /**
   * @throws RemitError `invalid_arguments` for arguments that are none of this tool's; whatever the tool
   * throws.
   */
  call(input: unknown, session: Session, options?: ToolCall): Promise<Result>
}

/**
 * Whom a tool is called for: one session, or whoever the conversation is with (`conversations().current`).
 */
export type Who = Session | (() => Session)

/** The session at the time of a call, where an adapter was given a function. */
export const sessionOf = (sessionSource: Who): Session =>
  typeof sessionSource === 'function' ? sessionSource() : sessionSource

/**
 * A tool whose arguments are checked against its schema before it runs. Throws TypeError for a name that
 * models cannot call.
 */
export function defineTool<Args, Result>(
  definition: ToolDefinition<Args, Result>,
): DefinedTool<Args, Result> {
  const { name, description, input, run } = definition
  if (!/^[\w-]{1,64}$/.test(name)) throw new TypeError(`${name} is no name of a tool.`)
  return {
    name,
    description,
    input,
    async call(rawArgs, session, options) {
      const validated = await input['~standard'].validate(rawArgs)
      if (validated.issues !== undefined) throw badArguments(validated.issues)
      return run(validated.value, session, options)
    },
  }
}

function badArguments(issues: NonNullable<Validated<unknown>['issues']>): RemitError {
  const [firstIssue] = issues
  const path = (firstIssue?.path ?? [])
    .map((step) => String(typeof step === 'object' ? step.key : step))
    .join('.')
  const errorFacts = { message: firstIssue?.message, ...(path !== '' && { field: path }) }
  return new RemitError('invalid_arguments', errorFacts, {})
}
