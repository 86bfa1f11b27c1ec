import type { NotHere, WhoCanPage } from '@remit/contract/explain'
import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import type { Problem } from '../../api.ts'
import { NeverHere } from '../../parts/never-here.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { asProblem, useConsole } from '../../use-answer.ts'
import type { Asked } from './ask-form.tsx'
import { ReplicaNote } from './replica.tsx'

/** What every page of a list has. */
type Page = Pick<WhoCanPage, keyof NotHere | 'cursor' | 'complete' | 'replica' | 'txn'>

/** A list that comes in pages: all that were fetched so far, the way to the next, and what is to be known of them. */
export function Pages<P extends Page>(props: {
  readonly first: P
  readonly path: string
  readonly asked: Asked
  /** Said where `complete` is false. */
  readonly missing: string
  readonly children: (pages: readonly P[], hasMore: boolean) => ComponentChildren
}) {
  const { first, path, asked, missing, children } = props
  const { api } = useConsole()
  const [pages, setPages] = useState<readonly P[]>([first])
  const [problem, setProblem] = useState<Problem>()
  const [isAsking, setAsking] = useState(false)
  const last = pages.at(-1) ?? first

  async function more(): Promise<void> {
    setAsking(true)
    setProblem(undefined)
    try {
      const next = await api.post<P>(path, { ...asked, cursor: last.cursor })
      setPages([...pages, next])
    } catch (thrown) {
      setProblem(asProblem(thrown))
    } finally {
      setAsking(false)
    }
  }

  return (
    <>
      {first.never_here.length > 0 ? <NeverHere of={first} /> : children(pages, last.cursor !== null)}
      {problem !== undefined && <ProblemBox problem={problem} />}
      {last.cursor !== null && (
        <p>
          <button type="button" disabled={isAsking} onClick={() => void more()}>
            More
          </button>
        </p>
      )}
      {pages.some(({ complete }) => !complete) && (
        <p class="warn" role="status">
          {missing}
        </p>
      )}
      <ReplicaNote replica={last.replica} />
      <p class="soft">
        On record as <code>{last.txn}</code>
      </p>
    </>
  )
}
