/** What the check finds in one place of a page. Lines count from 1. */
export interface Finding {
  readonly path: string
  readonly line: number
  readonly problem: string
}

/** As wide as the formatter makes code. */
const columnsMax = 110

/** The lines of comments that are wider than code: the formatter leaves them as they are. */
export const wideComments = (path: string, source: string): readonly Finding[] =>
  source
    .split('\n')
    .flatMap((text, index) =>
      /^ *(\/\/|\/?\*)/.test(text) && text.length > columnsMax
        ? [{ path, line: index + 1, problem: `a comment of ${text.length} columns; ${columnsMax} at most` }]
        : [],
    )
