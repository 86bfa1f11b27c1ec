import type { Question } from '@remit/contract/retrieval'
import { Unavailable } from '../errors/kinds.ts'
import { isRemitError } from '../errors/make.ts'
import type { RetrieveAnswer } from '../shared/answers.ts'
import { parsedJson } from '../shared/json.ts'
import type { ToolCall } from '../tools/tool.ts'
import { type DefinedTool, sessionOf, type Who } from './define-tool.ts'
import { type InputSchema, jsonSchemaOf } from './schema.ts'

/** A tool as the AI SDK's `tools` takes it. `execute` throws what the tool throws. */
export interface AiTool<Args, Result> {
  readonly description: string
  readonly inputSchema: InputSchema<Args>
  readonly execute: (
    input: Args,
    options?: { readonly abortSignal?: AbortSignal | undefined },
  ) => Promise<Result>
}

/** The two arguments of LangChain's `tool()`: the function, and the fields that describe it. */
export interface LangChainTool<Result> {
  readonly func: (input: unknown, config?: { readonly signal?: AbortSignal | undefined }) => Promise<Result>
  readonly fields: {
    readonly name: string
    readonly description: string
    readonly schema: Record<string, unknown>
  }
}

/**
 * A passage in the shape of LangChain's `Document`. `metadata` has the rest of the passage, and of its answer
 * `complete`, `scope_key` and `txn`: whatever you cache of an answer, keep it under `scope_key`.
 */
export interface LangChainDocument {
  readonly id: string
  pageContent: string
  metadata: Record<string, unknown>
}

/** One entry of `tools` in a request to the Chat Completions API. */
interface FunctionTool {
  readonly type: 'function'
  readonly function: {
    readonly name: string
    readonly description: string
    readonly parameters: Record<string, unknown>
  }
}

/** One of `message.tool_calls` of a chat completion. */
export interface FunctionCall {
  readonly id: string
  readonly function: { readonly name: string; readonly arguments: string }
}

/** The message that answers a tool call in the Chat Completions API. */
export interface ToolMessage {
  readonly role: 'tool'
  readonly tool_call_id: string
  readonly content: string
}

export interface OpenAiTools {
  /** For `tools` of a request. */
  readonly tools: FunctionTool[]
  /**
   * Does what the model called, and gives the message with its result. What a model can mend (a tool that is
   * not there, wrong arguments, a document that is not found) is told to it. Everything else is thrown, to
   * the app: a denial, a question that waits, an account to link. None of that is content for a model.
   */
  answer(call: FunctionCall, options?: ToolCall): Promise<ToolMessage>
}

const forTheModel = new Set(['unknown_tool', 'invalid_arguments', 'invalid_request', 'not_found'])

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

/**
 * What LangChain's `tool(func, fields)` takes, bound to whom it works for. What it throws goes through
 * `invoke`.
 */
export const langChainTool = <Result>(
  tool: DefinedTool<unknown, Result>,
  sessionSource: Who,
): LangChainTool<Result> => ({
  func: async (input, config) => tool.call(input, sessionOf(sessionSource), { signal: config?.signal }),
  fields: { name: tool.name, description: tool.description, schema: jsonSchemaOf(tool.input) },
})

/**
 * What a LangChain retriever's `_getRelevantDocuments` does, for whom it works. `question` holds the rest of
 * what to ask.
 *
 * @throws Unavailable where an answer was cut short before anything was found: that is not "nothing there".
 */
export const langChainDocuments =
  (sessionSource: Who, question: Omit<Question, 'query' | 'embedding'> = {}) =>
  async (query: string): Promise<LangChainDocument[]> =>
    documentsOf(await sessionOf(sessionSource).retrieve({ ...question, query }))

function documentsOf({ results, complete, scope_key, txn }: RetrieveAnswer): LangChainDocument[] {
  if (results.length === 0 && !complete)
    throw new Unavailable(
      'unavailable',
      { message: 'The search was cut short before it found anything.', txn, retryAfter: 1 },
      {},
    )
  return results.map(({ chunk_id: id, text: pageContent, ...about }) => ({
    id,
    pageContent,
    metadata: { ...about, complete, scope_key, txn },
  }))
}

/** Tools for OpenAI's chat completions, and for whatever speaks them, bound to whom they work for. */
export function openAiTools(
  defined: readonly DefinedTool<unknown, unknown>[],
  sessionSource: Who,
): OpenAiTools {
  const byName = new Map(defined.map((tool) => [tool.name, tool]))
  if (byName.size !== defined.length) throw new TypeError('Two tools have one name.')

  async function run({ function: { name, arguments: text } }: FunctionCall, options?: ToolCall) {
    const tool = byName.get(name)
    if (tool === undefined) return { error: 'unknown_tool' }
    try {
      return await tool.call(parsedJson(text), sessionOf(sessionSource), options)
    } catch (error) {
      if (isRemitError(error) && forTheModel.has(error.code))
        return { error: error.code, message: error.message }
      throw error
    }
  }

  return {
    tools: defined.map(({ name, description, input }) => ({
      type: 'function',
      function: { name, description, parameters: jsonSchemaOf(input) },
    })),
    answer: async (call, options) => ({
      role: 'tool',
      tool_call_id: call.id,
      content: JSON.stringify((await run(call, options)) ?? null),
    }),
  }
}
