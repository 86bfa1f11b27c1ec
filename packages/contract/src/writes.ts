// Types alone, so that whoever reads them needs no zod.

/**
 * Who may read a document, and what narrows that. Members that are left out: nobody. Subjects as `user:anne`.
 */
export interface DocumentAccess {
  readonly owner?: string
  /** `user:ID`, `group:ID#member`, `organization:ID#member`, or `user:*` where the collection allows it. */
  readonly viewers?: readonly (string | { readonly user: string; readonly expires_at: string })[]
  /** `folder:ID`, `zone:ID` or `collection:ID`, whose readers may read it and whose denies hold for it. */
  readonly parents?: readonly string[]
  /** Who may not read it, whatever else lets them: `user:ID` or `group:ID#member`. */
  readonly blocked?: readonly string[]
  readonly sensitive?: boolean
}

type MetadataValue = string | number | boolean

/**
 * A document as `PUT /documents/{id}` takes it. Exactly one of `text` and `content_base64`, which needs
 * `mime_type`.
 */
export interface DocumentInput {
  readonly id: string
  /** Where it is filed. That lets nobody read it. */
  readonly collection: string
  readonly title: string
  /** Where a citation leads. */
  readonly uri?: string
  readonly text?: string
  readonly content_base64?: string
  /** Default for `text`: `text/markdown`. */
  readonly mime_type?: string
  readonly metadata?: Readonly<Record<string, MetadataValue | readonly MetadataValue[]>>
  /** ISO 8601. */
  readonly updated_at?: string
  /** A whole number: the service keeps the content of the highest. */
  readonly version?: number
  /** Left out: nobody may read it. */
  readonly access?: DocumentAccess
}

/** What a job says about one document, or about itself. */
export interface JobEntry {
  /** Line of the import, from 1. */
  readonly line?: number | undefined
  /** Of the document. */
  readonly id?: string | undefined
  readonly code: string
  /** Member of the document that is wrong. */
  readonly field?: string | undefined
  readonly detail: string
}

/** How a job stands, in short, as `GET /jobs` lists it. */
export interface JobSummary {
  readonly id: string
  /** Name of the service whose job it is. */
  readonly service: string
  /** `retry`: content that had failed and was held, taken in again. */
  readonly kind: 'document' | 'withdrawal' | 'import' | 'retry'
  /**
   * `failed`: nothing of it went in, or the body of an import broke off. With some errors among successes:
   * `done`.
   */
  readonly state: 'queued' | 'running' | 'done' | 'failed'
  /** ISO 8601. */
  readonly created_at: string
  readonly done: number
  readonly failed: number
  /** How many were accepted and have not ended. */
  readonly queued: number
  readonly total: number
  /** How many ended in a second, of late. Left out where it is not known. */
  readonly rate?: number | undefined
  /** ISO 8601: when all will have ended at this rate. Left out where it is not known. */
  readonly estimated_end?: string | undefined
}

/** How a job of the service stands. What an older service does not say is left out. */
export interface Job
  extends Pick<JobSummary, 'id' | 'state' | 'done' | 'failed' | 'total'>,
    Partial<Pick<JobSummary, 'service' | 'kind' | 'created_at' | 'queued' | 'rate' | 'estimated_end'>> {
  /** How many of those done were withdrawn. */
  readonly withdrawn: number
  readonly errors: readonly JobEntry[]
  /** What the service kept, or left undone, beside what was asked. */
  readonly notes: readonly JobEntry[]
}

/** One page of `GET /jobs`, newest first. */
export interface JobList {
  readonly jobs: readonly JobSummary[]
  /** Where the next page begins; null on the last. */
  readonly cursor: string | null
  readonly txn: string
}

/** A document whose newest content could not be taken in. What is live of it, if anything, is as it was. */
export interface FailedDocument {
  readonly id: string
  readonly collection: string
  /** Name of the service that sent it. */
  readonly service: string
  readonly code: string
  readonly detail: string
  /** ISO 8601. */
  readonly failed_at: string
  /** How often it was tried. */
  readonly tries: number
  /** Whether `retry` can take it in again; if not, send it again. */
  readonly held: boolean
}

/** One page of `GET /documents?state=failed`, newest failure first. */
export interface FailedDocumentList {
  readonly documents: readonly FailedDocument[]
  /** Where the next page begins; null on the last. */
  readonly cursor: string | null
  readonly txn: string
}

/** A relationship tuple of `POST /access`. */
export interface AccessTuple {
  /** `user:ID`, `group:ID#member`, … */
  readonly user: string
  readonly relation: string
  /** `type:ID` */
  readonly object: string
  /** `{name: 'until', context: {expires_at}}`, and no other. */
  readonly condition?: { readonly name: string; readonly context: Readonly<Record<string, unknown>> }
}

/** Tuples to write and to delete in one change. Both are left out where there are none. */
export interface AccessChange {
  readonly writes?: readonly AccessTuple[]
  readonly deletes?: readonly Omit<AccessTuple, 'condition'>[]
}

/** The answer to a change of access, which is in force by then. */
export interface AccessChanged {
  readonly notes: readonly JobEntry[]
  readonly txn: string
}
