/** Pages of ours to which a sign-in may lead. Exact: whatever else is asked for, an address above all, is not one. */
const pages = ['/delegations', '/passkeys', '/accounts'] as const

export type OwnPage = (typeof pages)[number]

const pageByDefault: OwnPage = '/delegations'

/**
 * The page that `next` names, or to which the step that it names belongs, or the first one: never another site's
 * address, however it is written, since it is the name in our list that is used.
 */
export const ownPage = (next: string | undefined): OwnPage =>
  pages.find((page) => page === next || next?.startsWith(`${page}/`)) ?? pageByDefault
