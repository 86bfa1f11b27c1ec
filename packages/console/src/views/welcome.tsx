import type { Refusal } from '../sign-in/code-flow.ts'
import type { SignIn } from '../sign-in/sign-in.ts'

const titles = {
  login_required: 'Who got what, through whom, why',
  failed: 'The sign-in did not work',
  signed_out: 'You are signed out',
}
const messages = {
  login_required:
    'For security teams: the record of every answer, the agents, the rules, and what would change. What you ask here is itself on record.',
  failed: 'Nobody was signed in. Try once more.',
  signed_out: 'In every tab of the console. Whoever opens it next has to sign in.',
}

/** For whoever is not signed in, or may not be here. */
export function Welcome(props: { readonly refused: Refusal | 'signed_out'; readonly signIn: SignIn }) {
  const { refused: refusal, signIn } = props
  return (
    <main class="welcome">
      <p class="mark-line">
        <span class="mark" aria-hidden="true">
          ◖
        </span>{' '}
        Remit console
      </p>
      {refusal === 'access_denied' ? (
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
          <h1>{titles[refusal]}</h1>
          <p>{messages[refusal]}</p>
          <button type="button" class="main" onClick={() => void signIn.leave()}>
            Sign in
          </button>
        </>
      )}
    </main>
  )
}
