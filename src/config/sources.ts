import { fileURLToPath, pathToFileURL } from 'node:url'
import { z } from 'zod'
import { isDomain } from '../kernel/plain-address.ts'
import type { RegisteredSecret } from '../kernel/registered-secret.ts'
import { json, list, variableName } from './forms.ts'
import { type Contradiction, type Environment, group } from './group.ts'
import { secretsOf } from './secret-files.ts'

interface Entry {
  readonly name: string
  readonly kind: string
  readonly origin: string
  readonly secret_env?: string | undefined
}

/** A setting that registers credentials, each for one kind at one origin. */
const secretEntries = (kind: z.ZodType<string>, origin: z.ZodType<string>) =>
  json.pipe(
    z
      .array(
        z.strictObject({
          name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'must be 1 to 40 of a-z 0-9 -'),
          kind,
          origin,
          secret_env: variableName.optional(),
        }),
      )
      .refine((entries) => new Set(entries.map(({ name }) => name)).size === entries.length, {
        message: 'has two entries of one name',
      }),
  )

/** The same with what the variables hold. */
const withValues = (entries: readonly Entry[], env: Environment): readonly RegisteredSecret[] =>
  entries.map(({ secret_env: variable, ...entry }) => ({
    ...entry,
    value: variable === undefined ? undefined : env[variable],
  }))

/** What is registered leaves this machine: no other setting's secret does. */
const misnamed = (
  setting: 'SOURCE_SECRETS' | 'DIRECTORY_SECRETS',
  entries: readonly Entry[],
  env: Environment,
): readonly Contradiction[] => {
  const others = new Set(secretsOf({ ...env, [setting]: '' }))
  const isReader = !env.REMIT_ROLE || env.REMIT_ROLE.split(',').some((role) => role.trim() === 'worker')
  return entries.flatMap(({ secret_env: name }, index) => [
    {
      isSo: name !== undefined && !env[name],
      of: [],
      problem: `${setting}.${index}.secret_env names ${name}, which is not set: leave it out where another process has it`,
    },
    {
      isSo: name !== undefined && others.has(name),
      of: [],
      problem: `${setting}.${index}.secret_env names ${name}, which is another setting’s secret`,
    },
    {
      // Whoever has the value reads there: nobody would, and nothing say so.
      isSo: name !== undefined && !isReader,
      of: ['REMIT_ROLE'],
      problem: `${setting}.${index}.secret_env is for a process that reads (REMIT_ROLE=worker): leave it out here`,
    },
  ])
}

/**
 * A folder as `pathToFileURL` spells it, but not all of the machine; an origin as URLs spell it; or a share,
 * by server and name.
 */
function isOrigin(value: string): boolean {
  const url = URL.parse(value)
  if (url === null) return false
  if (url.protocol === 'http:' || url.protocol === 'https:') return url.origin === value
  if (url.protocol === 'smb:') return /^smb:\/\/[a-z0-9.-]+\/[A-Za-z0-9._-]+\$?$/.test(value)
  if (url.protocol !== 'file:' || url.host !== '' || url.pathname === '/' || url.pathname.endsWith('/'))
    return false
  try {
    return pathToFileURL(fileURLToPath(url)).href === value
  } catch {
    return false
  }
}

const origin = z.string().refine(isOrigin, {
  message:
    'must be an origin like https://wiki.corp.example, a share like smb://files.corp.example/docs, or a folder like file:///srv/shared without a slash at its end',
})

const domain = z.strictObject({
  domain: z.string().refine(isDomain, 'must be a domain in small letters, like corp.example'),
  directory: z.string().min(1).max(200),
})

// Of one domain one directory's word counts: else the second one could say who the first one's people are.
const domains = json.pipe(
  z.array(domain).refine((entries) => new Set(entries.map((entry) => entry.domain)).size === entries.length, {
    message: 'names a domain twice',
  }),
)

/** What the service reads by itself. */
export const sources = group({
  settings: {
    SOURCE_ORIGINS: list
      .pipe(z.array(origin))
      .default([])
      .describe(
        'What sources may read, with commas between: origins (https://wiki.corp.example), shares (smb://files.corp.example/docs) and folders of this machine (file:///srv/shared), exactly as a source names them. One inside your network stands in OUTBOUND_ALLOWED_ORIGINS too. Default none: no source can be added.',
      ),
    SOURCE_SECRETS: secretEntries(z.string().min(1).max(40), origin)
      .default([])
      .describe(
        'JSON array of the credentials that sources may use: [{name, kind, origin, secret_env?}], each for one kind at one origin. Without secret_env another process has the value, and reads the sources that use it. docs/sources.md.',
      ),
    SOURCE_DOMAINS: domains
      .default([])
      .describe(
        'JSON array of e-mail domains with the directory whose word counts for each: [{domain, directory}]. An account of a source that verifies addresses is the person to whom that directory gives the same address. Default none: no address says who anybody is. docs/sources.md.',
      ),
  },
  read: ({ SOURCE_ORIGINS, SOURCE_SECRETS, SOURCE_DOMAINS }, _, env) => ({
    /** Domain → the directory whose word counts for it. */
    sourceDomains: new Map(SOURCE_DOMAINS.map(({ domain: name, directory }) => [name, directory])),
    sourceOrigins: SOURCE_ORIGINS,
    sourceSecrets: withValues(SOURCE_SECRETS, env),
  }),
  contradictions: ({ SOURCE_SECRETS: entries = [] }, _, env) => misnamed('SOURCE_SECRETS', entries, env),
})

/** Scheme, host and port, and nothing behind them. */
function isServer(value: string): boolean {
  const url = URL.parse(value)
  return url !== null && url.host !== '' && value === `${url.protocol}//${url.host}`
}

const serverOrigin = z.string().refine(isServer, {
  message: 'must be a server like ldaps://ldap.corp.example or https://sso.corp.example',
})

/** Directories that the service reads by itself. */
export const directories = group({
  settings: {
    DIRECTORY_SECRETS: secretEntries(z.enum(['ldap', 'keycloak']), serverOrigin)
      .default([])
      .describe(
        'JSON array of the credentials by which directories are read: [{name, kind, origin, secret_env?}], each for one kind (ldap, keycloak) at one origin. Without secret_env another process has the value, and reads the directories that use it. docs/directories.md.',
      ),
  },
  read: ({ DIRECTORY_SECRETS }, _, env) => ({ directorySecrets: withValues(DIRECTORY_SECRETS, env) }),
  contradictions: ({ DIRECTORY_SECRETS: entries = [] }, _, env) =>
    misnamed('DIRECTORY_SECRETS', entries, env),
})
