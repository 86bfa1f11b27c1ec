import { defineDirectoryKind } from '../reading/kind.ts'
import { readLdap } from './reading.ts'
import { ldapSettings } from './settings.ts'

/** A directory that answers by LDAP (RFC 4511): OpenLDAP, 389, Active Directory. */
export const ldapKind = defineDirectoryKind({
  id: 'ldap',
  settings: ldapSettings,
  originOf: ({ url }) => url,
  keyAttributeOf: ({ people }) => people.key,
  read: readLdap,
})
