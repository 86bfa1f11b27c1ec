import { createContext } from 'preact'
import { useContext, useEffect, useState } from 'preact/hooks'
import type { Api } from './api.ts'
import { Problem } from './api.ts'

/** What every view may use. */
export interface Console {
  readonly api: Api
  readonly subject: string
  readonly roles: readonly string[]
  /** Whether there is such a section for this person: `/explain`. */
  readonly leadsTo: (path: string) => boolean
  /** Milliseconds since the epoch: when the sign-in ends. */
  readonly until: number
  /** False: the service was not there to be told. */
  readonly signOut: () => Promise<boolean>
  /** Leaves for the sign-in page, to prove anew who one is, and comes back. */
  readonly signInAgain: () => void
}

/** The console around a view; undefined while nobody is signed in. */
export const ConsoleContext = createContext<Console | undefined>(undefined)

/** The console around a view. Throws where nobody is signed in. */
export function useConsole(): Console {
  const value = useContext(ConsoleContext)
  if (value === undefined) throw new Error('Nobody is signed in.')
  return value
}

/** A request on its way, its value, or its problem. */
export type Answer<T> =
  | { readonly state: 'asking' }
  | { readonly state: 'there'; readonly value: T }
  | { readonly state: 'failed'; readonly problem: Problem }

/** Asks once for each `key`, and not for null. What was asked before is given up. */
export function useAnswer<T>(
  key: string | null,
  ask: (api: Api, signal: AbortSignal) => Promise<T>,
): Answer<T> {
  const { api } = useConsole()
  const [answer, setAnswer] = useState<{ readonly key: string | null; readonly is: Answer<T> }>()
  useEffect(() => {
    if (key === null) return undefined
    const stop = new AbortController()
    const say = (is: Answer<T>): void => {
      if (!stop.signal.aborted) setAnswer({ key, is })
    }
    ask(api, stop.signal).then(
      (value) => say({ state: 'there', value }),
      (thrown: unknown) => say({ state: 'failed', problem: asProblem(thrown) }),
    )
    return () => stop.abort()
  }, [key])
  return answer !== undefined && answer.key === key ? answer.is : { state: 'asking' }
}

/** Whatever was thrown, as a problem that can be shown. */
export const asProblem = (thrown: unknown): Problem =>
  thrown instanceof Problem ? thrown : new Problem(0, { title: 'The console failed', detail: String(thrown) })
