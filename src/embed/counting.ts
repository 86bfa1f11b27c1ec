import { readTokens } from './tokens.ts'

/** How an embedder counts tokens, as data, so that another thread can count alike. */
export type Counting =
  /** By the tokenizer of a model folder, exactly. */
  | { readonly kind: 'model'; readonly folder: string }
  /** So many characters or bytes of UTF-8 are a token, and each text has so many marks beside. */
  | {
      readonly kind: 'estimate'
      readonly of: 'characters' | 'bytes'
      readonly perToken: number
      readonly marks: number
    }

/** Throws where the model's folder cannot be read. */
export function createCounter(counting: Counting): (text: string) => number {
  if (counting.kind === 'model') return readTokens(counting.folder).count
  const { of: unit, perToken, marks } = counting
  return (text) => Math.ceil((unit === 'bytes' ? Buffer.byteLength(text) : text.length) / perToken) + marks
}
