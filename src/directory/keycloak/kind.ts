import { z } from 'zod'
import { defineDirectoryKind } from '../reading/kind.ts'
import { readKeycloak } from './reading.ts'

const loopbackHosts: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost'])

/** An origin by https, or by http on loopback. */
function isServer(value: string): boolean {
  const url = URL.parse(value)
  return (
    url !== null &&
    url.origin === value &&
    (url.protocol === 'https:' || (url.protocol === 'http:' && loopbackHosts.has(url.hostname)))
  )
}

/** What one has to say of a realm. */
export const keycloakSettings = z.strictObject({
  url: z.string().refine(isServer, { message: 'must be an origin like https://sso.corp.example' }),
  /** Before `/realms` and `/admin`, such as `/auth`. */
  path: z
    .string()
    .regex(/^(?:\/[\w-]+)*$/, 'must be a path without a slash at its end')
    .default(''),
  realm: z.string().regex(/^[\w-][\w.-]{0,99}$/, 'must be the name of a realm'),
  client_id: z.string().min(1).max(255),
  page_size: z.int().min(1).max(1_000).default(100),
})

/** Settings that were read. */
export type KeycloakSettings = z.infer<typeof keycloakSettings>

/** Users and groups of one realm, by the admin REST API with the service account of a client. */
export const keycloakKind = defineDirectoryKind({
  id: 'keycloak',
  settings: keycloakSettings,
  originOf: ({ url }) => url,
  keyAttributeOf: () => 'id',
  read: readKeycloak,
})
