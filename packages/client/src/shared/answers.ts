import type * as approvals from '@remit/contract/approvals'
import type * as retrieval from '@remit/contract/retrieval'
import type * as writes from '@remit/contract/writes'

/** The same, where each word that is one of a list may be another: a newer service has more of them. */
type Open<T> = T extends string
  ? T | (string & {})
  : T extends object
    ? { readonly [Name in keyof T]: Open<T[Name]> }
    : T

/** How a question to the person stands. A `state` that is not known here is no yes. */
export interface Approval extends Open<approvals.Approval> {}
/** A question that was put to the person. */
export interface ApprovalAsked extends Open<approvals.ApprovalAsked> {}
/** Passages, best first. */
export interface RetrieveAnswer extends Open<retrieval.RetrieveAnswer> {}
/** How a job of the service stands. A `state` that is not known here is no success. */
export interface Job extends Open<writes.Job> {}
/** How a job stands, in short. */
export interface JobSummary extends Open<writes.JobSummary> {}
/** One page of jobs, newest first. */
export interface JobList extends Open<writes.JobList> {}
