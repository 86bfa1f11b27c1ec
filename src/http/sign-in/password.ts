import { html } from 'hono/html'
import type { Passwords } from '../../delegation/people/passwords.ts'
import type { SignIns } from '../../delegation/people/sign-ins.ts'
import { isKey } from '../../delegation/registry/subject.ts'
import { AppError } from '../../kernel/errors.ts'
import { type AppContext, addressOf } from '../env.ts'
import { textOf } from '../middleware/form.ts'
import { createAddressLimits, createLimits } from '../middleware/limits.ts'
import { hiddenField } from '../pages/layout.ts'
import type { KnownBrowser } from './known-browser.ts'
import type { SignInMethod } from './sign-in.ts'

export interface PasswordMethodDeps {
  readonly passwords: Passwords
  readonly signIns: SignIns
  readonly knownBrowser: Pick<KnownBrowser, 'of'>
  readonly now: () => number
}

const wrong = 'The account or the password is wrong.'
// Wrong guesses at one account's password from one network, and ten times that from all: a stranger's guesses
// alone must not keep its owner out, and what was right is no guess. Each costs some 30 ms of a core besides.
const guessesPerMinute = 6

/** Account and password. Counts guesses wherever the page is shown. */
export function createPasswordMethod({
  passwords,
  signIns,
  knownBrowser,
  now,
}: PasswordMethodDeps): SignInMethod {
  const guesses = createAddressLimits({ perMinute: guessesPerMinute, now })
  const guessesOfAll = createLimits({ perMinute: guessesPerMinute * 10, now })
  // One password tried on many accounts, and memory and cores for the hashing of whatever is sent.
  const guessesOfAddress = createAddressLimits({ perMinute: guessesPerMinute * 5, now })
  // Out of strangers' reach, however many networks they have: from here this account has signed in. Each
  // sign-in leaves another mark, and who once had the password may hold many.
  const guessesOfKnown = createLimits({ perMinute: guessesPerMinute, now })
  const guessesOfAllKnown = createLimits({ perMinute: guessesPerMinute * 2, now })

  /** Counts it; what takes that back where it was right, or undefined: too many. */
  async function admit(c: AppContext, user: string): Promise<(() => void) | undefined> {
    const network = addressOf(c)
    const ofBrowser = isKey(user) ? await knownBrowser.of(c, user) : undefined
    try {
      if (ofBrowser !== undefined) {
        guessesOfKnown.take(ofBrowser)
        guessesOfAllKnown.take(user)
        return () => {
          guessesOfKnown.giveBack(ofBrowser)
          guessesOfAllKnown.giveBack(user)
        }
      }
      guessesOfAddress.take(network)
      // No account has such a name: nothing of it is kept.
      if (!isKey(user)) return () => undefined
      guesses.take(`${network} ${user}`)
      guessesOfAll.take(user)
      return () => {
        guesses.giveBack(`${network} ${user}`)
        guessesOfAll.giveBack(user)
      }
    } catch (error) {
      if (error instanceof AppError && error.code === 'rate_limited') return undefined
      throw error
    }
  }

  return {
    offer: async ({
      form,
      user,
      problem,
    }) => html`<form method="post" action="${form.at('/sign-in')}" id="sign-in">
${hiddenField('csrf', form.csrf)}
<label class="field">Account<input type="text" name="user" value="${user}" autocomplete="username" autocapitalize="none" spellcheck="false" required${user === '' ? html` autofocus` : ''}></label>
<label class="field">Password<input type="password" name="password" autocomplete="current-password" required${user === '' ? '' : html` autofocus`}${problem === undefined ? '' : html` aria-describedby="problem"`}></label>
<div class="buttons"><button class="main" type="submit">Sign in</button></div>
</form>`,
    steps: [
      {
        method: 'post',
        path: '/sign-in',
        async take(c, _place, fields) {
          const user = textOf(fields['user'])
          // Not on record one by one: whoever is stopped here could fill it.
          // Counted before it is looked at, so that many at once are not let through together.
          const takeBack = await admit(c, user)
          if (takeBack === undefined)
            return { problem: 'Too many tries. Wait a minute, then try again.', user }
          // No database is asked with a name that no account can have.
          const setAt = isKey(user) ? await passwords.verify(user, textOf(fields['password'])) : undefined
          if (setAt !== undefined) {
            takeBack()
            return { signedIn: { person: user, amr: ['pwd'], proof: { password: setAt.getTime() } } }
          }
          await signIns.failed({ typed: user, method: 'password' }, c.get('txn'))
          return { problem: wrong, user }
        },
      },
    ],
  }
}
