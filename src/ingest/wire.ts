import { isId } from '@remit/contract/id'
import { instant } from '@remit/contract/instant'
import { named, text } from '@remit/contract/text'
import { z } from 'zod'

/** Most subjects in one list of a document's access. */
const subjectsMax = 1_000

const id = z.string().refine(isId, 'must be an id of the contract')

/** `type:id`, or `type:id#relation` where `relation` is given. */
const subject = (types: Readonly<Record<string, string | undefined>>, message: string) =>
  z.string().refine((value) => {
    const colon = value.indexOf(':')
    const type = value.slice(0, colon)
    if (colon < 1 || !Object.hasOwn(types, type)) return false
    const relation = types[type]
    const [name = '', suffix, ...excess] = value.slice(colon + 1).split('#')
    return isId(name) && suffix === relation && excess.length === 0
  }, message)

const viewer = z.union([
  z.literal('user:*'),
  subject(
    { user: undefined, group: 'member', organization: 'member' },
    'must be user:ID, user:*, group:ID#member or organization:ID#member',
  ),
])
const expiring = subject({ user: undefined, group: 'member' }, 'must be user:ID or group:ID#member')

/** Who may read a document, and what narrows that. Left out: nobody. */
export const accessSchema = z.strictObject({
  owner: subject({ user: undefined }, 'must be user:ID').optional(),
  viewers: z
    .array(z.union([viewer, z.strictObject({ user: expiring, expires_at: instant })]))
    .max(subjectsMax)
    .optional(),
  parents: z
    .array(
      subject(
        { folder: undefined, zone: undefined, collection: undefined },
        'must be folder:ID, zone:ID or collection:ID',
      ),
    )
    .max(subjectsMax)
    .optional(),
  blocked: z.array(expiring).max(subjectsMax).optional(),
  sensitive: z.boolean().optional(),
})
/** Who may read a document, as a service states it. */
export type Access = z.infer<typeof accessSchema>

const scalar = z.union([text(0, 2_000), z.number(), z.boolean()])
const metadata = named(
  z.union(
    [scalar, z.array(scalar).max(100)],
    'must be a string, a number, a boolean or a list of at most 100 of those',
  ),
  64,
)

const documentMembers = z.strictObject({
  id,
  collection: id,
  title: text(1, 1_000),
  uri: text(1, 2_000).optional(),
  text: text(0, 50_000_000).optional(),
  content_base64: z.base64().optional(),
  /** Needed with content_base64; text is text/markdown unless it says otherwise. */
  mime_type: z
    .string()
    .regex(/^[a-z0-9.+-]{1,100}\/[a-z0-9.+-]{1,100}$/)
    .optional(),
  metadata: metadata.optional(),
  updated_at: instant.optional(),
  version: z.int().min(0).optional(),
  access: accessSchema.default({}),
})

const hasOneContent = (input: {
  readonly text?: string | undefined
  readonly content_base64?: string | undefined
}): boolean => (input.text === undefined) !== (input.content_base64 === undefined)
const oneContent = { path: ['text'], message: 'exactly one of text and content_base64 is needed' }

interface Typed {
  readonly content_base64?: string | undefined
  readonly mime_type?: string | undefined
}
const isTyped = ({ content_base64, mime_type }: Typed): boolean =>
  content_base64 === undefined || mime_type !== undefined
const typed = { path: ['mime_type'], message: 'is needed with content_base64' }

/** A document as sources send it. Exactly one of `text` and `content_base64`. */
export const documentSchema = documentMembers.refine(hasOneContent, oneContent).refine(isTyped, typed)
/** A document, as a service sends it. */
export type DocumentInput = z.infer<typeof documentSchema>

/** The same where the path names it; an id in the body must say the same. */
export const documentBodySchema = documentMembers
  .partial({ id: true })
  .refine(hasOneContent, oneContent)
  .refine(isTyped, typed)

/** The type of the content; text is Markdown unless it says otherwise. */
export const mimeTypeOf = ({ mime_type = 'text/markdown' }: DocumentInput): string => mime_type

/** The bytes to parse: a copy, made each time. */
export const bytesOf = ({ text = '', content_base64 }: DocumentInput): Uint8Array =>
  content_base64 === undefined ? Buffer.from(text) : Buffer.from(content_base64, 'base64')
