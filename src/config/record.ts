import { count, flag } from './forms.ts'
import { group } from './group.ts'

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
