import type { FunctionCall, OpenAiTools, ToolMessage } from '@remit/client'
import OpenAI from 'openai'

export type Message =
  | { readonly role: 'system' | 'user'; readonly content: string }
  | { readonly role: 'assistant'; readonly content: string | null; readonly tool_calls?: FunctionToolCall[] }
  | ToolMessage

export type FunctionToolCall = FunctionCall & { readonly type: 'function' }

export interface Model {
  readonly title: string
  /** What it says next: words, or tools to call. */
  next(
    messages: readonly Message[],
    tools: OpenAiTools['tools'],
  ): Promise<Message & { readonly role: 'assistant' }>
}

export interface OpenAiOptions {
  readonly baseURL: string
  readonly model: string
  /** Local servers need none. */
  readonly apiKey: string
}

/** Whatever speaks OpenAI's chat completions with tools. */
export function openAiModel({ baseURL, model, apiKey }: OpenAiOptions): Model {
  const client = new OpenAI({ baseURL, apiKey })
  return {
    title: `${model} at ${new URL(baseURL).host}`,
    async next(messages, tools) {
      const { choices } = await client.chat.completions
        .create({ model, messages: [...messages], tools })
        .catch((error: unknown) => {
          throw error instanceof OpenAI.OpenAIError ? new ModelFailed(error.message, { cause: error }) : error
        })
      const said = choices[0]?.message
      const calls = said?.tool_calls?.filter((call) => call.type === 'function') ?? []
      return {
        role: 'assistant',
        content: said?.content ?? '',
        ...(calls.length > 0 && { tool_calls: calls }),
      }
    },
  }
}

/** The model gave no answer: what it says about that is for the person. */
export class ModelFailed extends Error {
  override readonly name = 'ModelFailed'
}
