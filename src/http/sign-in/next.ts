/**
 * Pages of ours to which a sign-in may lead. Exact: whatever else is asked for, an address above all, is not
 * one.
 */
const pages = ['/delegations', '/approvals', '/connections', '/passkeys', '/accounts'] as const

export type OwnPage = (typeof pages)[number]

const pageByDefault: OwnPage = '/delegations'

// One request of an agent, as our own ids are written: to it a link from outside may lead, and its steps lead
// back to it.
const request =
  /^(\/connections\/requests\/cr_[A-Za-z0-9_-]{22}$|\/approvals\/ap_[A-Za-z0-9_-]{22}(?=\/|$)|\/oauth\/interaction\/[A-Za-z0-9_-]{16,64}$)/

/**
 * The page that `next` names, or to which the step that it names belongs, or the first one: never another
 * site's address, however it is written, since it is the name in our list, or the path of one request, that
 * is used.
 */
export const ownPage = (nextPage: string | undefined): string =>
  request.exec(nextPage ?? '')?.[0] ??
  pages.find((page) => page === nextPage || nextPage?.startsWith(`${page}/`)) ??
  pageByDefault
