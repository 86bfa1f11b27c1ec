import { withQuery } from './router.tsx'

type Query = Readonly<Record<string, string | undefined>>

/** Where the console's views are, for whoever leads to them. */
export const recordPath = (filter: Query): string => withQuery('/record', filter)

/** One action: everything under one txn. */
export const actionPath = (txn: string): string => `/record/${encodeURIComponent(txn)}`

/** Who was given a document: its id, without `document:`. */
export const readersPath = (document: string): string => withQuery('/readers', { document })

/** What somebody was given; `agent:research-bot`, or themselves. */
export const readsPath = (filter: {
  readonly subject: string
  readonly agent?: string | undefined
  readonly since?: string | undefined
  readonly until?: string | undefined
  readonly today?: 'true' | undefined
}): string => withQuery('/reads', filter)

/** One agent; with `endTime` (ISO 8601), its reach up to then. */
export const agentPath = (id: string, endTime?: string): string =>
  withQuery(`/agents/${encodeURIComponent(id)}`, { until: endTime })

/** One delegation, by its id. */
export const delegationPath = (id: string): string => `/delegations/${encodeURIComponent(id)}`

/** `user:anne`, `group:eng`, `organization:acme` */
export const personPath = (principal: string): string => `/people/${encodeURIComponent(principal)}`

/** One plan for the model, by its id. */
export const planPath = (id: string): string => `/model/plans/${encodeURIComponent(id)}`

/** What a person, or an agent for them, can read. */
export const viewAsPath = (filter: Query): string => withQuery('/view-as', filter)

/** Tuples that are wondered about, one a line. */
export const whatIfPath = (lines: { readonly writes?: string; readonly deletes?: string }): string =>
  withQuery('/what-if', lines)

/** The question that an explanation answers. Ids have their type, `user:anne`; an agent has none. */
export interface ExplainInput {
  readonly user: string
  /** `research-bot` */
  readonly agent?: string | undefined
  readonly delegation?: string | undefined
  /** Default: what is asked of whoever that is. */
  readonly relation?: string
  readonly object: string
}

/** Why somebody may, or may not. */
export const explainPath = ({ user, agent, delegation, object, relation }: ExplainInput): string =>
  withQuery('/explain', {
    user,
    agent,
    delegation,
    relation: relation ?? (agent === undefined ? 'can_read' : 'can_read_delegated'),
    object,
  })

/** Everybody who has a relation to an object. Default `can_read`. */
export const whoCanPath = (object: string, relation = 'can_read'): string =>
  withQuery('/who-can', { object, relation })
