import { resolve } from 'node:path'
import { z } from 'zod'
import { count, flag, httpUrl, isLoopback, text } from './forms.ts'
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
    OPENFGA_SECONDARY: z
      .enum(['unknown', 'none', 'present'])
      .default('unknown')
      .describe(
        'Whether OpenFGA reads from a secondary of its database (OPENFGA_DATASTORE_SECONDARY_URI): `none` if you know that it has none; otherwise marks are written into its log to tell how far that is behind, and every check goes past its caches and the secondary, which is slower (docs/scaling.md).',
      ),
  },
  read: (value) => ({
    home: resolve(value.REMIT_HOME),
    databaseUrl: value.DATABASE_URL,
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
      .optional()
      .describe(
        'Days after which records are taken away, whole seals at a time; at least 30. Their heads stay. Default: never. docs/audit.md.',
      ),
  },
  read: (value) => ({
    /** Whether what was asked is kept in words. */
    auditQueryText: value.AUDIT_QUERY_TEXT,
    /** undefined: records are kept for ever. */
    auditRetentionDays: value.AUDIT_RETENTION_DAYS,
  }),
})
