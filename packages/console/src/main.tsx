import { render } from 'preact'
import { createApi } from './api.ts'
import { Shell } from './shell.tsx'
import { createSignIn, type SignInState } from './sign-in/sign-in.ts'
import './style.css'
import { Welcome } from './views/welcome.tsx'

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
