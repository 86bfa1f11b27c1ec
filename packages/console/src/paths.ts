import { withQuery } from './router.tsx'

/** Where the console's views are, for whoever leads to them. */
export const recordPath = (filter: Readonly<Record<string, string | undefined>>): string =>
  withQuery('/record', filter)

/** One action: everything under one txn. */
export const actionPath = (txn: string): string => `/record/${encodeURIComponent(txn)}`

export const agentPath = (id: string): string => `/agents/${encodeURIComponent(id)}`

export interface Why {
  readonly user: string
  /** `research-bot` */
  readonly agent?: string | undefined
  readonly delegation?: string | undefined
  /** Default: what is asked of whoever that is. */
  readonly relation?: string
  readonly object: string
}

export const explainPath = ({ user, agent, delegation, object, relation }: Why): string =>
  withQuery('/explain', {
    user,
    agent,
    delegation,
    relation: relation ?? (agent === undefined ? 'can_read' : 'can_read_delegated'),
    object,
  })

export const whoCanPath = (object: string, relation = 'can_read'): string =>
  withQuery('/who-can', { object, relation })
