import { id } from '@remit/contract/id'
import { z } from 'zod'
import type { VaultAnswer } from './answer.ts'
import { callMethods } from './call.ts'
import type { VaultRequest } from './fetch.ts'
import { pathLengthMax } from './path.ts'

/** One call to an API of others, as every face takes it. */
export const vaultRequestSchema = z
  .strictObject({
    connection: id.meta({ description: 'Name of the provider', examples: ['github'] }),
    method: z.enum(callMethods),
    path: z
      .string()
      .min(1)
      .max(pathLengthMax)
      .meta({
        description:
          'At the provider’s API, with its query, as it is to be sent. With one of its origins before it where it has several.',
        examples: ['/repos/acme/site/issues?state=open'],
      }),
    headers: z
      .record(z.string().min(1).max(100), z.string().max(1_000))
      .optional()
      .describe('accept, accept-language, content-type, if-…; no others'),
    body: z
      .string()
      .refine((value) => value.isWellFormed(), 'must not hold lone surrogates')
      .optional()
      .describe('Text, sent in UTF-8; needs a content-type'),
    body_base64: z.base64().optional().describe('Bytes, instead of body'),
    approval: z
      .string()
      .regex(/^g_[\w-]{1,100}$/)
      .optional()
      .describe('`grant_id` of an approval of exactly this call'),
  })
  .refine((value) => value.body === undefined || value.body_base64 === undefined, {
    path: ['body_base64'],
    message: 'is instead of body, not beside it',
  })

/** What the provider answered, as every face gives it on. */
export const vaultAnswerSchema = z.strictObject({
  status: z.int().meta({ description: 'The provider’s, whatever it is', examples: [200] }),
  headers: z.record(z.string(), z.string()),
  body: z.string().describe('Tokens in it are replaced by `[removed]`'),
  encoding: z.enum(['text', 'base64']),
  txn: z.string(),
})

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
