import { html } from 'hono/html'
import type { SignedIn, SignIns } from '../../delegation/people/sign-ins.ts'
import { AppError } from '../../kernel/errors.ts'
import type { App, AppContext } from '../env.ts'
import { type Fields, wholeForm } from '../middleware/form.ts'
import { type Html, hiddenField, page } from '../pages/layout.ts'
import { scriptTag } from '../pages/passkey-script.ts'
import { showPage } from '../pages/show.ts'
import type { KnownBrowser } from './known-browser.ts'

/** Where a sign-in leads: back to a request at the authorization server, or to our own pages. */
export interface SignInPlace {
  /** Address of one of its steps, on our own origin. */
  readonly at: (step: SignInStep['path']) => string
  /** Proves that a form came from our page for this browser. */
  readonly csrf: string
  /** Application for which the person signs in; left out on our own pages. */
  readonly client?: string
  /** Address of the page that shows all ways to sign in. */
  readonly start: string
  /** Where to give up; left out where there is nothing to give up. */
  readonly refuse?: string
  /** Account of whom the page knows already, who signs in once more. */
  readonly user?: string
  /** Why the page is there, where the person may wonder. */
  readonly why?: string
  /** Origins to which the answer to a form may redirect. */
  readonly formTargets: readonly string[]
  /** The person has proven who they are: puts it on record and answers with where the browser goes. */
  readonly finish: (signedIn: SignedIn) => Promise<Response>
}

/**
 * One way to prove who one is: what it offers on the page, and the steps that its forms and redirects lead
 * to.
 */
export interface SignInMethod {
  offer(offer: {
    readonly form: SignInPlace
    readonly user: string
    readonly problem: string | undefined
  }): Promise<Awaited<Html>>
  readonly steps: readonly SignInStep[]
  /** Address of a script of ours without which it is not offered; the page works without. */
  readonly script?: string
}

export interface SignInStep {
  /**
   * A POST is a form of our page: its token and Origin are checked before. A GET has to bring a proof of its
   * own.
   */
  readonly method: 'get' | 'post'
  readonly path: `/sign-in${string}`
  take(c: AppContext, place: SignInPlace, fields: Fields): Promise<SignInOutcome>
}

export type SignInOutcome =
  | { readonly signedIn: SignedIn }
  /** Shown on the page; `user`: what was typed. Never says whether there is such an account. */
  | { readonly problem: string; readonly user?: string }
  /** On the way elsewhere. */
  | { readonly response: Response }

export interface SignIn {
  show(c: AppContext, place: SignInPlace, tried?: Tried): Promise<Response>
  /**
   * Adds every method's steps below `base`. `open` says where the sign-in of this request leads, or answers
   * itself where there is none.
   */
  mount(routes: App, base: string, open: (c: AppContext) => Promise<SignInPlace | Response>): void
}

interface Tried {
  readonly problem?: string
  readonly user?: string
}

export interface SignInDeps {
  /** In the order in which the page shows them. */
  readonly methods: readonly SignInMethod[]
  readonly signIns: Pick<SignIns, 'isBarred'>
  readonly knownBrowser: Pick<KnownBrowser, 'line'>
  readonly publicUrl: string
  /** Said on the page of the demo. */
  readonly hint?: string
}

/**
 * The sign-in page and its methods: one component for the authorization server's requests and for our own
 * pages.
 */
export function createSignIn({ methods, signIns, knownBrowser, publicUrl, hint }: SignInDeps): SignIn {
  const scripts = methods.flatMap(({ script }) => script ?? [])
  const show: SignIn['show'] = async (c, form, { problem, user = form.user ?? '' } = {}) => {
    const offers = await Promise.all(methods.map((method) => method.offer({ form, user, problem })))
    const { csrf, client, why, refuse, formTargets } = form
    const page = signInPage({ offers, scripts, csrf, client, why, refuse, problem, hint })
    return showPage(c, page, { formTargets, script: scripts.length > 0 })
  }

  async function answer(c: AppContext, form: SignInPlace, outcome: SignInOutcome): Promise<Response> {
    if ('response' in outcome) return outcome.response
    if ('problem' in outcome) return show(c, form, outcome)
    // Said only to whoever has proven that the account is theirs.
    if (await signIns.isBarred(outcome.signedIn, c.get('txn')))
      return show(c, form, { problem: 'This account cannot sign in now.' })
    const response = await form.finish(outcome.signedIn)
    response.headers.append('set-cookie', await knownBrowser.line(c, outcome.signedIn))
    return response
  }

  return {
    show,
    mount(routes, base, openForm) {
      for (const { method, path, take } of methods.flatMap(({ steps }) => steps)) {
        routes.on(method, `${base}${path}`, wholeForm, async (c: AppContext) => {
          const form = await openForm(c)
          if (form instanceof Response) return form
          const fields = method === 'post' ? await ownForm(c, { csrf: form.csrf, publicUrl }) : {}
          return answer(c, form, await take(c, form, fields))
        })
      }
    },
  }
}

/** The fields of a form that came from our own page. */
export async function ownForm(
  c: AppContext,
  { csrf, publicUrl }: { readonly csrf: string; readonly publicUrl: string },
): Promise<Fields> {
  const fields = await c.req.parseBody({ all: true })
  if (c.req.header('origin') !== new URL(publicUrl).origin || fields['csrf'] !== csrf)
    throw new AppError('forbidden', { public: 'This form did not come from our page.' })
  return fields
}

/** What the sign-in page shows. */
interface SignInPage {
  /** What each method of signing in puts on the page. */
  readonly offers: readonly Html[]
  /** Addresses of scripts of ours that some of them need. */
  readonly scripts: readonly string[]
  readonly csrf: string
  /** Application for which the person signs in; left out on our own page. */
  readonly client: string | undefined
  readonly why: string | undefined
  readonly problem: string | undefined
  /** Where to give up; left out where there is nothing to give up. */
  readonly refuse: string | undefined
  /** Said below the forms, in the demo. */
  readonly hint: string | undefined
}

function signInPage({ offers, scripts, csrf, client, why, problem, refuse, hint }: SignInPage): string {
  return page({
    title: 'Sign in',
    head: html`${scripts.map(scriptTag)}`,
    body: html`<h1>Sign in</h1>
${client === undefined ? '' : html`<p>to continue to <strong>${client}</strong></p>`}
${why === undefined ? '' : html`<p class="soft">${why}</p>`}
${problem === undefined ? '' : html`<p class="problem" role="alert" id="problem">${problem}</p>`}
<div class="ways">${offers.slice(0, -1)}</div>
${offers.length > 1 ? html`<p class="or">or</p>` : ''}
${offers.at(-1) ?? ''}
${
  refuse === undefined
    ? ''
    : html`<form method="post" action="${refuse}" class="aside">${hiddenField('csrf', csrf)}<button class="quiet" type="submit">Cancel</button></form>`
}
${hint === undefined ? '' : html`<p class="soft"><small>${hint}</small></p>`}`,
  })
}
