import { count } from './forms.ts'
import { group } from './group.ts'

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
