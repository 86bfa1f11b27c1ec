/** One line of the operator's log. Fields hold no token, no document text and no query. */
export type Log = (event: string, fields?: Readonly<Record<string, unknown>>) => void
