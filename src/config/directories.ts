import { z } from 'zod'
import { group } from './group.ts'
import { misnamed, secretEntries, withValues } from './registered-secrets.ts'

/** Scheme, host and port, and nothing behind them. */
function isServer(value: string): boolean {
  const url = URL.parse(value)
  return url !== null && url.host !== '' && value === `${url.protocol}//${url.host}`
}

const origin = z.string().refine(isServer, {
  message: 'must be a server like ldaps://ldap.corp.example or https://sso.corp.example',
})

/** Directories that the service reads by itself. */
export const directories = group({
  settings: {
    DIRECTORY_SECRETS: secretEntries(z.enum(['ldap', 'keycloak']), origin)
      .default([])
      .describe(
        'JSON array of the credentials by which directories are read: [{name, kind, origin, secret_env?}], each for one kind (ldap, keycloak) at one origin. Without secret_env another process has the value, and reads the directories that use it. docs/directories.md.',
      ),
  },
  read: ({ DIRECTORY_SECRETS }, _, env) => ({ directorySecrets: withValues(DIRECTORY_SECRETS, env) }),
  contradictions: ({ DIRECTORY_SECRETS: entries = [] }, _, env) =>
    misnamed('DIRECTORY_SECRETS', entries, env),
})
