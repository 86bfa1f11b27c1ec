import type { AccessChanged, FailedDocument, FailedDocumentList, JobEntry } from '@remit/contract/writes'
import type { Job, JobList, JobSummary } from '../shared/answers.ts'
import { type Check, isBoolean, isNumber, isText, listOf, optional, orNull, shape } from '../shared/shape.ts'

const isEntry: Check<JobEntry> = shape<JobEntry>({
  line: optional(isNumber),
  id: optional(isText),
  code: isText,
  field: optional(isText),
  detail: isText,
})

const summary = {
  id: isText,
  state: isText,
  done: isNumber,
  failed: isNumber,
  total: isNumber,
  rate: optional(isNumber),
  estimated_end: optional(isText),
} as const

/** Whether this is a job as the service tells it. */
export const isJob: Check<Job> = shape<Job>({
  ...summary,
  service: optional(isText),
  kind: optional(isText),
  created_at: optional(isText),
  queued: optional(isNumber),
  withdrawn: isNumber,
  errors: listOf(isEntry),
  notes: listOf(isEntry),
})

/** Whether this is the answer to accepted work: the job's id, with the whole job where it has ended. */
export const isJobAnswer: Check<{ readonly job: { readonly id: string } }> = shape<{
  job: { readonly id: string }
}>({ job: shape<{ id: string }>({ id: isText }) })

/** Whether this is the answer to a change of access. */
export const isAccessChanged: Check<AccessChanged> = shape<AccessChanged>({
  notes: listOf(isEntry),
  txn: isText,
})

/** Whether this is a page of jobs. */
export const isJobList: Check<JobList> = shape<JobList>({
  jobs: listOf(
    shape<JobSummary>({ ...summary, service: isText, kind: isText, created_at: isText, queued: isNumber }),
  ),
  cursor: orNull(isText),
  txn: isText,
})

/** Whether this is a page of documents that failed. */
export const isFailedDocumentList: Check<FailedDocumentList> = shape<FailedDocumentList>({
  documents: listOf(
    shape<FailedDocument>({
      id: isText,
      collection: isText,
      service: isText,
      code: isText,
      detail: isText,
      failed_at: isText,
      tries: isNumber,
      held: isBoolean,
    }),
  ),
  cursor: orNull(isText),
  txn: isText,
})
