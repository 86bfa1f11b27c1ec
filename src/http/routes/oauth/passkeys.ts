import type { Passkeys } from '../../../delegation/people/passkeys.ts'
import { isLocal, type People } from '../../../delegation/people/people.ts'
import type { Sessions } from '../../../delegation/people/sessions.ts'
import { isVerifiedNow } from '../../../delegation/people/user-verification.ts'
import { AppError } from '../../../kernel/errors.ts'
import type { Log } from '../../../kernel/log.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import { textOf } from '../../middleware/form.ts'
import { isRecent, type RequireSession } from '../../middleware/session.ts'
import { passkeysPage } from '../../pages/accounts.ts'
import { passkeyScript } from '../../pages/passkey-script.ts'
import { showPage } from '../../pages/show.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'
import { answerIn } from '../../sign-in/passkey.ts'

export interface PasskeyRoutesDeps {
  /** Undefined where there are none: PUBLIC_URL is an IP address. */
  readonly passkeys: Passkeys | undefined
  readonly people: People
  readonly sessions: Sessions
  readonly sessionCookie: OwnCookie
  readonly requireSession: RequireSession
  readonly log: Log
  readonly now: () => number
}

/** `/passkeys`: a person adds, names and removes their own, each with a sign-in of at most 15 minutes. */
export function passkeyRoutes(dependencies: PasskeyRoutesDeps): App {
  const { passkeys, people, sessions, sessionCookie, requireSession, log, now } = dependencies
  const routes = createRouter()

  routes.get(passkeyScript.path, (c) =>
    c.body(passkeyScript.text, 200, { 'content-type': 'text/javascript; charset=utf-8' }),
  )
  routes.get('/passkeys', requireSession.read, (c) => show(c))

  routes.post('/passkeys', requireSession.write, async (c) => {
    const { person, csrf, verifiedAt } = c.get('session')
    const fields = await c.req.parseBody()
    const owner = await people.get(person)
    if (passkeys === undefined || owner === undefined) throw new AppError('not_found')
    const added = await passkeys.add(owner, csrf, {
      answer: answerIn(fields['answer']),
      title: textOf(fields['title']),
      verified: isVerifiedNow({ verifiedAt }, now()),
      txn: c.get('txn'),
    })
    if (added.ok) return c.redirect('/passkeys', 303)
    log('passkey_refused', { reason: added.reason, detail: added.detail })
    const status = added.reason === 'needs_verification' ? 401 : 422
    return show(c, refusals[added.reason] ?? 'This passkey was not accepted.', status)
  })

  routes.post('/passkeys/rename', requireSession.write, async (c) => {
    const fields = await c.req.parseBody()
    const renamed = await passkeys?.rename(
      c.get('session').person,
      textOf(fields['id']),
      textOf(fields['title']),
    )
    if (renamed !== true) throw new AppError('not_found')
    return c.redirect('/passkeys', 303)
  })

  routes.post('/passkeys/remove', requireSession.write, async (c) => {
    const { id } = await c.req.parseBody()
    const removed = await passkeys?.remove(c.get('session').person, textOf(id), c.get('txn'))
    if (removed !== true) throw new AppError('not_found')
    // Whoever has the device may be signed in with it.
    await sessions.endOthers(sessionCookie.read(c) ?? '', c.get('txn'))
    return c.redirect('/passkeys', 303)
  })

  async function show(c: AppContext, problem?: string, status: 200 | 401 | 422 = 200): Promise<Response> {
    const session = c.get('session')
    const { person } = session
    const owner = await people.get(person)
    const options =
      owner === undefined || !isLocal(person) ? undefined : await passkeys?.offer(owner, session.csrf)
    const page = passkeysPage({
      ...session,
      passkeys: (await passkeys?.list(person)) ?? [],
      stale: !isRecent(session.signedInAt, now()),
      verified: isVerifiedNow(session, now()),
      countsAtOnce: (await passkeys?.countsAtOnce(person)) ?? false,
      now: now(),
      options,
      problem: problem ?? unavailable(passkeys, person),
    })
    return showPage(c, page, { status, script: true })
  }

  return routes
}

const refusals: Readonly<Record<string, string>> = {
  needs_verification: 'Sign in with a passkey of yours first.',
  unknown_challenge: 'That took too long, or was sent twice. Try again.',
  taken: 'This passkey is registered already.',
  too_many: 'You have as many passkeys as there can be. Remove one first.',
}

function unavailable(passkeys: Passkeys | undefined, person: string): string | undefined {
  if (passkeys === undefined)
    return 'There are no passkeys here: the address of this service is a number, not a name.'
  return isLocal(person) ? undefined : 'You sign in through another provider: passkeys are kept there.'
}
