import { isIP } from 'node:net'
import { homedir } from 'node:os'
import { resolve } from 'node:path'
import { z } from 'zod'
import { presetNames } from './delegation/presets.ts'
import type { VaultKey } from './delegation/vault/keys.ts'
import { OperatorError } from './kernel/operator-error.ts'
import { httpsOrLoopback, isLoopback, json, variableName } from './setting-forms.ts'
import {
  missingVaultSecrets,
  type VaultProvider,
  vaultKeys,
  vaultLostKeys,
  vaultProviders,
} from './vault-settings.ts'

const algorithms = [
  'ES256',
  'ES384',
  'ES512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'EdDSA',
] as const
const grantableScopes = [
  'docs.search',
  'docs.read',
  'docs.write',
  'directory.write',
  'approvals.request',
  'vault.use',
] as const

const httpUrl = z.url({ protocol: /^https?$/, message: 'must be an http or https URL' })

// A person's sign-in through an issuer: our client there.
const signIn = z.strictObject({ client_id: z.string().min(1), client_secret_env: variableName })

/** One trusted issuer of access tokens (design §7). */
export const trustedIssuer = z.strictObject({
  issuer: httpsOrLoopback,
  audiences: z.strictObject({ api: z.string().min(1), mcp: z.string().min(1) }),
  namespace: z
    .string()
    .regex(
      /^[A-Za-z0-9._-]{1,40}$/,
      'must be 1 to 40 of A-Z a-z 0-9 . _ - (empty is only for the built-in issuer)',
    ),
  jwks_uri: httpsOrLoopback.optional(),
  preset: z.enum(presetNames, { message: `is not a known preset: ${presetNames.join(', ')}` }),
  person_clients: z.array(z.string().min(1)).default([]),
  service_clients: z.record(z.string().min(1), z.string().min(1)).default({}),
  // Their client → ours, of one program: it may exchange its own tokens of theirs at our token endpoint.
  exchange_clients: z.record(z.string().min(1), z.string().min(1)).default({}),
  scopes_allowed: z.array(z.enum(grantableScopes)).default(['docs.search', 'docs.read']),
  standing: z.boolean().default(false),
  algorithms: z.array(z.enum(algorithms)).min(1).default(['ES256', 'RS256', 'PS256', 'EdDSA']),
  sign_in: signIn.optional(),
})
export type TrustedIssuer = z.infer<typeof trustedIssuer>

const jsonIssuers = json.pipe(z.array(trustedIssuer).min(1, 'names no issuer: leave it out instead'))

// Not 0, any free port: PUBLIC_URL, by which tokens are bound, could not name it.
const portRule = 'must be a port, 1 to 65535'
const port = z.coerce.number(portRule).int(portRule).min(1, portRule).max(65_535, portRule)
const flag = z
  .enum(['true', 'false', '1', '0'], 'must be true or false')
  .transform((value) => value === 'true' || value === '1')
/** An address, or a range in CIDR form that is not everybody. */
function isAddressRange(value: string): boolean {
  const [, address = '', prefix] = /^([^/%]+)(?:\/([1-9]\d{0,2}))?$/.exec(value) ?? []
  const bits = { 4: 32, 6: 128 }[isIP(address)]
  return bits !== undefined && Number(prefix ?? bits) <= bits
}

const addressRanges = z
  .string()
  .transform((text) => text.split(',').map((one) => one.trim()))
  .refine((ranges) => ranges.every(isAddressRange), {
    message: 'must be addresses or ranges like 10.0.0.0/8, with commas between them',
  })

/** `https://host:port` as URLs spell it: no path, no user, nothing that is compared in two ways. */
const isOrigin = (value: string): boolean =>
  /^https?:[^*]+$/.test(value) && URL.parse(value)?.origin === value

const origins = z
  .string()
  .transform((text) => text.split(',').map((one) => one.trim()))
  .refine((list) => list.every(isOrigin), {
    message: 'must be origins like https://gitlab.corp.example:8443, with commas between them and no path',
  })

const seconds = (least: number, most: number) => z.coerce.number().min(least).max(most)
const milliseconds = (least: number, most: number) => z.coerce.number().int().min(least).max(most)

