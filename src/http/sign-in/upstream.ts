import { html } from 'hono/html'
import type { SignIns } from '../../delegation/people/sign-ins.ts'
import { isUserVerified } from '../../delegation/people/user-verification.ts'
import type { UpstreamSignIns } from '../../delegation/upstream/sign-ins.ts'
import type { AppContext } from '../env.ts'
import type { BegunLimit } from '../middleware/begun.ts'
import { textOf } from '../middleware/form.ts'
import { hiddenField } from '../pages/layout.ts'
import { showPage } from '../pages/show.ts'
import { awayPage } from '../pages/upstream.ts'
import type { OwnCookie } from './cookies.ts'
import type { SignInMethod } from './sign-in.ts'

/** What {@link createUpstreamMethod} works with. */
export interface UpstreamMethodDeps {
  readonly upstream: UpstreamSignIns
  /** Lax: the browser brings it back from another site. Everything else of ours is strict. */
  readonly cookie: OwnCookie
  readonly signIns: SignIns
  readonly begunLimit: BegunLimit
}

const unavailable = 'The other provider does not answer. Try again later, or use another way.'

/** Sign-in through trusted issuers. The way back is `routes/upstream.ts`; what began it ends it here. */
export function createUpstreamMethod(dependencies: UpstreamMethodDeps): SignInMethod {
  const { upstream, cookie, signIns, begunLimit } = dependencies
  return {
    offer: async ({ form }) =>
      html`${upstream.providers.map(
        ({
          namespace,
          host,
        }) => html`<form method="post" action="${form.at('/sign-in/upstream')}" class="way">
${hiddenField('csrf', form.csrf)}${hiddenField('provider', namespace)}
<button class="wide" type="submit">Continue with ${host}</button>
</form>`,
      )}`,
    steps: [
      {
        method: 'post',
        path: '/sign-in/upstream',
        async take(c, form, fields) {
          // Whoever sends it may be anybody, and a row is kept of each.
          const tooMany = begunLimit(c, 'page')
          if (tooMany !== undefined) return { response: tooMany }
          const went = await goAway(c, { upstream, cookie }, textOf(fields['provider']), {
            binding: form.csrf,
            next: form.at('/sign-in/upstream/done'),
            back: form.start,
          })
          return went === undefined ? { problem: unavailable } : { response: went }
        },
      },
      {
        method: 'get',
        path: '/sign-in/upstream/done',
        async take(c, form) {
          const identity = await upstream.take(cookie.read(c), form.csrf)
          cookie.remove(c)
          if (identity === undefined) return { problem: 'That sign-in is over. Start again.' }
          const account = await upstream.account(identity)
          if (account !== undefined) {
            const { issuer, sub, signedInAt } = identity
            // Other APIs read it as well: whoever linked it a moment ago may have had no more than the
            // password.
            const amr = identity.amr.filter((method) => account.isYoung !== true || method === 'pwd')
            const signedIn = { person: account.key, amr, upstream: { issuer, sub } }
            // When they were there, not when their browser came back.
            const verifiedAt = new Date(signedInAt * 1_000)
            return { signedIn: isUserVerified(amr) ? { ...signedIn, verifiedAt } : signedIn }
          }
          await signIns.failed({ typed: '', method: 'upstream' }, c.get('txn'))
          return { problem: 'This account cannot be used here. Ask whoever runs this service.' }
        },
      },
    ],
  }
}

/** Sends the browser to the provider; undefined where it cannot be had. */
export async function goAway(
  c: AppContext,
  { upstream, cookie }: Pick<UpstreamMethodDeps, 'upstream' | 'cookie'>,
  namespace: string,
  origin: Parameters<UpstreamSignIns['begin']>[1],
): Promise<Response | undefined> {
  const attempt = await upstream.begin(namespace, origin)
  if (!attempt.ok) return undefined
  cookie.write(c, attempt.value.browser)
  return showPage(c, awayPage(attempt.value.url))
}
