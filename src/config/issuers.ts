import { z } from 'zod'
import { presetNames } from '../delegation/tokens/presets.ts'
import { httpsOrLoopback, json, text, variableName } from './forms.ts'
import { type Environment, group } from './group.ts'

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

// A person's sign-in through an issuer: our client there.
const signIn = z.strictObject({ client_id: text, client_secret_env: variableName })

/** One trusted issuer of access tokens (design §7). */
export const trustedIssuer = z.strictObject({
  issuer: httpsOrLoopback,
  audiences: z.strictObject({ api: text, mcp: text }),
  namespace: z
    .string()
    .regex(
      /^[A-Za-z0-9._-]{1,40}$/,
      'must be 1 to 40 of A-Z a-z 0-9 . _ - (empty is only for the built-in issuer)',
    ),
  jwks_uri: httpsOrLoopback.optional(),
  preset: z.enum(presetNames, { message: `is not a known preset: ${presetNames.join(', ')}` }),
  person_clients: z.array(text).default([]),
  service_clients: z.record(text, text).default({}),
  // Their client → ours, of one program: it may exchange its own tokens of theirs at our token endpoint.
  exchange_clients: z.record(text, text).default({}),
  scopes_allowed: z.array(z.enum(grantableScopes)).default(['docs.search', 'docs.read']),
  standing: z.boolean().default(false),
  algorithms: z.array(z.enum(algorithms)).min(1).default(['ES256', 'RS256', 'PS256', 'EdDSA']),
  sign_in: signIn.optional(),
})
export type TrustedIssuer = z.infer<typeof trustedIssuer>

const jsonIssuers = json.pipe(z.array(trustedIssuer))

/** Who else says who somebody is. */
export const issuers = group({
  settings: {
    TRUSTED_ISSUERS: jsonIssuers
      .optional()
      .describe(
        'JSON array of issuers whose access tokens are accepted; [] for the people of our own accounts alone. Required outside the demo. With sign_in {client_id, client_secret_env} people sign in through it; the secret is read from the variable that client_secret_env names.',
      ),
    CLIENT_ID_METADATA_DOCUMENTS: z
      .literal('draft-02')
      .optional()
      .describe(
        'draft-02: clients that nobody registered may sign in as agents, known by a document at their own https address (draft-ietf-oauth-client-id-metadata-document-02). Default: off.',
      ),
  },
  read: ({ TRUSTED_ISSUERS: trusted = [], CLIENT_ID_METADATA_DOCUMENTS }, _, env) => ({
    trustedIssuers: trusted,
    /** Our client's secret at each trusted issuer with `sign_in`, by issuer. */
    signInSecrets: signInSecrets(trusted, env),
    /** The draft by which clients that nobody registered are known; undefined: there are none. */
    clientIdMetadataDocuments: CLIENT_ID_METADATA_DOCUMENTS,
  }),
  contradictions: ({ TRUSTED_ISSUERS: trusted }, { demo }, env) => [
    ...missingSecrets(trusted ?? [], env),
    {
      isSo: !demo && trusted === undefined,
      of: ['REMIT_DEMO', 'HOST', 'OPS_HOST', 'PUBLIC_URL', 'TRUSTED_ISSUERS'],
      problem:
        'TRUSTED_ISSUERS is required outside the demo (remit demo), for which all is embedded, and HOST, OPS_HOST and PUBLIC_URL are on loopback. Without an identity provider: TRUSTED_ISSUERS=[] lets in the people of our own accounts (remit person add) and nobody else',
    },
    {
      isSo: hasTwins(trusted?.map(({ namespace }) => namespace)),
      of: [],
      problem: 'TRUSTED_ISSUERS namespaces must be unique: two issuers would share people',
    },
    {
      isSo: hasTwins(trusted?.map(({ issuer }) => issuer)),
      of: [],
      problem: 'TRUSTED_ISSUERS names an issuer twice',
    },
  ],
})

const missingSecrets = (trusted: readonly TrustedIssuer[], env: Environment) =>
  trusted.map(({ sign_in }, index) => ({
    isSo: sign_in !== undefined && !env[sign_in.client_secret_env],
    of: [],
    problem: `TRUSTED_ISSUERS.${index}.sign_in.client_secret_env names ${sign_in?.client_secret_env}, which is not set: nobody could sign in there`,
  }))

const signInSecrets = (trusted: readonly TrustedIssuer[], env: Environment): ReadonlyMap<string, string> =>
  new Map(
    trusted.flatMap(({ issuer, sign_in }): [string, string][] =>
      sign_in === undefined ? [] : [[issuer, env[sign_in.client_secret_env] ?? '']],
    ),
  )

const hasTwins = (values: readonly string[] = []): boolean => new Set(values).size < values.length
