import { html } from 'hono/html'
import { type Passkeys, passkeyAmr } from '../../delegation/people/passkeys.ts'
import type { SignIns } from '../../delegation/people/sign-ins.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import { addressOf } from '../env.ts'
import { textOf } from '../middleware/form.ts'
import { createAddressLimits } from '../middleware/limits.ts'
import { hiddenField } from '../pages/layout.ts'
import { passkeyScript } from '../pages/passkey-script.ts'
import type { SignInMethod } from './sign-in.ts'

/** What {@link createPasskeyMethod} works with. */
export interface PasskeyMethodDeps {
  readonly passkeys: Passkeys
  readonly signIns: SignIns
  readonly log: Log
  readonly now: () => number
}

const perMinute = 30

/**
 * Any passkey of a local account, which says itself whose it is: nothing is typed. Bound to this one sign-in.
 */
export function createPasskeyMethod({ passkeys, signIns, log, now }: PasskeyMethodDeps): SignInMethod {
  const limits = createAddressLimits({ perMinute, now })
  return {
    script: passkeyScript.path,
    offer: async ({
      form,
    }) => html`<form method="post" action="${form.at('/sign-in/passkey')}" class="way" data-passkey="get" data-options="${JSON.stringify(await passkeys.ask(form.csrf))}" hidden>
${hiddenField('csrf', form.csrf)}<input type="hidden" name="answer">
<button class="wide" type="submit">Sign in with a passkey</button><p class="problem" role="status"></p>
</form>`,
    steps: [
      {
        method: 'post',
        path: '/sign-in/passkey',
        async take(c, form, fields) {
          try {
            limits.take(addressOf(c))
          } catch (error) {
            if (!(error instanceof AppError) || error.code !== 'rate_limited') throw error
            return { problem: 'Too many tries. Wait a minute, then try again.' }
          }
          const verified = await passkeys.verify(form.csrf, answerIn(fields['answer']))
          if (verified.ok) {
            const { person, id, verifies } = verified.value
            const signedIn = { person, proof: { passkey: id } }
            // To others, too, one that does not count yet says no more than that there is a key.
            return {
              signedIn: verifies
                ? { ...signedIn, amr: passkeyAmr, verifiedAt: new Date(now()) }
                : { ...signedIn, amr: ['swk'] },
            }
          }
          log('passkey_refused', { reason: verified.reason, detail: verified.detail })
          await signIns.failed({ typed: '', method: 'passkey' }, c.get('txn'))
          // Which it was is the operator's to know, but for the one that anybody can mend.
          return verified.reason === 'unknown_challenge'
            ? { problem: 'That took too long, or was sent twice. Try again.' }
            : { problem: 'This passkey was not accepted. Use another way to sign in.' }
        },
      },
    ],
  }
}

/** What the script put into the form; undefined for what is no JSON. */
export function answerIn(field: unknown): unknown {
  try {
    return JSON.parse(textOf(field))
  } catch {
    // Refused as malformed by whoever reads it.
    return undefined
  }
}
