import { html } from 'hono/html'
import type { Passwords } from '../../delegation/sign-in/passwords.ts'
import type { SignIns } from '../../delegation/sign-in/sign-ins.ts'
import { isKey } from '../../delegation/subject.ts'
import { AppError } from '../../kernel/errors.ts'
import { type AppContext, addressOf } from '../env.ts'
import { createLimits } from '../middleware/limits.ts'
import { type SignInMethod, text } from './sign-in.ts'

export interface PasswordMethodDeps {
  readonly passwords: Passwords
  readonly signIns: SignIns
  readonly now: () => number
}

const wrong = 'The account or the password is wrong.'
// Wrong guesses at one account's password from one address, and ten times that from all: a stranger's guesses alone must
// not keep its owner out, and what was right is no guess. Each costs some 30 ms of a core besides.
const guessesPerMinute = 6

/** Account and password. Counts guesses wherever the page is shown. */
export function createPasswordMethod({ passwords, signIns, now }: PasswordMethodDeps): SignInMethod {
  const guesses = createLimits({ perMinute: guessesPerMinute, now })
  const guessesOfAll = createLimits({ perMinute: guessesPerMinute * 10, now })
  // One password tried on many accounts, and memory and cores for the hashing of whatever is sent.
  const guessesOfAddress = createLimits({ perMinute: guessesPerMinute * 5, now })

  function admit(c: AppContext, user: string): boolean {
    try {
      guessesOfAddress.take(addressOf(c))
      // No account has such a name: nothing of it is kept.
      if (!isKey(user)) return true
      guesses.take(`${addressOf(c)} ${user}`)
      guessesOfAll.take(user)
      return true
    } catch (error) {
      if (error instanceof AppError && error.code === 'rate_limited') return false
      throw error
    }
  }

  /** Each was counted before it was looked at, so that many at once are not let through together. */
  function wasRight(c: AppContext, user: string): void {
    guesses.giveBack(`${addressOf(c)} ${user}`)
    guessesOfAll.giveBack(user)
  }

  return {
    offer: async ({
      place,
      user,
      problem,
    }) => html`<form method="post" action="${place.at('/sign-in')}" id="sign-in">
<input type="hidden" name="csrf" value="${place.csrf}">
<label class="field">Account<input type="text" name="user" value="${user}" autocomplete="username" autocapitalize="none" spellcheck="false" required${user === '' ? html` autofocus` : ''}></label>
<label class="field">Password<input type="password" name="password" autocomplete="current-password" required${user === '' ? '' : html` autofocus`}${problem === undefined ? '' : html` aria-describedby="problem"`}></label>
<div class="buttons"><button class="main" type="submit">Sign in</button></div>
</form>`,
    steps: [
      {
        method: 'post',
        path: '/sign-in',
        async take(c, _place, fields) {
          const user = text(fields['user'])
          // Not on record one by one: whoever is stopped here could fill it.
          if (!admit(c, user)) return { problem: 'Too many tries. Wait a minute, then try again.', user }
          // No database is asked with a name that no account can have.
          if (isKey(user) && (await passwords.verify(user, text(fields['password'])))) {
            wasRight(c, user)
            return { signedIn: { person: user, amr: ['pwd'] } }
          }
          await signIns.failed({ typed: user, method: 'password' }, c.get('txn'))
          return { problem: wrong, user }
        },
      },
    ],
  }
}
