import { createContext } from 'preact'
import { useContext, useEffect, useState } from 'preact/hooks'
import { type Api, Problem } from './api.ts'

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

/**
 * What a button or a form does, one thing at a time: whether it is under way, and what went wrong with it
 * last.
 */
export function useAction() {
  const [doing, setDoing] = useState<string>()
  const [problem, setProblem] = useState<Problem>()
  const fail = (thrown: unknown): void => setProblem(asProblem(thrown))
  async function act(doIt: () => Promise<void>, name: string): Promise<void> {
    setDoing(name)
    setProblem(undefined)
    try {
      await doIt()
    } catch (thrown) {
      fail(thrown)
    } finally {
      setDoing(undefined)
    }
  }
  return {
    /** The name of what is under way. */
    doing,
    problem,
    fail,
    run: (doIt: () => Promise<void>, name = 'it'): void => void act(doIt, name),
  }
}

/** Whatever was thrown, as a problem that can be shown. */
const asProblem = (thrown: unknown): Problem =>
  thrown instanceof Problem ? thrown : new Problem(0, { title: 'The console failed', detail: String(thrown) })
