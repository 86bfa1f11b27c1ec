import { type DefinedTool, sessionOf, type Who } from './define-tool.ts'
import type { InputSchema } from './schema.ts'

/** A tool as the AI SDK's `tools` takes it. `execute` throws what the tool throws. */
export interface AiTool<Args, Result> {
  readonly description: string
  readonly inputSchema: InputSchema<Args>
  readonly execute: (
    input: Args,
    options?: { readonly abortSignal?: AbortSignal | undefined },
  ) => Promise<Result>
}

/**
 * A tool for the Vercel AI SDK (`tools: {buy: aiTool(buy, session)}`), bound to whom it works for. What it
 * throws becomes a `tool-error` part, in which the app finds it as it was thrown
 * (`isRemitError(part.error, 'approval_pending')`).
 */
export const aiTool = <Args, Result>(
  tool: DefinedTool<Args, Result>,
  sessionSource: Who,
): AiTool<Args, Result> => ({
  description: tool.description,
  inputSchema: tool.input,
  execute: async (input, options) =>
    tool.call(input, sessionOf(sessionSource), { signal: options?.abortSignal }),
})
