import type { Directory } from '../directories.ts'
import type { AttributeDefinition, Attributes } from './attributes.ts'
import { invalidValue } from './errors.ts'
import { bodyBytesMax, bulkOperationsMax, pageMax } from './limits.ts'

/** The two kinds of resource, as they stand in paths. */
export const resourceTypes = ['Users', 'Groups'] as const
/** `Users` or `Groups`. */
export type ResourceType = (typeof resourceTypes)[number]

/** URN of the schema of each kind (RFC 7643 §4). */
export const schemaOf: Readonly<Record<ResourceType, string>> = {
  Users: 'urn:ietf:params:scim:schemas:core:2.0:User',
  Groups: 'urn:ietf:params:scim:schemas:core:2.0:Group',
}

/** The name of a kind, as `meta.resourceType` says it. */
export const nameOf: Readonly<Record<ResourceType, string>> = { Users: 'User', Groups: 'Group' }

const attribute = (
  name: string,
  description: string,
  more: Partial<AttributeDefinition> = {},
): AttributeDefinition => ({
  name,
  type: 'string',
  multiValued: false,
  description,
  required: false,
  caseExact: false,
  mutability: 'readWrite',
  returned: 'default',
  uniqueness: 'none',
  ...more,
})

const externalId = attribute('externalId', 'The directory’s own id of it.', { caseExact: true })
const displayName = attribute('displayName', 'Its name for people to read.')

const userAttributes: readonly AttributeDefinition[] = [
  attribute('userName', 'The name to sign in with at the directory.', {
    required: true,
    uniqueness: 'server',
  }),
  attribute('name', 'The parts of the person’s name.', {
    type: 'complex',
    subAttributes: [
      attribute('formatted', 'The whole name.'),
      attribute('familyName', 'The family name.'),
      attribute('givenName', 'The given name.'),
    ],
  }),
  displayName,
  attribute('active', 'Whether the person may sign in. False ends what they had, for good.', {
    type: 'boolean',
    // Never a guess: what is absent would let somebody in, or shut them out.
    required: true,
  }),
  attribute('emails', 'Addresses. The primary one may say whose an account of a source is.', {
    type: 'complex',
    multiValued: true,
    subAttributes: [
      attribute('value', 'The address.'),
      attribute('display', 'As it is shown.'),
      attribute('type', 'work, home or other.'),
      attribute('primary', 'Whether it is the one to use.', { type: 'boolean' }),
    ],
  }),
  externalId,
]

const groupAttributes: readonly AttributeDefinition[] = [
  { ...displayName, required: true },
  attribute('members', 'Who is in it: users, and groups whose members are in it too.', {
    type: 'complex',
    multiValued: true,
    subAttributes: [
      attribute('value', 'The id of the member.', { caseExact: true, mutability: 'immutable' }),
      attribute('$ref', 'Its address.', {
        type: 'reference',
        caseExact: true,
        mutability: 'immutable',
        referenceTypes: ['User', 'Group'],
      }),
      attribute('type', 'User or Group.', {
        mutability: 'readOnly',
        canonicalValues: ['User', 'Group'],
      }),
    ],
  }),
  externalId,
]

/** What a client may write of a kind, in this directory: the attribute that is the key never changes. */
export const attributesOf = (
  type: ResourceType,
  { keyAttribute }: Pick<Directory, 'keyAttribute'>,
): readonly AttributeDefinition[] =>
  type === 'Groups'
    ? groupAttributes
    : userAttributes.map((definition) =>
        definition.name === keyAttribute
          ? { ...definition, required: true, mutability: 'immutable', uniqueness: 'server' }
          : definition,
      )

const commonAttributes: readonly AttributeDefinition[] = [
  attribute('id', 'Remit’s id of it.', { caseExact: true, mutability: 'readOnly', uniqueness: 'server' }),
  attribute('schemas', 'Its schemas.', { mutability: 'readOnly', caseExact: true }),
  attribute('meta', 'What Remit says of it.', {
    type: 'complex',
    mutability: 'readOnly',
    subAttributes: [
      attribute('resourceType', 'Its kind.', { caseExact: true, mutability: 'readOnly' }),
      attribute('created', 'When it was made.', { type: 'dateTime', mutability: 'readOnly' }),
      attribute('lastModified', 'When it was last changed.', { type: 'dateTime', mutability: 'readOnly' }),
      attribute('version', 'Its ETag.', { caseExact: true, mutability: 'readOnly' }),
    ],
  }),
]

/** What a filter may ask of a kind. */
export const filterable = (type: ResourceType, directory: Directory): readonly AttributeDefinition[] => [
  ...attributesOf(type, directory),
  ...commonAttributes,
]

/** Throws `invalidValue` for the first required attribute that is absent or empty. */
export function assertRequired(definitions: readonly AttributeDefinition[], attributes: Attributes): void {
  const missing = definitions.find(({ name, required }) => required && isEmpty(attributes[name]))
  if (missing !== undefined) throw invalidValue(missing.name, 'is required.')
}

const isEmpty = (value: unknown): boolean =>
  value === undefined || (typeof value === 'string' && value.trim() === '')

/** `/ServiceProviderConfig` (RFC 7643 §5). */
export const serviceProviderConfig = (baseUrl: string): object => ({
  schemas: ['urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig'],
  patch: { supported: true },
  bulk: { supported: true, maxOperations: bulkOperationsMax, maxPayloadSize: bodyBytesMax },
  filter: { supported: true, maxResults: pageMax },
  changePassword: { supported: false },
  sort: { supported: false },
  etag: { supported: true },
  authenticationSchemes: [
    {
      type: 'oauthbearertoken',
      name: 'Bearer token',
      description: 'A token of `remit directory token`, in the Authorization header.',
      primary: true,
    },
  ],
  meta: { resourceType: 'ServiceProviderConfig', location: `${baseUrl}/ServiceProviderConfig` },
})

/** One of `/ResourceTypes` (RFC 7643 §6). */
export const resourceTypeOf = (type: ResourceType, baseUrl: string): object => ({
  schemas: ['urn:ietf:params:scim:schemas:core:2.0:ResourceType'],
  id: nameOf[type],
  name: nameOf[type],
  description: type === 'Users' ? 'People of the issuer.' : 'Groups of people.',
  endpoint: `/${type}`,
  schema: schemaOf[type],
  schemaExtensions: [],
  meta: { resourceType: 'ResourceType', location: `${baseUrl}/ResourceTypes/${nameOf[type]}` },
})

/** One of `/Schemas` (RFC 7643 §7), as it is for this directory. */
export const schemaResourceOf = (type: ResourceType, directory: Directory, baseUrl: string): object => ({
  schemas: ['urn:ietf:params:scim:schemas:core:2.0:Schema'],
  id: schemaOf[type],
  name: nameOf[type],
  description: type === 'Users' ? 'A person of the issuer.' : 'A group of people.',
  attributes: attributesOf(type, directory),
  meta: { resourceType: 'Schema', location: `${baseUrl}/Schemas/${schemaOf[type]}` },
})

/** The kind whose schema or name this is, if any. */
export const typeCalled = (name: string): ResourceType | undefined =>
  resourceTypes.find((type) => nameOf[type] === name || schemaOf[type] === name)
