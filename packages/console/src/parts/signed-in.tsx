import { useEffect, useState } from 'preact/hooks'
import { useAction, useConsole } from '../use-answer.ts'

const lastMinutes = 2
const minuteMs = 60_000

/** Who is signed in, until when, and the way out. Near the end it says so, and whoever works on signs in anew. */
export function SignedIn() {
  const { subject, until: signedInUntil, signOut, signInAgain } = useConsole()
  const minutesLeft = useMinutesTo(signedInUntil)
  const { doing, problem, run } = useAction()

  async function leave(): Promise<void> {
    // Where it is over there is nothing here any more.
    if (!(await signOut())) throw new Error('The service was not told.')
  }

  return (
    <div class="signed-in">
      <span class="who">
        <span class="unseen">Signed in as </span>
        {subject}
      </span>
      <span role="status" class={minutesLeft > lastMinutes ? 'soft' : 'warn'}>
        {problem !== undefined
          ? 'The service was not told: try again.'
          : minutesLeft > lastMinutes
            ? `until ${clockOf(signedInUntil)}`
            : minutesLeft > 0
              ? `your sign-in ends at ${clockOf(signedInUntil)}`
              : 'your sign-in is over'}
      </span>
      {minutesLeft <= lastMinutes && (
        <button type="button" onClick={signInAgain}>
          Sign in anew
        </button>
      )}
      <button type="button" disabled={doing !== undefined} onClick={() => run(leave)}>
        Sign out
      </button>
    </div>
  )
}

const clockOf = (time: number): string => `${new Date(time).toISOString().slice(11, 16)} UTC`

const minutesTo = (time: number): number => Math.max(0, Math.ceil((time - Date.now()) / minuteMs))

/** Looks as often as it matters. */
function useMinutesTo(time: number): number {
  const [minutesLeft, setLeft] = useState(() => minutesTo(time))
  useEffect(() => {
    const timer = setInterval(() => setLeft(minutesTo(time)), 10_000)
    return () => clearInterval(timer)
  }, [time])
  return minutesLeft
}
