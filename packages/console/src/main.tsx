import { render } from 'preact'
import { createApi } from './api.ts'
import { Shell } from './shell.tsx'
import type { Refusal } from './sign-in/code-flow.ts'
import { createSignIn, type SignIn, type SignInState } from './sign-in/sign-in.ts'
// Last: what stands here overrides the styles of the views.
import './style.css'

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
function Welcome(props: { readonly refused: Refusal | 'signed_out'; readonly signIn: SignIn }) {
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

const origin = document.querySelector<HTMLMetaElement>('meta[name=remit]')?.content ?? location.origin
const root = document.querySelector('#console')

if (location.origin !== origin) {
  // Tokens are for PUBLIC_URL, and a session there is none here.
  location.replace(`${origin}${location.pathname}${location.search}`)
} else if (root !== null) {
  await mount(root)
}

async function mount(target: Element): Promise<void> {
  const signIn = await createSignIn(origin)
  const tabs = new BroadcastChannel('remit-console-signed-out')
  let isOver = false
  const showsNothing = (): void => {
    isOver = true
    signIn.forget()
    render(<Welcome refused="signed_out" signIn={signIn} />, target)
  }
  // One sign-in for every tab: what a tab still showed after it would stand there for whoever comes next.
  tabs.addEventListener('message', showsNothing)
  const state: SignInState = await signIn.resume()
  if (isOver) return showsNothing()
  if ('refused' in state) {
    render(<Welcome refused={state.refused} signIn={signIn} />, target)
    return
  }
  const { person } = state
  const value = {
    api: createApi({ origin, subject: person.subject, roles: person.roles, source: signIn.source }),
    subject: `user:${person.subject}`,
    roles: person.roles,
    until: person.until,
    async signOut() {
      const isTold = await signIn.end()
      if (isTold) {
        tabs.postMessage(null)
        showsNothing()
      }
      return isTold
    },
    signInAgain: () => void signIn.leave({ anew: true }),
  }
  render(<Shell value={value} />, target)
}
