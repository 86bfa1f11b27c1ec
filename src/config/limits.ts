import { z } from 'zod'
import { count, milliseconds, seconds } from './forms.ts'
import { group } from './group.ts'

/** How questions are searched for and decided. */
export const retrieval = group({
  settings: {
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
      .describe(
        'Milliseconds between two looks of the permission index at the end of the OpenFGA change log.',
      ),
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
    SEARCH_THREADS: count(0)
      .max(64)
      .optional()
      .describe(
        'Threads that look for what is near a question, where it is asked about 3,000 passages or more; 0: the main one does. Default as many as there are cores, at most 4; on one core 0.',
      ),
  },
  read: (value) => ({
    verdictTtlMs: value.VERDICT_TTL * 1_000,
    openfgaCacheTtlMs: value.OPENFGA_CACHE_TTL * 1_000,
    indexPollMs: value.INDEX_POLL_MS,
    rankingStatistics: value.RANKING_STATISTICS,
    shadowSearchShare: value.SHADOW_SEARCH_SHARE,
    searchThreads: value.SEARCH_THREADS,
  }),
})

/** How much, how often, how long; and how many must agree. */
export const limits = group({
  settings: {
    REQUEST_DEADLINE_MS: milliseconds(100, 60_000)
      .default(5_000)
      .describe('Milliseconds that a request may take; then only what is proven is answered.'),
    WRITE_DEADLINE_MS: milliseconds(1_000, 60_000)
      .default(20_000)
      .describe(
        'Milliseconds that a changing request may take once all of it has arrived; then 503, though it may have been accepted. At least twice REQUEST_DEADLINE_MS.',
      ),
    BODY_BYTES_MAX: count(1_024)
      .default(20_000_000)
      .describe('Largest document body in bytes; queries are held to 256 KiB, imports stream.'),
    RATE_PER_MINUTE: count(1)
      .default(600)
      .describe(
        'Requests a minute for each pair of person and agent; each client and each address has 20 times that.',
      ),
    BEGIN_PER_MINUTE: count(1)
      .default(120)
      .describe(
        'Authorization requests, pushed requests, device codes and sign-ins elsewhere that one network address may begin in a minute; behind a proxy that TRUSTED_PROXIES does not name all of its clients are one address.',
      ),
    LEASE_SECONDS: count(1)
      .max(300)
      .default(30)
      .describe(
        'Seconds after which what a process held that died or stands still goes to another. Shorter in tests, longer on slow machines; nothing rests on it but how long others wait.',
      ),
    MODEL_APPLY_APPROVERS: count(1)
      .max(2)
      .optional()
      .describe(
        'Different people who must confirm a changed authorization model as administrators; linked accounts are one. Default 2; 1 in the demo. Where its tests fail, 2 at least outside the demo.',
      ),
  },
  read: (value, { demo }) => ({
    requestDeadlineMs: value.REQUEST_DEADLINE_MS,
    writeDeadlineMs: Math.max(value.WRITE_DEADLINE_MS, 2 * value.REQUEST_DEADLINE_MS),
    bodyBytesMax: value.BODY_BYTES_MAX,
    ratePerMinute: value.RATE_PER_MINUTE,
    beginPerMinute: value.BEGIN_PER_MINUTE,
    leaseSeconds: value.LEASE_SECONDS,
    modelApplyApprovers: value.MODEL_APPLY_APPROVERS ?? (demo ? 1 : 2),
    /** And at least so many where its tests fail: nobody goes over those alone, but who looks at a demo. */
    modelApplyApproversDespiteTests: demo ? 1 : 2,
  }),
})

/** What reading documents may cost. */
export const ingestion = group({
  settings: {
    PARSER_THREADS: count(1)
      .max(64)
      .optional()
      .describe(
        'Documents that are read at a time, each in a thread that takes PARSER_MEMORY_MB at most; those of one service leave one thread to others, so 1 lets a slow document hold up everybody. Default one less than there are cores, at least 2 and at most 4.',
      ),
    PARSER_CPU_SECONDS: count(1)
      .max(3_600)
      .default(60)
      .describe(
        'Seconds of processor that reading one document may take; ten times as long by the clock ends one that stands still.',
      ),
    PARSER_MEMORY_MB: count(64)
      .max(65_536)
      .default(512)
      .describe(
        'MiB of memory that reading one document may take; for a moment it can be half as much again: docs/flows/ingest.md.',
      ),
  },
  read: (value) => ({
    parserThreads: value.PARSER_THREADS,
    parserCpuMs: value.PARSER_CPU_SECONDS * 1_000,
    parserMemoryBytes: value.PARSER_MEMORY_MB * 1024 * 1024,
  }),
})
