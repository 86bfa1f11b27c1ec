import type {
  CallToolResult,
  InputRequiredResult,
  StandardSchemaWithJSON,
} from '@modelcontextprotocol/server'
import type { z } from 'zod'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { Principal, Scope } from '../../kernel/principal.ts'
import { firstIssue } from '../../kernel/validation-message.ts'
import { type Deadline, inTime } from '../../retrieval/deadline.ts'
import type { Call } from '../call.ts'
import { type FailureDeps, toolFailure } from '../failure.ts'

/** One call of a tool. */
export interface Run<Input extends z.ZodType> extends FailureDeps {
  readonly call: Call
  /** As it stands in the record. */
  readonly tool: string
  readonly scopes: readonly Scope[]
  readonly input: Input
  /** The arguments as they came. */
  readonly args: unknown
  /** Whether its outcome has to be told however long it takes: what was sent may have happened. Default false. */
  readonly untimed?: boolean
}

/** What a tool call gives: a result, or a question to the person. */
export type Outcome = CallToolResult | InputRequiredResult

/** Who asks, as the features get it: the principal, with the tool's name for the record. */
export async function asker({
  call,
  tool,
  scopes,
}: Pick<Run<never>, 'call' | 'tool' | 'scopes'>): Promise<Principal> {
  if (call.lacking(scopes) === undefined) return { ...call.principal, tool }
  // No challenge: the person would be asked again and again for what no consent of theirs gives.
  if (await call.isBeyond(scopes))
    throw new AppError('forbidden', {
      public: `This agent may not have ${scopes.join(' ')}, whatever the person agrees to. Do not ask them: go on without this tool.`,
    })
  // The challenge stands before this; should the library ever not ask for it, nothing is read all the same.
  throw new AppError('insufficient_scope')
}

/**
 * A tool's arguments as the library lists them, and hands on unread: it would refuse in a sentence of its own, without code,
 * field and txn. {@link run} reads them.
 */
export const listed = <Input extends z.ZodType>(input: Input): StandardSchemaWithJSON<unknown> => ({
  '~standard': { ...input['~standard'], validate: (value) => ({ value }) },
})

function read<Input extends z.ZodType>(input: Input, args: unknown): z.output<Input> {
  const parsed = input.safeParse(args)
  if (parsed.success) return parsed.data
  const { path, says } = firstIssue(parsed.error)
  throw invalid(path.join('.') || 'arguments', says)
}

/** Runs one tool to its end or the request's, and turns what went wrong into a result. */
export async function run<Input extends z.ZodType>(
  options: Run<Input>,
  answer: (parsedInput: z.output<Input>, principal: Principal, deadline: Deadline) => Promise<Outcome>,
): Promise<Outcome> {
  const { deadline } = options.call
  try {
    const working = asker(options).then((caller) =>
      answer(read(options.input, options.args), caller, deadline),
    )
    return await (options.untimed === true ? working : inTime(deadline, working))
  } catch (error) {
    return toolFailure(error, options)
  }
}
