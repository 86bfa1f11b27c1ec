// Types alone, so that whoever reads them needs no zod. `vault-schemas.ts` has the schemas; a type test holds
// both together.

/** What `POST /vault/fetch` takes: one call to an API of others. */
export interface VaultRequest {
  /** Name of the provider. */
  readonly connection: string
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** At the provider's API, with its query, as it is to be sent. */
  readonly path: string
  /** `accept`, `content-type` and a few more; no credentials, which are the vault's. */
  readonly headers?: Readonly<Record<string, string>>
  /** Text, sent in UTF-8. */
  readonly body?: string
  /** Bytes, instead of `body`. */
  readonly body_base64?: string
  /** A grant that the person gave for exactly this call. */
  readonly approval?: string
}

/** What the provider answered. */
export interface VaultAnswer {
  /** The provider's, whatever it is. */
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly encoding: 'text' | 'base64'
  readonly txn: string
}
