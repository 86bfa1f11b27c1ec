import { resolve } from 'node:path'
import { z } from 'zod'
import { count, flag, httpUrl, isHttpsOrLoopback, isLoopback, list, milliseconds, text } from './forms.ts'
import { group } from './group.ts'

/** Where everything is kept. */
export const stores = group({
  settings: {
    REMIT_HOME: text.default('.remit').describe('Folder (0700) for the embedded database, keys and sockets.'),
    DATABASE_URL: z
      .string()
      .regex(/^postgres(ql)?:\/\//, 'must be a postgres:// URL')
      .optional()
      .describe('Native Postgres with pgvector >= 0.8.4. Without it PGlite runs in the process.'),
    OPENFGA_API_URL: httpUrl
      .optional()
      .describe('OpenFGA server >= 1.22.1. Without it the embedded engine answers.'),
    OPENFGA_STORE_ID: text
      .optional()
      .describe('Store to use; made and remembered at the first start when left out.'),
    OPENFGA_API_TOKEN: text
      .optional()
      .describe(
        'Preshared key of the OpenFGA server. Required with OPENFGA_API_URL unless that is loopback.',
      ),
    OPENFGA_DATASTORE_URI: z
      .string()
      .regex(/^postgres(ql)?:\/\//, 'must be a postgres:// URL')
      .optional()
      .describe(
        'OpenFGA’s own database, as OpenFGA has it. `remit backup` and `remit restore` alone use it, so that both are copied at one instant (docs/recovery.md).',
      ),
    OPENFGA_SECONDARY: z
      .enum(['unknown', 'none', 'present'])
      .default('unknown')
      .describe(
        'Whether OpenFGA reads from a secondary of its database (OPENFGA_DATASTORE_SECONDARY_URI): `none` if you know that it has none; otherwise marks are written into its log to tell how far that is behind, and every check goes past its caches and the secondary, which is slower (docs/scaling.md).',
      ),
    CLEAR_TEXT_HOSTS: list
      .optional()
      .describe(
        'Host names, with commas between, to which http and Postgres without TLS may go since nobody else hears it: containers on a network of this machine alone, or a mesh that encrypts. `remit doctor` does not warn of them; nothing else reads it. Default none.',
      ),
  },
  read: (value) => ({
    home: resolve(value.REMIT_HOME),
    databaseUrl: value.DATABASE_URL,
    /** To which clear text may go, in small letters: of the doctor alone. */
    clearTextHosts: (value.CLEAR_TEXT_HOSTS ?? []).map((host) => host.toLowerCase()),
    /** Of backups alone. */
    openfgaDatabaseUrl: value.OPENFGA_DATASTORE_URI,
    openfga:
      value.OPENFGA_API_URL === undefined
        ? undefined
        : {
            apiUrl: value.OPENFGA_API_URL,
            storeId: value.OPENFGA_STORE_ID,
            apiToken: value.OPENFGA_API_TOKEN,
            /** Reads may be answered by a secondary of its database: none is known to be there, or one is. */
            maybeSecondary: value.OPENFGA_SECONDARY !== 'none',
          },
  }),
  contradictions: ({ OPENFGA_API_URL: url, OPENFGA_API_TOKEN: token }) => [
    {
      isSo: url !== undefined && token === undefined && !isLoopback(new URL(url).hostname),
      of: ['OPENFGA_API_TOKEN'],
      problem: 'OPENFGA_API_TOKEN is required with an OPENFGA_API_URL that is not loopback',
    },
  ],
})

/** What the record keeps, and how long. */
export const record = group({
  settings: {
    AUDIT_QUERY_TEXT: flag
      .default(false)
      .describe(
        'true: the record holds what was asked, in words, beside its HMAC. Whoever may read the record reads it; an erasure takes it out. docs/audit.md.',
      ),
    AUDIT_RETENTION_DAYS: count(30)
      // A hundred years. What begins before the calendar of Postgres would end each run with an error.
      .transform((days) => Math.min(days, 36_500))
      .optional()
      .describe(
        'Days after which records are taken away, whole seals at a time; at least 30, and 36500 count at most. Their heads stay. Default: never. docs/audit.md.',
      ),
  },
  read: (value) => ({
    /** Whether what was asked is kept in words. */
    auditQueryText: value.AUDIT_QUERY_TEXT,
    /** undefined: records are kept for ever. */
    auditRetentionDays: value.AUDIT_RETENTION_DAYS,
  }),
})

const nodes = list.pipe(
  z.array(
    z
      .string()
      .refine(isHttpsOrLoopback, { message: 'must be https, or http on loopback' })
      .refine((value) => [URL.parse(value)?.origin, `${URL.parse(value)?.origin}/`].includes(value), {
        message: 'must be an origin, without path and password',
      })
      .transform((value) => new URL(value).origin),
  ),
)

/** The search engine apart, for corpora that one machine does not hold. */
export const searchEngine = group({
  settings: {
    SEARCH_ENGINE_URLS: nodes
      .optional()
      .describe(
        'Origins of the nodes of an OpenSearch 3.6 or a later 3 with its k-NN plugin, with commas between. It then finds passages, in place of Postgres; without it nothing of it is loaded. docs/search-engine.md.',
      ),
    SEARCH_ENGINE_USER: text
      .refine((name) => !name.includes(':'), { message: 'must not have a colon (RFC 7617)' })
      .optional()
      .describe('Who Remit is there.'),
    SEARCH_ENGINE_PASSWORD: text
      .optional()
      .describe('Their password. Required with SEARCH_ENGINE_URLS unless all are on loopback.'),
    SEARCH_ENGINE_SHARDS: count(1)
      .max(64)
      .default(3)
      .describe('Parts of a new index. One that is there keeps its own.'),
    SEARCH_ENGINE_REFRESH_MS: milliseconds(5, 10_000)
      .default(1_000)
      .describe(
        'Milliseconds after which a new index finds what was put: a document is published up to that much later.',
      ),
    SEARCH_ENGINE_RANGE: count(1)
      .max(1_000_000_000)
      .default(1_000_000)
      .describe(
        'Revisions of documents that one index takes; the next ones go into another. A search sends each index its own part of what somebody may read. What is there keeps its own.',
      ),
  },
  read: (value) => ({
    /** undefined: Postgres finds passages. */
    searchEngine: value.SEARCH_ENGINE_URLS && {
      urls: value.SEARCH_ENGINE_URLS,
      authorization:
        value.SEARCH_ENGINE_PASSWORD &&
        `Basic ${Buffer.from(`${value.SEARCH_ENGINE_USER}:${value.SEARCH_ENGINE_PASSWORD}`).toString('base64')}`,
      shards: value.SEARCH_ENGINE_SHARDS,
      refreshMs: value.SEARCH_ENGINE_REFRESH_MS,
      width: value.SEARCH_ENGINE_RANGE,
    },
  }),
  contradictions: (
    { SEARCH_ENGINE_URLS: urls, SEARCH_ENGINE_USER: user, SEARCH_ENGINE_PASSWORD: password },
    _,
    { RANKING_STATISTICS: statistics },
  ) => [
    {
      isSo: (user === undefined) !== (password === undefined),
      of: ['SEARCH_ENGINE_USER', 'SEARCH_ENGINE_PASSWORD'],
      problem: 'SEARCH_ENGINE_USER and SEARCH_ENGINE_PASSWORD belong together: set both or neither',
    },
    {
      isSo: password === undefined && (urls ?? []).some((url) => !isLoopback(new URL(url).hostname)),
      of: ['SEARCH_ENGINE_PASSWORD'],
      problem: 'SEARCH_ENGINE_PASSWORD is required with SEARCH_ENGINE_URLS that are not loopback',
    },
    {
      isSo: urls !== undefined && statistics === 'collection',
      of: ['RANKING_STATISTICS'],
      problem:
        'RANKING_STATISTICS=collection needs Postgres to look words up: the search engine does not know collections. Unset SEARCH_ENGINE_URLS, or set RANKING_STATISTICS=deployment',
    },
  ],
})
