import { isId } from '@remit/contract/id'
import { z } from 'zod'
import { roles } from '../delegation/administration/administrators.ts'

const id = z.string().refine(isId, 'is not an id')
const text = z.string().trim().min(1)
const collection = idOf('collection')
const folder = idOf('folder')
const person = idOf('user')
const agent = idOf('agent')
const organization = idOf('organization')

const group = z.string().regex(/^group:[A-Za-z0-9-]+#member$/)
const members = z.string().regex(/^organization:[A-Za-z0-9-]+#member$/)

/** Whole days only, `P14D`: a sample's expiry needs nothing finer, and a month is not a fixed length. */
const duration = z.string().regex(/^P[1-9][0-9]{0,3}D$/, 'is not a period of whole days such as P14D')

// No `user:*`: whoever has no membership and no grant must see nothing at all in the demo.
const subject = z.union([person, group, members])
const viewer = z.union([subject, z.strictObject({ user: z.union([person, group]), expires_in: duration })])
const viewers = z.array(viewer).default([])
const parent = z.union([folder, collection])

/** `company.yaml`: everything but the documents. */
export const companySchema = z.strictObject({
  organization: z.strictObject({
    id,
    title: text,
    admins: z.array(person),
    members: z.array(z.union([person, group])),
  }),
  /** The question with which the demo is shown. */
  question: text,
  fields: z.record(z.string().regex(/^[a-z][a-z0-9_]*$/), z.enum(['string', 'number', 'boolean', 'date'])),
  people: z.array(z.strictObject({ id, name: text, role: text })),
  groups: z.array(z.strictObject({ id, members: z.array(z.union([person, group])).min(1) })),
  collections: z.array(
    z.strictObject({
      id,
      title: text,
      public_allowed: z.boolean().default(false),
      sensitive: z.boolean().default(false),
      viewers,
    }),
  ),
  folders: z.array(
    z.strictObject({
      id,
      collection: id,
      parent: parent.optional(),
      sensitive: z.boolean().default(false),
      viewers,
    }),
  ),
  agents: z.array(z.strictObject({ id, owner: person, purpose: text })),
  delegations: z.array(
    z.strictObject({
      id,
      subject: person,
      agent,
      scope: z.array(z.union([organization, collection, folder, idOf('document')])).min(1),
      sub_agents: z.array(agent).default([]),
      purpose: text,
      expires_in: duration,
    }),
  ),
  administrators: z.array(z.strictObject({ subject: person, roles: z.array(z.enum(roles)).min(1) })),
  services: z.array(
    z.strictObject({
      id: idOf('service'),
      scopes: z.array(z.enum(['docs.write', 'directory.write'])).min(1),
      collections: z.array(id).min(1),
      directory_prefixes: z.array(text),
    }),
  ),
})

/** The YAML between the `---` lines at the head of a document. */
export const headSchema = z.strictObject({
  id,
  title: text,
  updated_at: z.iso.datetime(),
  access: z.strictObject({
    owner: person,
    viewers,
    parents: z.array(parent).default([]),
    blocked: z.array(z.union([person, group])).default([]),
    sensitive: z.boolean().default(false),
  }),
  metadata: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
})

export type Company = z.infer<typeof companySchema>
export type Head = z.infer<typeof headSchema>
export type Viewer = z.infer<typeof viewer>
export interface RawDocument {
  /** Where the file lies below `documents/`, with `/`. */
  readonly path: string
  readonly head: Head
  readonly text: string
}

function idOf<const Type extends string>(type: Type) {
  const isOne = (value: unknown): value is `${Type}:${string}` =>
    typeof value === 'string' && value.startsWith(`${type}:`) && isId(value.slice(type.length + 1))
  return z.custom<`${Type}:${string}`>(isOne, `is not ${type}:ID`)
}
