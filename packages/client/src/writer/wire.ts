import type { AccessChanged, Job, JobEntry } from '@remit/contract/writes'
import { type Check, isNumber, isText, listOf, optional, shape, wordOf } from '../shared/shape.ts'

const isEntry: Check<JobEntry> = shape<JobEntry>({
  line: optional(isNumber),
  id: optional(isText),
  code: isText,
  field: optional(isText),
  detail: isText,
})

/** Whether this is a job as the service tells it. */
export const isJob: Check<Job> = shape<Job>({
  id: isText,
  state: wordOf('queued', 'running', 'done', 'failed'),
  done: isNumber,
  failed: isNumber,
  total: isNumber,
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
