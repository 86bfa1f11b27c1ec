/** What a reading takes in at most. What is read anew begins from nothing. */
export interface ReadingBounds {
  /** Of all answers, decoded. */
  readonly bytes: number
  /** Of one message of LDAP, or one answer by HTTP. */
  readonly answerBytes: number
  /** Of one page by LDAP, whatever size was asked for. */
  readonly pageEntries: number
  /** People, groups, and members where each has an entry of a list; what is read twice counts twice. */
  readonly entries: number
}

/** 1 GiB, 64 MiB of it at once, and five million entries. */
export const readingBounds: ReadingBounds = {
  bytes: 2 ** 30,
  answerBytes: 2 ** 26,
  pageEntries: 10_000,
  entries: 5_000_000,
}

/** Counts what comes in. */
export interface Meter extends Pick<ReadingBounds, 'answerBytes' | 'pageEntries'> {
  /** The error with which the reading ends, once this is more than is taken in. */
  add(what: 'bytes' | 'entries', count: number): Error | undefined
}

/** Begins from nothing. */
export function createMeter(bounds: ReadingBounds): Meter {
  const counted = { bytes: 0, entries: 0 }
  return {
    answerBytes: bounds.answerBytes,
    pageEntries: bounds.pageEntries,
    add(what, count) {
      counted[what] += count
      return counted[what] > bounds[what]
        ? new Error(`The server does not come to an end within ${bounds[what]} ${what}.`)
        : undefined
    },
  }
}
