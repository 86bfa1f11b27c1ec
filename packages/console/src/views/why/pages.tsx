import type { NotHere, WhoCanPage } from '@remit/contract/explain'
import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import type { Problem } from '../../api.ts'
import { NeverHere } from '../../parts/never-here.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { asProblem, useConsole } from '../../use-answer.ts'
import type { Inputs } from './ask-form.tsx'
import { ReplicaNote } from './replica.tsx'

/** What every page of a list has. */
type Page = Pick<WhoCanPage, keyof NotHere | 'cursor' | 'complete' | 'replica' | 'txn'>

/** A list that comes in pages: all that were fetched so far, the way to the next, and what is to be known of them. */
export function Pages<P extends Page>(props: {
  readonly first: P
  readonly path: string
  readonly asked: Inputs
  /** Said where `complete` is false. */
  readonly missing: string
  readonly children: (pages: readonly P[], hasMore: boolean) => ComponentChildren
}) {
  const { first: firstPage, path, asked: inputs, missing, children } = props
  const { api } = useConsole()
  const [pages, setPages] = useState<readonly P[]>([firstPage])
  const [problem, setProblem] = useState<Problem>()
  const [isAsking, setAsking] = useState(false)
  const lastPage = pages.at(-1) ?? firstPage

  async function loadMore(): Promise<void> {
    setAsking(true)
    setProblem(undefined)
    try {
      const next = await api.post<P>(path, { ...inputs, cursor: lastPage.cursor })
      setPages([...pages, next])
    } catch (thrown) {
      setProblem(asProblem(thrown))
    } finally {
      setAsking(false)
    }
  }

  return (
    <>
      {firstPage.never_here.length > 0 ? (
        <NeverHere of={firstPage} />
      ) : (
        children(pages, lastPage.cursor !== null)
      )}
      {problem !== undefined && <ProblemBox problem={problem} />}
      {lastPage.cursor !== null && (
        <p>
          <button type="button" disabled={isAsking} onClick={() => void loadMore()}>
            More
          </button>
        </p>
      )}
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
