import type { Problem } from '../api.ts'
import { useConsole } from '../use-answer.ts'

/** Says what went wrong, where, and what can be done about it. */
export function ProblemBox({ problem }: { readonly problem: Problem }) {
  const { signInAgain } = useConsole()
  const isSignInOver = problem.code === 'insufficient_user_authentication' || problem.code === 'invalid_token'
  return (
    <div class="problem" role="alert">
      <p>
        <strong>{problem.title.replace(/\.?$/, '.')}</strong> {problem.message}
        {problem.field !== undefined && (
          <>
            {' '}
            (<code>{problem.field}</code>)
          </>
        )}
      </p>
      {isSignInOver && (
        <p>
          A sign-in counts here for 15 minutes.{' '}
          <button type="button" class="main" onClick={signInAgain}>
            Sign in again
          </button>
        </p>
      )}
      <p class="soft">
        <code>{problem.code}</code>
        {problem.txn !== undefined && problem.txn !== '' && (
          <>
            {' '}
            · on record as <code>{problem.txn}</code>
          </>
        )}
      </p>
    </div>
  )
}