/** Every setting: name, default and what it is for. `.env.example` is generated from this. */
export const settings = z.object({
  HOST: z.string().min(1).default('127.0.0.1').describe('Address to listen on.'),
  PORT: port.default(8787).describe('Port to listen on.'),
  PUBLIC_URL: httpUrl
    .optional()
    .describe(
      'Address by which clients reach the service, without a trailing slash. Default http://localhost:PORT.',
    ),
  OPS_HOST: z
    .string()
    .min(1)
    .default('127.0.0.1')
    .describe("Address of the operators' listener (/metrics, /readyz with details)."),
  OPS_PORT: port.default(8788).describe("Port of the operators' listener."),
  REMIT_HOME: z
    .string()
    .min(1)
    .default('.remit')
    .describe('Folder (0700) for the embedded database, keys and sockets.'),
  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must be a postgres:// URL')
    .optional()
    .describe('Native Postgres with pgvector >= 0.8.4. Without it PGlite runs in the process.'),
  OPENFGA_API_URL: httpUrl
    .optional()
    .describe('OpenFGA server >= 1.22.1. Without it the embedded engine answers.'),
  OPENFGA_STORE_ID: z
    .string()
    .min(1)
    .optional()
    .describe('Store to use; made and remembered at the first start when left out.'),
  OPENFGA_API_TOKEN: z
    .string()
    .min(1)
    .optional()
    .describe('Preshared key of the OpenFGA server. Required with OPENFGA_API_URL unless that is loopback.'),
  TRUSTED_ISSUERS: jsonIssuers
    .optional()
    .describe(
      'JSON array of issuers whose access tokens are accepted. With sign_in {client_id, client_secret_env} people sign in through it; the secret is read from the variable that client_secret_env names.',
    ),
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
  AUDIT_QUERY_TEXT: flag
    .default(false)
    .describe(
      'true: the record holds what was asked, in words, beside its HMAC. Whoever may read the record reads it; an erasure takes it out. docs/audit.md.',
    ),
  AUDIT_RETENTION_DAYS: z.coerce
    .number()
    .int()
    .min(30)
    .optional()
    .describe(
      'Days after which records are taken away, whole seals at a time; at least 30. Their heads stay. Default: never. docs/audit.md.',
    ),
  EMBEDDINGS_BASE_URL: httpUrl
    .optional()
    .describe('OpenAI-compatible endpoint for embeddings. Without it a local model is used.'),
  EMBEDDINGS_MODEL: z
    .string()
    .min(1)
    .optional()
    .describe('Model at that endpoint. Required with EMBEDDINGS_BASE_URL.'),
  EMBEDDINGS_API_KEY: z.string().min(1).optional().describe('Key for that endpoint.'),
  EMBEDDINGS_DIMENSIONS: z.coerce
    .number()
    .int()
    .min(1)
    .max(2_000)
    .optional()
    .describe('Numbers in one of its vectors. Required with EMBEDDINGS_BASE_URL.'),
  EMBEDDINGS_MODEL_PATH: z
    .string()
    .min(1)
    .optional()
    .describe('Folder with the local model (model.onnx, tokenizer.json), where it cannot be fetched.'),
  EMBEDDINGS_CACHE: z
    .string()
    .min(1)
    .optional()
    .describe('Folder for fetched model weights. Default ~/.cache/remit.'),
  REQUEST_DEADLINE_MS: milliseconds(100, 60_000)
    .default(5_000)
    .describe('Milliseconds that a request may take; then only what is proven is answered.'),
  VERDICT_TTL: seconds(0, 60)
    .default(5)
    .describe(
      "Seconds for which a question with consistency `fast` may be given OpenFGA's own yes again; 0: never.",
    ),
  OPENFGA_CACHE_TTL: seconds(0, 3_600)
    .default(10)
    .describe(
      'Seconds for which the OpenFGA server may answer from its caches: at least the longest of its own settings.',
    ),
  INDEX_POLL_MS: milliseconds(10, 10_000)
    .default(100)
    .describe('Milliseconds between two looks of the permission index at the end of the OpenFGA change log.'),
  RANKING_STATISTICS: z
    .enum(['deployment', 'collection'])
    .default('deployment')
    .describe(
      'Whose passages tell how common a word is when words rank: all of the deployment, or each collection its own, so that no collection says anything of the words of another.',
    ),
  SHADOW_SEARCH_SHARE: z.coerce
    .number()
    .min(0)
    .max(1)
    .default(0.001)
    .describe(
      'Part of the searches by vectors that is done again exactly once the answer has left, to tell operators the live recall; 0: none.',
    ),
  BODY_BYTES_MAX: z.coerce
    .number()
    .int()
    .min(1_024)
    .default(20_000_000)
    .describe('Largest document body in bytes; queries are held to 256 KiB, imports stream.'),
  TRUSTED_PROXIES: addressRanges
    .optional()
    .describe(
      'Addresses and ranges (10.0.0.0/8,::1) of proxies that set X-Forwarded-For: limits then count the client, not the proxy. Default none.',
    ),
  OUTBOUND_ALLOWED_ORIGINS: origins
    .optional()
    .describe(
      'Exact origins (https://gitlab.corp.example:8443,http://127.0.0.1:9000) that may be asked although they are http or their addresses are not public: providers, push services and pings of clients inside your network. Default none.',
    ),
  PUSH_CONTACT: z
    .string()
    .regex(/^(https:\/\/[^\s/]+|mailto:[^\s@]+@[^\s@]+$)/, 'must be an https: or mailto: address')
    .optional()
    .describe(
      'Where push services reach whoever runs this (RFC 8292): an https: or mailto: address. Default PUBLIC_URL; where that is not https, mailto:remit@localhost, which some of them refuse.',
    ),
  CLIENT_ID_METADATA_DOCUMENTS: z
    .literal('draft-02')
    .optional()
    .describe(
      'draft-02: clients that nobody registered may sign in as agents, known by a document at their own https address (draft-ietf-oauth-client-id-metadata-document-02). Default: off.',
    ),
  RATE_PER_MINUTE: z.coerce
    .number()
    .int()
    .min(1)
    .default(600)
    .describe(
      'Requests a minute for each pair of person and agent; each client and each address has 20 times that.',
    ),
  BEGIN_PER_MINUTE: z.coerce
    .number()
    .int()
    .min(1)
    .default(120)
    .describe(
      'Authorization requests, pushed requests and device codes that one network address may begin in a minute; behind a proxy that TRUSTED_PROXIES does not name all of its clients are one address.',
    ),
  MODEL_APPLY_APPROVERS: z.coerce
    .number()
    .int()
    .min(1)
    .max(2)
    .optional()
    .describe(
      'Different administrators who must confirm a changed authorization model. Default 2; 1 in the demo.',
    ),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrl
    .optional()
    .describe(
      'Receiver of traces (OpenTelemetry, OTLP over HTTP; /v1/traces is added). Left out: none are sent.',
    ),
  REMIT_DEMO: flag
    .optional()
    .describe(
      'Sample corpus, people and demo tokens. Default on only when everything is embedded and loopback.',
    ),
  DEMO_SAMPLE: flag
    .default(true)
    .describe(
      'false: the demo starts empty, without the sample company, for people and documents of your own.',
    ),
})

