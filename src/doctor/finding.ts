/** What one look found. */
export interface Finding {
  /** Which part, in a word or two. */
  readonly part: string
  readonly status: 'ok' | 'warning' | 'problem'
  /** What it is, in a sentence. */
  readonly says: string
  /** What to do; left out where all is well. */
  readonly remedy?: string
}

/** All is well. */
export const ok = (part: string, says: string): Finding => ({ part, status: 'ok', says })

/** The service works; somebody should look at it soon. */
export const warning = (part: string, says: string, remedy: string): Finding => ({
  part,
  status: 'warning',
  says,
  remedy,
})

/** It does not work, loses something, or is open to somebody who should not get in. */
export const problem = (part: string, says: string, remedy: string): Finding => ({
  part,
  status: 'problem',
  says,
  remedy,
})
