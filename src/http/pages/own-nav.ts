import { html } from 'hono/html'
import type { AccountNews } from '../../delegation/people/account-news.ts'
import type { OwnPage } from '../sign-in/next.ts'
import { type Html, hiddenField } from './layout.ts'
import { moment } from './times.ts'

const titles: Readonly<Record<OwnPage, string>> = {
  '/approvals': 'Approvals',
  '/delegations': 'What you lent',
  '/connections': 'Connected accounts',
  '/passkeys': 'Passkeys',
  '/accounts': 'Linked accounts',
}

/** What somebody has to look at, whichever page of theirs they are on. */
export interface Waiting {
  /** Of agents, that wait for an answer. */
  readonly questions: number
  /** Added to their account within a day: by them, or by whoever has their password. */
  readonly news: readonly AccountNews[]
}

/** What every page of somebody's own shows. */
export interface OwnNav {
  /** Account key of who is signed in. */
  readonly person: string
  readonly csrf: string
  readonly waiting: Waiting
}

/** The way between the pages of whoever is signed in, and out. */
export const ownNav = ({
  current,
  csrf,
  waiting,
}: Omit<OwnNav, 'person'> & { readonly current: OwnPage }): Html =>
  html`${newsOf(waiting.news)}
<nav class="own" aria-label="Your account">${Object.entries(titles).map(
    ([path, title]) =>
      html`<a href="${path}"${path === current ? html` aria-current="page"` : ''}>${title}${path === '/approvals' && waiting.questions > 0 ? html` <span class="count">${waiting.questions}<span class="unseen"> waiting</span></span>` : ''}</a>`,
  )}<form method="post" action="/sign-out">${hiddenField('csrf', csrf)}<button type="submit">Sign out</button></form></nav>`

/** The newest in full; the others are folded away, so that the notice leaves room for the page under it. */
const newsOf = ([newest, ...olderNews]: readonly AccountNews[]): Html | string =>
  newest === undefined
    ? ''
    : html`<div class="news" role="status">${newsLine(newest)}${olderNews.length === 0 ? '' : html`<details class="exact"><summary>${olderNews.length} more</summary>${olderNews.map(newsLine)}</details>`}</div>`

/** Nothing of it in words that whoever added it chose. */
const newsLine = ({ kind, at: happenedAt, issuer }: AccountNews): Html =>
  kind === 'passkey'
    ? html`<p>A passkey was added to your account on ${moment(happenedAt)}. Not by you? <a href="/passkeys">Remove it</a>, and have your password changed.</p>`
    : html`<p>An account at ${new URL(issuer ?? '').host} was linked to yours on ${moment(happenedAt)}. Not by you? <a href="/accounts">End it</a>, and have your password changed.</p>`