export interface Config {
  readonly host: string
  readonly port: number
  readonly publicUrl: string
  readonly ops: { readonly host: string; readonly port: number }
  readonly home: string
  readonly databaseUrl: string | undefined
  readonly openfga:
    | { readonly apiUrl: string; readonly storeId: string | undefined; readonly apiToken: string | undefined }
    | undefined
  readonly trustedIssuers: readonly TrustedIssuer[]
  /** Our client's secret at each trusted issuer with `sign_in`, by issuer. */
  readonly signInSecrets: ReadonlyMap<string, string>
  readonly vaultProviders: readonly VaultProvider[]
  /** Our client's secret at each of them, by the variable that holds it. */
  readonly vaultSecrets: ReadonlyMap<string, string>
  /** The current one first; empty: the key file. */
  readonly vaultKeys: readonly VaultKey[]
  /** Accounts that these sealed, and that do not open, are to be connected once more. */
  readonly vaultLostKeys: readonly string[]
  /** undefined: records are kept for ever. */
  readonly auditQueryText: boolean
  readonly auditRetentionDays: number | undefined
  readonly embeddings: EmbeddingsConfig
  readonly requestDeadlineMs: number
  readonly verdictTtlMs: number
  readonly modelApplyApprovers: number
  readonly openfgaCacheTtlMs: number
  readonly indexPollMs: number
  readonly rankingStatistics: 'deployment' | 'collection'
  readonly shadowSearchShare: number
  readonly bodyBytesMax: number
  readonly trustedProxies: readonly string[]
  readonly outboundAllowedOrigins: readonly string[]
  /** By which push services reach whoever runs this. */
  readonly pushContact: string
  /** The draft by which clients that nobody registered are known; undefined: there are none. */
  readonly clientIdMetadataDocuments: 'draft-02' | undefined
  readonly ratePerMinute: number
  readonly beginPerMinute: number
  readonly otlpEndpoint: string | undefined
  readonly demo: boolean
  /** Whether the demo brings its company. */
  readonly demoSample: boolean
}

export type EmbeddingsConfig =
  | {
      readonly kind: 'remote'
      readonly baseUrl: string
      readonly model: string
      readonly apiKey: string | undefined
      readonly dimensions: number
    }
  | { readonly kind: 'local'; readonly modelPath: string | undefined; readonly cacheDir: string }

