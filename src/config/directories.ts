import { z } from 'zod'
import { json, variableName } from './forms.ts'
import { group } from './group.ts'
import { secretsOf } from './secret-files.ts'

/** Scheme, host and port, and nothing behind them. */
function isServer(value: string): boolean {
  const url = URL.parse(value)
  return url !== null && url.host !== '' && value === `${url.protocol}//${url.host}`
}

const secret = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'must be 1 to 40 of a-z 0-9 -'),
  kind: z.enum(['ldap', 'keycloak']),
  origin: z.string().refine(isServer, {
    message: 'must be a server like ldaps://ldap.corp.example or https://sso.corp.example',
  }),
  secret_env: variableName.optional(),
})

const secrets = json.pipe(
  z.array(secret).refine((entries) => new Set(entries.map(({ name }) => name)).size === entries.length, {
    message: 'has two entries of one name',
  }),
)

// What a directory is given leaves this machine.
const ownSecrets: ReadonlySet<string> = new Set(secretsOf({}))

/** Directories that the service reads by itself. */
export const directories = group({
  settings: {
    DIRECTORY_SECRETS: secrets
      .default([])
      .describe(
        'JSON array of the credentials by which directories are read: [{name, kind, origin, secret_env?}], each for one kind (ldap, keycloak) at one origin. Without secret_env another process has the value, and reads the directories that use it. docs/directories.md.',
      ),
  },
  read: ({ DIRECTORY_SECRETS }, _, env) => ({
    directorySecrets: DIRECTORY_SECRETS.map(({ name, kind, origin, secret_env: variable }) => ({
      name,
      kind,
      origin,
      value: variable === undefined ? undefined : env[variable],
    })),
  }),
  contradictions: ({ DIRECTORY_SECRETS: entries = [] }, _, env) =>
    entries.flatMap(({ secret_env: name }, index) => [
      {
        isSo: name !== undefined && !env[name],
        of: [],
        problem: `DIRECTORY_SECRETS.${index}.secret_env names ${name}, which is not set: leave it out where another process has it`,
      },
      {
        isSo: name !== undefined && ownSecrets.has(name),
        of: [],
        problem: `DIRECTORY_SECRETS.${index}.secret_env names ${name}, which is the service’s own and no directory’s`,
      },
    ]),
})
