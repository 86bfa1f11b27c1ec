import type {
  CallToolResult,
  InputRequiredResult,
  McpServer,
  ServerContext,
  StandardSchemaWithJSON,
  ToolAnnotations,
} from '@modelcontextprotocol/server'
import type { z } from 'zod'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { Principal, Scope } from '../../kernel/principal.ts'
import { firstIssue } from '../../kernel/validation-message.ts'
import { type Deadline, inTime } from '../../retrieval/deadline.ts'
import type { Call } from '../call.ts'
import { toolFailure } from '../failure.ts'
import type { ToolContext } from '../tool-context.ts'

/** A tool as it is listed, and how it is run. */
export interface Tool<Input extends z.ZodType> {
  /** Also as it stands in the record. */
  readonly name: string
  readonly title: string
  readonly description: string
  readonly scopes: readonly Scope[]
  readonly input: Input
  readonly output: StandardSchemaWithJSON
  readonly annotations: ToolAnnotations
  /** Whether its outcome has to be told however long it takes: what was sent may have happened. Default false. */
  readonly untimed?: boolean
}

/** One call of a tool, its arguments read. */
export interface ToolCall {
  /** Who asks, with the tool's name for the record. */
  readonly principal: Principal
  readonly deadline: Deadline
  readonly context: ServerContext
}

/** What a tool call gives: a result, or a question to the person. */
export type Outcome = CallToolResult | InputRequiredResult

/** Who asks, as the features get it: the principal, with the tool's name for the record. */
export async function asker(call: Call, tool: string, scopes: readonly Scope[]): Promise<Principal> {
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
 * field and txn.
 */
const listed = <Input extends z.ZodType>(input: Input): StandardSchemaWithJSON<unknown> => ({
  '~standard': { ...input['~standard'], validate: (value) => ({ value }) },
})

function read<Input extends z.ZodType>(input: Input, args: unknown): z.output<Input> {
  const parsed = input.safeParse(args)
  if (parsed.success) return parsed.data
  const { path, says } = firstIssue(parsed.error)
  throw invalid(path.join('.') || 'arguments', says)
}

/** Adds a tool, which runs to its end or the request's; what goes wrong in it is a result. */
export function addTool<Input extends z.ZodType>(
  server: McpServer,
  { call, challenge, ...toolContext }: ToolContext,
  { name, scopes, input, output, untimed = false, ...about }: Tool<Input>,
  answer: (parsedInput: z.output<Input>, toolCall: ToolCall) => Promise<Outcome>,
): void {
  const { deadline } = call
  server.registerTool(
    name,
    { ...about, inputSchema: listed(input), outputSchema: output, scopeChallenge: challenge(scopes) },
    async (args, context) => {
      try {
        const working = asker(call, name, scopes).then((principal) =>
          answer(read(input, args), { principal, deadline, context }),
        )
        return await (untimed ? working : inTime(deadline, working))
      } catch (error) {
        return toolFailure(error, toolContext)
      }
    },
  )
}
