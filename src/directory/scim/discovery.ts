import type { Directory } from '../directories.ts'
import { bodyBytesMax, bulkOperationsMax, pageMax } from './limits.ts'
import { attributesOf, nameOf, type ResourceType, resourceTypes, schemaOf } from './schemas.ts'

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
