import type { Refusal } from '../sign-in/code-flow.ts'
import type { SignIn } from '../sign-in/sign-in.ts'

/** For whoever is not signed in, or may not be here. */
export function Welcome({ refused, signIn }: { readonly refused: Refusal; readonly signIn: SignIn }) {
  return (
    <main class="welcome">
      <p class="mark-line">
        <span class="mark" aria-hidden="true">
          ◖
        </span>{' '}
        Remit console
      </p>
      {refused === 'access_denied' ? (
        <>
          <h1>This account has no role here</h1>
          <p>
            The console is for administrators. Whoever runs this service gives a role at the machine, for
            example:
          </p>
          <pre>
            <code>npm run remit -- admin add user:YOU --role security.read</code>
          </pre>
          <button type="button" class="main" onClick={() => void signIn.leave({ anew: true })}>
            Sign in as somebody else
          </button>
        </>
      ) : (
        <>
          <h1>{refused === 'failed' ? 'The sign-in did not work' : 'Who got what, through whom, why'}</h1>
          <p>
            {refused === 'failed'
              ? 'Nobody was signed in. Try once more.'
              : 'For security teams: the record of every answer, the agents, the rules, and what would change. What you ask here is itself on record.'}
          </p>
          <button type="button" class="main" onClick={() => void signIn.leave()}>
            Sign in
          </button>
        </>
      )}
    </main>
  )
}
