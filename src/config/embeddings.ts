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
