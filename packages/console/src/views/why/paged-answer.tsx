import type { NotHere, WhoCanPage } from '@remit/contract/explain'
import type { ComponentChildren } from 'preact'
import { Asked } from '../../parts/async-answer.tsx'
import type { Inputs } from '../../parts/form.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { usePages } from '../../parts/use-pages.tsx'
import { ReplicaNote } from './replica.tsx'

/** What every page of such a list has. */
type Page = Pick<WhoCanPage, keyof NotHere | 'cursor' | 'complete' | 'replica' | 'txn'>

interface Question<P extends Page> {
  readonly path: string
  readonly inputs: Inputs
  /** Said where `complete` is false. */
  readonly missing: string
  /** What stands above all, whatever the list holds. */
  readonly above?: (firstPage: P) => ComponentChildren
  readonly children: (pages: readonly P[], hasMore: boolean) => ComponentChildren
}

/**
 * A question that a list answers, in pages: those so far, the way to the next, and what is to be known of
 * them.
 */
export const PagedAnswer = <P extends Page>(props: Question<P> & { readonly subject: string }) => (
  <Asked<P> path={props.path} body={props.inputs} subject={props.subject}>
    {(firstPage) => <Pages {...props} first={firstPage} />}
  </Asked>
)

function Pages<P extends Page>(props: Question<P> & { readonly first: P }) {
  const { first: firstPage, path, inputs, missing, above, children } = props
  const { pages, lastPage, hasMore, problem, button } = usePages({
    first: firstPage,
    cursorOf: (page) => page.cursor,
    ask: (api, cursor) => api.post<P>(path, { ...inputs, cursor }),
    more: 'More',
  })
  return (
    <>
      {above?.(firstPage)}
      {firstPage.never_here.length > 0 ? <NeverHere of={firstPage} /> : children(pages, hasMore)}
      {problem}
      {hasMore && <p>{button}</p>}
      {pages.some(({ complete: isComplete }) => !isComplete) && (
        <p class="warn" role="status">
          {missing}
        </p>
      )}
      <ReplicaNote replica={lastPage.replica} />
      <p class="soft">
        On record as <code>{lastPage.txn}</code>
      </p>
    </>
  )
}
