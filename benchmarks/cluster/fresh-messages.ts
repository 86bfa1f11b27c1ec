import type { TokenOptions } from '../../test/support/issuer.ts'

/** A service is asked for a token. */
export interface Asked {
  readonly id: number
  readonly options: TokenOptions
}

/** It says where it is, once; then tokens. */
export type Told = { readonly url: string } | { readonly id: number; readonly token: string }

export const collection = 'shelf'
