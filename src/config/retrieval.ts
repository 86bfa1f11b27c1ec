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
