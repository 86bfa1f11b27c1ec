/** One question and what it was answered: by the frozen version, and so by each later one. */
export interface NotedQuestion {
  readonly user: string
  /** Left out: the person themselves. */
  readonly agent?: string
  readonly query: string
  /** Ids of the documents and their passages, sorted. */
  readonly passages: readonly string[]
}

/** What a version says of the database that it left. */
export interface Noted {
  readonly version: string
  /** Milliseconds since the epoch. */
  readonly frozenAt: number
  readonly modelId: string
  readonly modelText: string
  readonly questions: readonly NotedQuestion[]
  readonly delegations: { readonly live: string; readonly revoked: string; readonly other: string }
  readonly grants: { readonly used: string; readonly open: string }
  /** A token that was revoked before it was over. */
  readonly connection: { readonly id: string; readonly subject: string; readonly accessToken: string }
  /** The end of the sealed record, as whoever keeps heads has it. */
  readonly heads: readonly { readonly seal: number; readonly head: string }[]
  /** Ids of jobs by how far they were. */
  readonly jobs: { readonly half: string; readonly begun: string; readonly waiting: readonly string[] }
  /** Ids of the documents of those jobs. */
  readonly underWay: readonly string[]
  readonly group: string
  readonly disabledAgent: string
}
