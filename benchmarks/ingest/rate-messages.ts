import type { TokenOptions } from '../../test/support/issuer.ts'

/** What the service is asked by its parent. */
export type Asked =
  | { readonly kind: 'token'; readonly id: number; readonly options: TokenOptions }
  /** `collects`: after the memory that nothing holds was freed. */
  | { readonly kind: 'counts'; readonly id: number; readonly collects?: boolean }

/** Since the service started. */
export interface Counts {
  readonly statements: number
  readonly embeddings: number
  readonly megabytes: number
  /** Of that, what JavaScript holds, its buffers included. */
  readonly heldMegabytes: number
  readonly byStatement: Readonly<Record<string, number>>
}

/** What it answers. */
export type Told =
  | { readonly kind: 'ready'; readonly url: string }
  | { readonly kind: 'token'; readonly id: number; readonly token: string }
  | ({ readonly kind: 'counts'; readonly id: number } & Counts)

export const collection = 'shelf'
export const folder = 'folder:shelf/all'
