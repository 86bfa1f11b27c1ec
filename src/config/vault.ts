import { z } from 'zod'
import { nameOf } from '../delegation/vault/provider.ts'
import { httpsOrLoopback, json, list, variableName } from './forms.ts'
import { type Environment, group } from './group.ts'

const origin = httpsOrLoopback.refine((value) => URL.parse(value)?.origin === value, {
  message: 'must be an origin: scheme, host and port, nothing after them',
})
const path = z
  .string()
  .regex(/^\/[\x21-\x7e]{0,500}$/, 'must be a path pattern that begins with a slash')
  .refine((value) => !value.includes('%') && !value.includes('\\'), 'must not hold % or \\')

const rule = z.strictObject({
  title: z.string().min(1).max(200),
  methods: z.array(z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'])).min(1),
  paths: z.array(path).min(1).max(50),
})

const ofOpenid = [
  'issuer',
  'api_origins',
  'mints',
  'authorize',
  'scope_on_refresh',
  'token_exchange',
] as const

/** One API of others whose accounts people may link. */
const provider = z
  .strictObject({
    provider: z.enum(['github', 'google', 'openid']),
    // It stands in addresses.
    name: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'must be 1 to 40 of a-z 0-9 -')
      .refine((name) => name !== 'requests', 'is a word that our own pages use')
      .optional(),
    title: z.string().min(1).max(60).optional(),
    client_id: z.string().min(1),
    client_secret_env: variableName,
    scopes: z.array(z.string().min(1)).optional(),
    rules: z.array(rule).min(1).max(20).optional(),
    issuer: httpsOrLoopback.optional(),
    api_origins: z.array(origin).min(1).optional(),
    mints: z.array(path).optional(),
    authorize: z.record(z.string(), z.string()).optional(),
    scope_on_refresh: z.boolean().optional(),
    token_exchange: z
      .strictObject({
        audience: z.string().min(1).optional(),
        resource: z.string().min(1).optional(),
        scope: z.string().min(1).optional(),
      })
      .refine((token) => Object.values(token).some((value) => value !== undefined), {
        message: 'names nothing that would make a token narrower',
      })
      .optional(),
  })
  .superRefine((entry, context) => {
    const isOpenid = entry.provider === 'openid'
    for (const member of ofOpenid)
      if (!isOpenid && entry[member] !== undefined)
        context.addIssue({ code: 'custom', path: [member], message: 'is for provider "openid" only' })
    for (const member of ['issuer', 'api_origins'] as const)
      if (isOpenid && entry[member] === undefined)
        context.addIssue({ code: 'custom', path: [member], message: 'is needed for provider "openid"' })
  })

type VaultProvider = z.output<typeof provider>

const vaultProviders = json.pipe(
  z
    .array(provider)
    .min(1, 'names no provider: leave it out instead')
    .refine((entries) => new Set(entries.map(nameOf)).size === entries.length, {
      message: 'has two providers of one name',
    }),
)

/** `VERSION:BASE64` of 32 bytes, the current one first. */
const vaultKeys = list
  .pipe(
    z
      .array(
        z
          .string()
          .regex(
            /^[A-Za-z0-9_-]{1,40}:[A-Za-z0-9+/]{43}=$/,
            'holds something that is not VERSION:BASE64 of 32 bytes (openssl rand -base64 32)',
          )
          .transform((entry) => {
            const [version = '', key = ''] = entry.split(':')
            return { version, key: new Uint8Array(Buffer.from(key, 'base64')) }
          }),
      )
      .min(1),
  )
  .refine((keys) => new Set(keys.map(({ version }) => version)).size === keys.length, {
    message: 'has two keys of one version',
  })
  .refine((keys) => keys.every(({ version }) => version !== 'home'), {
    message: 'names a version "home", which is the key file in REMIT_HOME',
  })

/** Versions, with commas between. */
const vaultLostKeys = list.pipe(
  z.array(z.string().regex(/^[A-Za-z0-9_-]{1,40}$/, 'holds something that is no version of a key')),
)

/** Whose accounts people may link, and what seals them. */
export const vault = group({
  settings: {
    VAULT_PROVIDERS: vaultProviders
      .optional()
      .describe(
        'JSON array of APIs of others whose accounts people may link for agents: [{provider: "github"|"google"|"openid", client_id, client_secret_env, name?, title?, scopes?, rules?; openid: issuer, api_origins, mints?, authorize?, scope_on_refresh?, token_exchange?}]. docs/vault.md.',
      ),
    VAULT_KEYS: vaultKeys
      .optional()
      .describe(
        'Keys that wrap those of the vault, VERSION:BASE64 of 32 bytes each, with commas between, the current one first. Default: a key file in REMIT_HOME. After a change: npm run remit -- vault rewrap.',
      ),
    VAULT_LOST_KEYS: vaultLostKeys
      .default([])
      .describe(
        'Versions of keys that are lost for good, with commas between: people are asked to connect the accounts that they sealed once more. docs/vault.md.',
      ),
  },
  read: ({ VAULT_PROVIDERS: providers = [], VAULT_KEYS, VAULT_LOST_KEYS }, _, env) => ({
    vaultProviders: providers,
    /** Our client's secret at each of them, by the variable that holds it. */
    vaultSecrets: new Map(providers.map(({ client_secret_env: name }) => [name, env[name] ?? ''])),
    /** The current one first; empty: the key file. */
    vaultKeys: VAULT_KEYS ?? [],
    /** Accounts that these sealed, and that do not open, are to be connected once more. */
    vaultLostKeys: VAULT_LOST_KEYS,
  }),
  contradictions: ({ VAULT_PROVIDERS: providers }, _, env) => missingSecrets(providers ?? [], env),
})

/** Each provider whose secret is not there: nobody could connect. */
const missingSecrets = (entries: readonly VaultProvider[], env: Environment) =>
  entries.map(({ client_secret_env: name }, index) => ({
    isSo: !env[name],
    of: [],
    problem: `VAULT_PROVIDERS.${index}.client_secret_env names ${name}, which is not set: nobody could connect there`,
  }))
