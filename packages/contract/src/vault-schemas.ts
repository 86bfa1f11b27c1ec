import { z } from 'zod'
import { id } from './id.ts'

/** Methods that a call to an API of others may have. */
export const callMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const
/** Characters of a call's path, its query included. */
export const pathLengthMax = 2_048
/** Characters of a body that a person is shown before they agree; a longer one is a digest to them. */
export const shownBodyMax = 8_192

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
