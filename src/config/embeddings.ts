import { homedir } from 'node:os'
import { resolve } from 'node:path'
import { count, httpUrl, text } from './forms.ts'
import { group } from './group.ts'

/** Settings of the embeddings. */
export type EmbeddingsConfig =
  | {
      readonly kind: 'remote'
      readonly baseUrl: string
      readonly model: string
      readonly apiKey: string | undefined
      readonly dimensions: number
      /** Of one call; what is left out has a default. */
      readonly limits: { readonly inputs?: number; readonly tokens?: number; readonly bytes?: number }
    }
  | { readonly kind: 'local'; readonly modelPath: string | undefined; readonly cacheDir: string }

/** What makes vectors of texts. */
export const embeddings = group({
  settings: {
    EMBEDDINGS_BASE_URL: httpUrl
      .optional()
      .describe('OpenAI-compatible endpoint for embeddings. Without it a local model is used.'),
    EMBEDDINGS_MODEL: text.optional().describe('Model at that endpoint. Required with EMBEDDINGS_BASE_URL.'),
    EMBEDDINGS_API_KEY: text.optional().describe('Key for that endpoint.'),
    EMBEDDINGS_DIMENSIONS: count(1)
      .max(2_000)
      .optional()
      .describe('Numbers in one of its vectors. Required with EMBEDDINGS_BASE_URL.'),
    EMBEDDINGS_CALL_INPUTS: count(1)
      .optional()
      .describe('Passages that one call may have at that endpoint. Default 128.'),
    EMBEDDINGS_CALL_TOKENS: count(1)
      .optional()
      .describe('Tokens that one call may have, estimated as UTF-8 bytes / 3. Default 100000.'),
    EMBEDDINGS_CALL_BYTES: count(1)
      .optional()
      .describe('Bytes that the passages of one call may have. Default 1000000.'),
    EMBEDDINGS_MODEL_PATH: text
      .optional()
      .describe('Folder with the local model (model.onnx, tokenizer.json), where it cannot be fetched.'),
    EMBEDDINGS_CACHE: text.optional().describe('Folder for fetched model weights. Default ~/.cache/remit.'),
  },
  read: (value): { readonly embeddings: EmbeddingsConfig } => ({
    embeddings:
      value.EMBEDDINGS_BASE_URL === undefined
        ? {
            kind: 'local',
            modelPath: value.EMBEDDINGS_MODEL_PATH,
            cacheDir: resolve(value.EMBEDDINGS_CACHE ?? `${homedir()}/.cache/remit`),
          }
        : {
            kind: 'remote',
            baseUrl: value.EMBEDDINGS_BASE_URL,
            model: value.EMBEDDINGS_MODEL ?? '',
            apiKey: value.EMBEDDINGS_API_KEY,
            dimensions: value.EMBEDDINGS_DIMENSIONS ?? 0,
            limits: {
              ...(value.EMBEDDINGS_CALL_INPUTS !== undefined && { inputs: value.EMBEDDINGS_CALL_INPUTS }),
              ...(value.EMBEDDINGS_CALL_TOKENS !== undefined && { tokens: value.EMBEDDINGS_CALL_TOKENS }),
              ...(value.EMBEDDINGS_CALL_BYTES !== undefined && { bytes: value.EMBEDDINGS_CALL_BYTES }),
            },
          },
  }),
  contradictions: ({ EMBEDDINGS_BASE_URL, EMBEDDINGS_MODEL, EMBEDDINGS_DIMENSIONS }) => [
    {
      isSo: EMBEDDINGS_BASE_URL !== undefined && EMBEDDINGS_MODEL === undefined,
      of: ['EMBEDDINGS_MODEL'],
      problem: 'EMBEDDINGS_MODEL is required with EMBEDDINGS_BASE_URL',
    },
    {
      isSo: EMBEDDINGS_BASE_URL !== undefined && EMBEDDINGS_DIMENSIONS === undefined,
      of: ['EMBEDDINGS_DIMENSIONS'],
      problem: 'EMBEDDINGS_DIMENSIONS is required with EMBEDDINGS_BASE_URL',
    },
  ],
})
