/** Of each request: when it has to end, and by what the endpoint's own record tells it from a person's. */
export interface Mark {
  readonly signal: AbortSignal
  /** W3C `traceparent`, one trace for a run. */
  readonly traceparent: string
}

/** What is asked of an endpoint. */
export interface Question extends Mark {
  /** Of whoever asks; empty: nobody's. */
  readonly token: string
  readonly query: string
  /** How many passages are wanted at most. */
  readonly k: number
}

export interface Passage {
  readonly id: string
  readonly document: string
  readonly text?: string
  /** Where the endpoint says one: it must not depend on what the person may not read. */
  readonly score?: number
}

export interface Answer {
  readonly status: number
  /** Size of the body. */
  readonly bytes: number
  /** Best first; none where the endpoint refused. */
  readonly passages: readonly Passage[]
  /** false: the endpoint itself says that there may be more. */
  readonly complete?: boolean
  /** The body as it came. It is searched for what the person may not know, and never kept. */
  readonly raw?: string
  /** How long it asks to wait, where it refuses for now (429, 503). Left out: longer each time. */
  readonly retryAfterMs?: number
  /** Whatever else of it the person sees, such as a count of hits. A finding says its name alone. */
  readonly facts?: Readonly<Record<string, string | number | boolean>>
}

/** One whole document, by its id. */
export interface Reading extends Mark {
  readonly token: string
  readonly document: string
}

/**
 * Writes invented documents, in a place of their own that nothing else uses. Each resolves once the endpoint
 * has acknowledged the change: from then on it counts.
 */
export interface Canary {
  put(document: CanaryDocument, mark: Mark): Promise<void>
  /** These alone, from now on. */
  setReaders(document: string, readers: readonly string[], mark: Mark): Promise<void>
  remove(document: string, mark: Mark): Promise<void>
}

export interface CanaryDocument {
  readonly id: string
  readonly title: string
  readonly text: string
  readonly readers: readonly string[]
}

/** An endpoint, as the probes see it. */
export interface Adapter {
  readonly name: string
  retrieve(question: Question): Promise<Answer>
  /** Left out where the endpoint has no such thing. */
  read?(reading: Reading): Promise<Answer>
  /** Left out: nothing is written, and what only planted documents show is not tried. */
  readonly canary?: Canary
  close?(): Promise<void>
}