export class ConfigError extends OperatorError {
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`The configuration cannot be used:\n${problems.map((problem) => `  ${problem}`).join('\n')}`)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/** Reads the settings. Pure; reports every problem at once; a missing security setting is a problem. */
export function loadConfig(env: Environment): Config {
  const present = Object.fromEntries(
    Object.entries(env).filter(([name, value]) => name in settings.shape && value !== ''),
  )
  const issues = settings.safeParse(present).error?.issues ?? []
  const unread = new Set(issues.map(({ path }) => String(path[0])))
  // What cannot be read is left out here, so that one start also tells what contradicts in the rest.
  const value = settings.parse(
    Object.fromEntries(Object.entries(present).filter(([name]) => !unread.has(name))),
  )
  const publicUrl = value.PUBLIC_URL ?? `http://localhost:${value.PORT}`
  const loopback = isLoopback(value.HOST) && isLoopback(new URL(publicUrl).hostname)
  const embedded = !['DATABASE_URL', 'OPENFGA_API_URL', 'TRUSTED_ISSUERS'].some((name) => name in present)
  const demo = value.REMIT_DEMO ?? (embedded && loopback)
  const problems = [
    ...issues.map(({ path, message }) => `${path.join('.')} ${message}`),
    ...missingSecrets(value.TRUSTED_ISSUERS ?? [], env),
    ...missingVaultSecrets(value.VAULT_PROVIDERS ?? [], env),
    ...contradictions(value, { publicUrl, loopback, embedded, demo })
      .filter(({ of }) => !of.some((name) => unread.has(name)))
      .map(({ problem }) => problem),
  ]
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze({
    host: value.HOST,
    port: value.PORT,
    publicUrl,
    ops: { host: value.OPS_HOST, port: value.OPS_PORT },
    home: resolve(value.REMIT_HOME),
    databaseUrl: value.DATABASE_URL,
    openfga:
      value.OPENFGA_API_URL === undefined
        ? undefined
        : {
            apiUrl: value.OPENFGA_API_URL,
            storeId: value.OPENFGA_STORE_ID,
            apiToken: value.OPENFGA_API_TOKEN,
          },
    trustedIssuers: value.TRUSTED_ISSUERS ?? [],
    signInSecrets: signInSecrets(value.TRUSTED_ISSUERS ?? [], env),
    vaultProviders: value.VAULT_PROVIDERS ?? [],
    vaultSecrets: new Map(
      (value.VAULT_PROVIDERS ?? []).map(({ client_secret_env: name }) => [name, env[name] ?? '']),
    ),
    vaultKeys: value.VAULT_KEYS ?? [],
    vaultLostKeys: value.VAULT_LOST_KEYS,
    auditQueryText: value.AUDIT_QUERY_TEXT,
    auditRetentionDays: value.AUDIT_RETENTION_DAYS,
    embeddings: embeddings(value),
    requestDeadlineMs: value.REQUEST_DEADLINE_MS,
    verdictTtlMs: value.VERDICT_TTL * 1_000,
    modelApplyApprovers: value.MODEL_APPLY_APPROVERS ?? (demo ? 1 : 2),
    openfgaCacheTtlMs: value.OPENFGA_CACHE_TTL * 1_000,
    indexPollMs: value.INDEX_POLL_MS,
    rankingStatistics: value.RANKING_STATISTICS,
    shadowSearchShare: value.SHADOW_SEARCH_SHARE,
    bodyBytesMax: value.BODY_BYTES_MAX,
    trustedProxies: value.TRUSTED_PROXIES ?? [],
    outboundAllowedOrigins: value.OUTBOUND_ALLOWED_ORIGINS ?? [],
    pushContact:
      value.PUSH_CONTACT ?? (publicUrl.startsWith('https:') ? publicUrl : 'mailto:remit@localhost'),
    clientIdMetadataDocuments: value.CLIENT_ID_METADATA_DOCUMENTS,
    ratePerMinute: value.RATE_PER_MINUTE,
    beginPerMinute: value.BEGIN_PER_MINUTE,
    otlpEndpoint: value.OTEL_EXPORTER_OTLP_ENDPOINT,
    demo,
    demoSample: demo && value.DEMO_SAMPLE,
  })
}

type Environment = Readonly<Record<string, string | undefined>>

