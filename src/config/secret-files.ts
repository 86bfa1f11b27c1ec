import { singleEdits } from '../kernel/single-edits.ts'
import type { Environment } from './group.ts'

const secrets = [
  'DATABASE_URL',
  'OPENFGA_DATASTORE_URI',
  'OPENFGA_API_TOKEN',
  'VAULT_KEYS',
  'EMBEDDINGS_API_KEY',
  'SEARCH_ENGINE_PASSWORD',
]

/** The settings that hold a secret, and the variables that settings name as holding one. */
export const secretsOf = ({
  TRUSTED_ISSUERS = '',
  VAULT_PROVIDERS = '',
  SOURCE_SECRETS = '',
  DIRECTORY_SECRETS = '',
}: Environment): readonly string[] => [
  ...secrets,
  ...[
    ...`${TRUSTED_ISSUERS}${VAULT_PROVIDERS}${SOURCE_SECRETS}${DIRECTORY_SECRETS}`.matchAll(
      /"(?:client_)?secret_env"\s*:\s*"(\w+)"/g,
    ),
  ].map(([, name = '']) => name),
]

/**
 * The environment with each secret that a file holds: NAME_FILE names it, for every setting that is a
 * secret and every variable that `client_secret_env` or `secret_env` names. White space around it is left
 * out. Also says what cannot be used: both NAME and NAME_FILE, a file that cannot be read, an empty one.
 *
 * @param read the text of a file; throws where there is none
 */
export function withSecretFiles(
  env: Environment,
  read: (path: string) => string,
): { readonly env: Environment; readonly problems: readonly string[] } {
  const problems: string[] = []
  const found: Record<string, string> = {}
  for (const name of new Set(secretsOf(env))) {
    const path = env[`${name}_FILE`]
    if (!path) continue
    if (env[name]) problems.push(`${name} and ${name}_FILE are both set: leave one out`)
    else {
      const text = textOf(path, read)
      if (text) found[name] = text
      else
        problems.push(
          `${name}_FILE names ${path}, which ${text === undefined ? 'cannot be read' : 'is empty'}`,
        )
    }
  }
  return { env: { ...env, ...found }, problems }
}

function textOf(path: string, read: (path: string) => string): string | undefined {
  try {
    return read(path).trim()
  } catch {
    return undefined
  }
}

// A shorter one (PORT, HOST, OPS_PORT) is one slip away from what other programs read.
const charactersMin = 9

/**
 * A problem for each variable that is no setting and is spelled nearly like one: it would change nothing, and
 * the service start with a default that nobody meant.
 *
 * @param settings the name of every setting
 */
export function slips(env: Environment, settings: readonly string[]): readonly string[] {
  const secrets = secretsOf(env)
  const names = [...settings, ...secrets, ...secrets.map((name) => `${name}_FILE`)]
  const knownNames = new Set(names)
  const long = names.filter((name) => name.length >= charactersMin)
  const meantBy = new Map(long.map((name) => [name.toLowerCase(), name]))
  return Object.entries(env)
    .filter(([name, value]) => value && !knownNames.has(name))
    .flatMap(([name]) => {
      const typed = name.toLowerCase()
      const meant = [typed, ...singleEdits(typed)].find((candidate) => meantBy.has(candidate))
      return meant === undefined ? [] : [`${name} is no setting. Did you mean ${meantBy.get(meant)}?`]
    })
}
