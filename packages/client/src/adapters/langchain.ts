import type { Passage, Question } from '@remit/contract/retrieval'
import { type DefinedTool, sessionOf, type Who } from './define-tool.ts'
import { jsonSchemaOf } from './schema.ts'

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

/** A passage in the shape of LangChain's `Document`. */
export interface LangChainDocument {
  readonly id: string
  pageContent: string
  metadata: Record<string, unknown>
}

/**
 * What a LangChain retriever's `_getRelevantDocuments` does, for whom it works. `question` holds the rest of
 * what to ask.
 */
export const langChainDocuments =
  (sessionSource: Who, question: Omit<Question, 'query' | 'embedding'> = {}) =>
  async (query: string): Promise<LangChainDocument[]> =>
    (await sessionOf(sessionSource).retrieve({ ...question, query })).results.map(documentOf)

function documentOf({ chunk_id: id, text: pageContent, ...about }: Passage): LangChainDocument {
  return { id, pageContent, metadata: { ...about } }
}