const missingSecrets = (issuers: readonly TrustedIssuer[], env: Environment): string[] =>
  issuers.flatMap(({ sign_in }, index) =>
    sign_in === undefined || env[sign_in.client_secret_env]
      ? []
      : [
          `TRUSTED_ISSUERS.${index}.sign_in.client_secret_env names ${sign_in.client_secret_env}, which is not set: nobody could sign in there`,
        ],
  )

const signInSecrets = (issuers: readonly TrustedIssuer[], env: Environment): ReadonlyMap<string, string> =>
  new Map(
    issuers.flatMap(({ issuer, sign_in }): [string, string][] =>
      sign_in === undefined ? [] : [[issuer, env[sign_in.client_secret_env] ?? '']],
    ),
  )

interface Contradiction {
  /** The settings that it is about: one that could not be read was reported as that already. */
  readonly of: readonly string[]
  readonly problem: string
}

interface Derived {
  readonly publicUrl: string
  readonly loopback: boolean
  readonly embedded: boolean
  readonly demo: boolean
}

function contradictions(
  value: z.infer<typeof settings>,
  { publicUrl, loopback, embedded, demo }: Derived,
): Contradiction[] {
  const found: Contradiction[] = []
  const refuse = (isWrong: boolean, of: readonly string[], problem: string) => {
    if (isWrong) found.push({ of, problem })
  }
  const demoOf = ['REMIT_DEMO', 'HOST', 'PUBLIC_URL']
  const issuers = value.TRUSTED_ISSUERS ?? []
  const openfga = value.OPENFGA_API_URL
  const remote = value.EMBEDDINGS_BASE_URL !== undefined
  refuse(
    publicUrl.endsWith('/'),
    ['PUBLIC_URL'],
    'PUBLIC_URL must not end with a slash: it is compared as an exact string',
  )
  refuse(
    demo && !embedded,
    demoOf,
    'REMIT_DEMO needs everything embedded: unset DATABASE_URL, OPENFGA_API_URL and TRUSTED_ISSUERS, or set REMIT_DEMO=false',
  )
  refuse(
    demo && !loopback,
    demoOf,
    'REMIT_DEMO needs HOST and PUBLIC_URL on loopback: anyone who reaches it could mint tokens',
  )
  refuse(
    !demo && value.TRUSTED_ISSUERS === undefined,
    [...demoOf, 'TRUSTED_ISSUERS'],
    'TRUSTED_ISSUERS is required without REMIT_DEMO; [] lets in nobody but the people of our own accounts',
  )
  refuse(
    !loopback && new URL(publicUrl).protocol !== 'https:',
    ['HOST', 'PUBLIC_URL'],
    'PUBLIC_URL must be https unless HOST and PUBLIC_URL are loopback: tokens would travel in the clear',
  )
  refuse(
    hasTwins(issuers.map(({ namespace }) => namespace)),
    [],
    'TRUSTED_ISSUERS namespaces must be unique: two issuers would share people',
  )
  refuse(hasTwins(issuers.map(({ issuer }) => issuer)), [], 'TRUSTED_ISSUERS names an issuer twice')
  refuse(
    openfga !== undefined && value.OPENFGA_API_TOKEN === undefined && !isLoopback(new URL(openfga).hostname),
    ['OPENFGA_API_TOKEN'],
    'OPENFGA_API_TOKEN is required with an OPENFGA_API_URL that is not loopback',
  )
  refuse(
    remote && value.EMBEDDINGS_MODEL === undefined,
    ['EMBEDDINGS_MODEL'],
    'EMBEDDINGS_MODEL is required with EMBEDDINGS_BASE_URL',
  )
  refuse(
    remote && value.EMBEDDINGS_DIMENSIONS === undefined,
    ['EMBEDDINGS_DIMENSIONS'],
    'EMBEDDINGS_DIMENSIONS is required with EMBEDDINGS_BASE_URL',
  )
  return found
}

const hasTwins = (values: readonly string[]): boolean => new Set(values).size < values.length

function embeddings(value: z.infer<typeof settings>): EmbeddingsConfig {
  if (value.EMBEDDINGS_BASE_URL === undefined) {
    return {
      kind: 'local',
      modelPath: value.EMBEDDINGS_MODEL_PATH,
      cacheDir: resolve(value.EMBEDDINGS_CACHE ?? `${homedir()}/.cache/remit`),
    }
  }
  return {
    kind: 'remote',
    baseUrl: value.EMBEDDINGS_BASE_URL,
    model: value.EMBEDDINGS_MODEL ?? '',
    apiKey: value.EMBEDDINGS_API_KEY,
    dimensions: value.EMBEDDINGS_DIMENSIONS ?? 0,
  }
}
