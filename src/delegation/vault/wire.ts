import type { vaultAnswerSchema, vaultRequestSchema } from '@remit/contract/vault-schemas'
import type { z } from 'zod'
import type { VaultAnswer } from './answer.ts'
import type { VaultRequest } from './fetch.ts'

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

export const toVaultAnswer = (answered: VaultAnswer, txn: string): z.output<typeof vaultAnswerSchema> => ({
  ...answered,
  headers: { ...answered.headers },
  txn,
})
