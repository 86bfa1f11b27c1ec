import { useState } from 'preact/hooks'
import type { Api } from '../api.ts'
import { useAction, useConsole } from '../use-answer.ts'
import { ProblemBox } from './problem.tsx'

/**
 * A list that comes in pages: those that were fetched so far, and the way to the next, which the last one
 * names.
 */
export function usePages<P>(options: {
  readonly first: P
  readonly cursorOf: (page: P) => string | null | undefined
  readonly ask: (api: Api, cursor: string) => Promise<P>
  /** The words of the button. */
  readonly more: string
}) {
  const { first: firstPage, cursorOf, ask, more } = options
  const { api } = useConsole()
  const [pages, setPages] = useState<readonly P[]>([firstPage])
  const { doing, problem, run } = useAction()
  const lastPage = pages.at(-1) ?? firstPage
  const cursor = cursorOf(lastPage) ?? undefined
  const loadMore = (next: string): void => run(async () => setPages([...pages, await ask(api, next)]))
  return {
    pages,
    lastPage,
    hasMore: cursor !== undefined,
    problem: problem !== undefined && <ProblemBox problem={problem} />,
    button: cursor !== undefined && (
      <button type="button" disabled={doing !== undefined} onClick={() => loadMore(cursor)}>
        {more}
      </button>
    ),
  }
}
