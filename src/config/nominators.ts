import { z } from 'zod'
import { list, text } from './forms.ts'
import { group } from './group.ts'

const originRule = 'must be https origins, without path and password'

const isHttpsOrigin = (value: string): boolean => {
  const url = URL.parse(value)
  return url?.protocol === 'https:' && [url.origin, `${url.origin}/`].includes(value)
}

/** Those of one share with commas between, and a semicolon before the next share. */
const shares = z
  .string()
  .transform((value) => value.split(';'))
  .pipe(
    z
      .array(
        list.pipe(
          z.array(
            z
              .string()
              .refine(isHttpsOrigin, { message: originRule })
              .transform((value) => new URL(value).origin),
          ),
        ),
      )
      .max(1_000),
  )

const share = z
  .string()
  .regex(/^[1-9]\d{0,2}\/[1-9]\d{0,2}$/, 'must be like 2/3: the second of three shares')
  .transform((value) => {
    const [number = 1, of = 1] = value.split('/').map(Number)
    return { number, of }
  })
  .refine(({ number, of }) => number <= of, { message: 'must be like 2/3: the second of three shares' })

const files = ['NOMINATOR_TLS_CERT', 'NOMINATOR_TLS_KEY', 'NOMINATOR_TLS_CA'] as const

/** Processes that hold the replica of OpenFGA's tuples for those that answer requests. */
export const nominators = group({
  settings: {
    NOMINATOR_URLS: shares
      .optional()
      .describe(
        'Who holds the tuples for this process, which then holds none: the https origins of processes with REMIT_ROLE=nominator, those of one share with commas between, and a semicolon before the next share. Left out: it holds all of them itself. docs/scaling.md.',
      ),
    NOMINATOR_SHARE: share
      .optional()
      .describe(
        'Of REMIT_ROLE=nominator: whose tuples it holds, such as 2/3 for the second of three shares of all people. Default 1/1, everybody’s.',
      ),
    NOMINATOR_TLS_CERT: text
      .optional()
      .describe(
        'File (PEM) with this process’s certificate between nominators and whoever asks them: with the alternative name urn:remit:role:nominator, or urn:remit:role:api with NOMINATOR_URLS. Read at the start, as the two below.',
      ),
    NOMINATOR_TLS_KEY: text.optional().describe('File (PEM) with its key.'),
    NOMINATOR_TLS_CA: text
      .optional()
      .describe(
        'File (PEM) with the authority that signs both, and nothing else: whoever has a certificate of it may be a nominator, or ask one.',
      ),
  },
  read: (value) => ({
    /** undefined: this process holds all tuples. */
    nominatorShares: value.NOMINATOR_URLS,
    nominatorShare: value.NOMINATOR_SHARE ?? { number: 1, of: 1 },
    nominatorTls: {
      cert: value.NOMINATOR_TLS_CERT,
      key: value.NOMINATOR_TLS_KEY,
      ca: value.NOMINATOR_TLS_CA,
    },
  }),
  contradictions: (value, _, env) => {
    const isNominator = (env.REMIT_ROLE ?? '').split(',').some((role) => role.trim() === 'nominator')
    const asks = value.NOMINATOR_URLS !== undefined
    return [
      {
        isSo: isNominator && asks,
        of: ['REMIT_ROLE', 'NOMINATOR_URLS'],
        problem: 'NOMINATOR_URLS is for those that ask: a nominator holds the tuples itself',
      },
      {
        isSo: !isNominator && value.NOMINATOR_SHARE !== undefined,
        of: ['REMIT_ROLE', 'NOMINATOR_SHARE'],
        problem: 'NOMINATOR_SHARE is for REMIT_ROLE=nominator: every other process holds all tuples, or none',
      },
      {
        isSo: (isNominator || asks) && files.some((name) => value[name] === undefined),
        of: ['REMIT_ROLE', 'NOMINATOR_URLS', ...files],
        problem:
          'NOMINATOR_TLS_CERT, NOMINATOR_TLS_KEY and NOMINATOR_TLS_CA are required with NOMINATOR_URLS and with REMIT_ROLE=nominator: each side has to show what it is',
      },
      {
        isSo: (isNominator || asks) && (!env.DATABASE_URL || !env.OPENFGA_API_URL),
        of: ['REMIT_ROLE', 'NOMINATOR_URLS', 'DATABASE_URL', 'OPENFGA_API_URL'],
        problem:
          'NOMINATOR_URLS and REMIT_ROLE=nominator need DATABASE_URL and OPENFGA_API_URL: what is embedded belongs to one process',
      },
    ]
  },
})
