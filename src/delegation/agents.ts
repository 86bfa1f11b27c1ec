import type { Clock } from '../kernel/clock.ts'
import { AppError } from '../kernel/errors.ts'
import { type FgaObject, isId } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'

/** One registered agent. `issuer` and `sub` are what a token's `act` claim says of it. */
export interface Agent {
  readonly id: string
  /** The person who answers for it, `user:anne`. */
  readonly owner: string
  readonly purpose: string
  readonly issuer: string
  readonly sub: string
  readonly disabledAt: Date | undefined
}

export interface Agents {
  /** Registers or updates an agent; never enables a disabled one. 409 where another agent has its (issuer, sub). */
  save(agent: Omit<Agent, 'disabledAt'>): Promise<void>
  get(id: string): Promise<Agent | undefined>
  list(): Promise<Agent[]>
  /** The kill switch: from the next request on, no token in whose chain it stands is accepted. */
  disable(id: string): Promise<boolean>
}

export const agentObject = (id: string): FgaObject => `agent:${id}`

export function createAgents({ sql, clock }: { readonly sql: Sql; readonly clock: Clock }): Agents {
  return {
    async save({ id, owner, purpose, issuer, sub }) {
      if (!isId(id))
        throw new AppError('invalid_request', { field: 'id', public: 'The agent id is not valid.' })
      const clashing = await sql.query('select 1 from agents where issuer = $1 and sub = $2 and id <> $3', [
        issuer,
        sub,
        id,
      ])
      if (clashing.length > 0)
        throw new AppError('conflict', { public: 'Another agent has this issuer and sub.' })
      await sql.query(
        `insert into agents (id, owner, purpose, issuer, sub) values ($1, $2, $3, $4, $5)
         on conflict (id) do update set owner = excluded.owner, purpose = excluded.purpose,
           issuer = excluded.issuer, sub = excluded.sub`,
        [id, owner, purpose, issuer, sub],
      )
    },
    async get(id) {
      const rows = await sql.query<AgentRow>(`${select} where id = $1`, [id])
      return rows.map(fromRow)[0]
    },
    async list() {
      return (await sql.query<AgentRow>(`${select} order by id`)).map(fromRow)
    },
    async disable(id) {
      const rows = await sql.query(
        'update agents set disabled_at = coalesce(disabled_at, $2) where id = $1 returning id',
        [id, new Date(clock.now())],
      )
      return rows.length > 0
    },
  }
}

interface AgentRow {
  readonly id: string
  readonly owner: string
  readonly purpose: string
  readonly issuer: string
  readonly sub: string
  readonly disabled_at: Date | null
}

const select = 'select id, owner, purpose, issuer, sub, disabled_at from agents'

const fromRow = ({ disabled_at, ...row }: AgentRow): Agent => ({
  ...row,
  disabledAt: disabled_at ?? undefined,
})
