import type { Browser, Page } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, password } from '../delegation/issuer/world.ts'

/** Where the form with the password goes. */
export const signInAction = ({ text }: Page): string =>
  /action="(\/sign-in\?[^"]*)"/.exec(text)?.[1] ?? 'none'

/** Signs a browser in on our own pages. */
export async function signIn(world: IssuerWorld, browser: Browser, user: string, next = '/delegations') {
  const page = await browser.open(`${world.url}/sign-in?next=${encodeURIComponent(next)}`)
  return browser.submit(page, signInAction(page), { user, password })
}

export interface OwnRequest {
  readonly body?: unknown
  /** Over those that our page would send; undefined takes one away. */
  readonly headers?: Readonly<Record<string, string | undefined>>
}

/** A person in front of their own browser, with a program of our page's origin. */
export interface OwnBrowser {
  readonly browser: Browser
  readonly csrf: string
  send(method: string, path: string, request?: OwnRequest): Promise<Response>
}

export async function openOwnBrowser(world: IssuerWorld, user: string): Promise<OwnBrowser> {
  const browser = world.browser()
  await signIn(world, browser, user)
  const cookie = `remit_session=${browser.cookies.get('remit_session')?.value}`
  const listed = await fetch(`${world.url}/delegations`, { headers: { cookie } })
  const csrf = listed.headers.get('x-csrf-token') ?? ''
  return {
    browser,
    csrf,
    send(method, path, { body, headers = {} } = {}) {
      const all = {
        cookie,
        origin: world.url,
        'x-csrf-token': csrf,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      }
      const sent = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined)
      return fetch(`${world.url}${path}`, {
        method,
        headers: sent,
        redirect: 'manual',
        ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      })
    },
  }
}
