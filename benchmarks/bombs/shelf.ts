import type { TokenOptions } from '../../test/support/issuer.ts'

/** What the process of the service says to that of its clients. */
export type Told =
  | { readonly kind: 'ready'; readonly url: string; readonly backend: string }
  | { readonly kind: 'token'; readonly id: number; readonly token: string }
  /**
   * Megabytes that live in the main thread while nobody asks and no document is under way; undefined where
   * one still is.
   */
  | { readonly kind: 'rest'; readonly live: number | undefined }
  | {
      readonly kind: 'state'
      /** Of the whole process. */
      readonly megabytes: number
      /**
       * Of the main thread's heap and buffers right after everything dead was collected; every tenth state
       * has it.
       */
      readonly live?: number
      readonly delayMs: number
    }

export type Asked =
  | { readonly kind: 'token'; readonly id: number; readonly options: TokenOptions }
  | { readonly kind: 'rest' }

export const documents = 200
export const collection = 'shelf'
