import type { vaultRequestSchema } from '@remit/contract/vault-schemas'
import type { z } from 'zod'
import type { VaultRequest } from './fetch.ts'

/** From the JSON of a request that its schema has validated. */
export const toVaultRequest = ({
  body: text,
  body_base64: bytes,
  headers = {},
  approval,
  ...call
}: z.output<typeof vaultRequestSchema>): VaultRequest => ({
  ...call,
  headers,
  ...(text !== undefined && { body: Buffer.from(text) }),
  ...(bytes !== undefined && { body: Buffer.from(bytes, 'base64') }),
  ...(approval !== undefined && { approval }),
})
