/** No service is there to do it: it may be restarting. */
export class NotAnsweringError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'NotAnsweringError'
  }
}

/** fetch says "fetch failed" where no connection came about, "terminated" where one broke. */
export const isNotAnswering = (error: unknown): boolean =>
  error instanceof NotAnsweringError ||
  (error instanceof TypeError && (error.message === 'fetch failed' || error.message === 'terminated'))
