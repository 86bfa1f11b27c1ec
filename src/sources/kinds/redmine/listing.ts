import { pageSize, type RedmineApi } from './api.ts'
import { type Faults, ItemRefused } from './faults.ts'
import { type Issue, readIssues } from './items.ts'

/** Issues in the order of their ids, or where in that order there are some that cannot be read. */
export type IssuePart =
  | { readonly kind: 'issues'; readonly issues: readonly Issue[]; readonly total: number }
  | IssueGap

/** What lies here cannot be read, if it was not deleted this moment. */
export interface IssueGap {
  readonly kind: 'gap'
  readonly from: number
  /** The id of the next issue; infinity: there is none. */
  readonly to: number
  readonly problem: string
}

interface Listing {
  readonly api: RedmineApi
  readonly faults: Faults
  readonly signal: AbortSignal | undefined
}

type Parts = AsyncGenerator<IssuePart, number | undefined>

/**
 * All issues. A page at which Redmine fails is asked for in halves, down to one issue, which is passed over.
 *
 * @throws SourceUnavailable where Redmine itself fails.
 */
export async function* listIssues(list: Listing): AsyncGenerator<IssuePart> {
  for (let from: number | undefined = 1; from !== undefined; ) from = yield* some(list, from, pageSize)
}

/** `limit` of them, from an id on. Gives the id from which it goes on; undefined: there are no more. */
async function* some(list: Listing, from: number, limit: number): Parts {
  const { api, faults, signal } = list
  const page = await readIssues(api, from, { limit, signal }).catch((error: unknown) =>
    faults.ofList(error, signal),
  )
  if (page instanceof ItemRefused) {
    if (limit === 1) return yield* passOver(list, from, page.message)
    const half = Math.floor(limit / 2)
    const next = yield* some(list, from, half)
    return next === undefined ? undefined : yield* some(list, next, limit - half)
  }
  faults.listed()
  yield { kind: 'issues', issues: page.issues, total: page.total }
  const last = page.issues.at(-1)
  return page.isLast || last === undefined ? undefined : last.id + 1
}

/** The id of the first issue from an id on is not told. It lies before that of the next one that comes. */
async function* passOver({ api, faults, signal }: Listing, from: number, problem: string): Parts {
  for (let offset = 1; ; offset += 1) {
    const beside = await readIssues(api, from, { limit: 1, offset, signal }).catch((error: unknown) =>
      faults.ofList(error, signal),
    )
    if (beside instanceof ItemRefused) continue
    faults.listed()
    const [next] = beside.issues
    yield { kind: 'gap', from, to: next?.id ?? Number.POSITIVE_INFINITY, problem }
    return next?.id
  }
}
