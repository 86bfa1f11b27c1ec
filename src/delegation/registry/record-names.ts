import type { Sql } from '../../store/sql.ts'

/**
 * What people call those that a record names: people, agents and clients, by `user:…`, `agent:…` and client
 * id.
 */
export type RecordNames = (ids: readonly string[]) => Promise<Readonly<Record<string, string>>>

/** Only of those that are known here: what is not in the answer has no name. */
export const createRecordNames =
  ({ sql }: { readonly sql: Sql }): RecordNames =>
  async (ids) => {
    const rows = await sql.query<{ id: string; name: string }>(
      `select 'user:' || key as id, name from people where key = any($1)
       union all select 'agent:' || id, title from agents where id = any($2)
       union all select client_id, title from clients where client_id = any($3) and title is not null`,
      [bare(ids, 'user:'), bare(ids, 'agent:'), ids],
    )
    return Object.fromEntries(rows.map(({ id, name }) => [id, shownName([name], id)]))
  }

const bare = (ids: readonly string[], prefix: string): string[] =>
  ids.filter((id) => id.startsWith(prefix)).map((id) => id.slice(prefix.length))

const nameMax = 80

/** Names are shown next to decisions: no line breaks, no marks that turn the direction of what follows. */
export function shownName(candidates: readonly (string | undefined)[], otherwise: string): string {
  const [shortest = otherwise] = candidates.flatMap(
    (candidate) => candidate?.replace(/[\p{C}\p{Zl}\p{Zp}\p{DI}]/gu, '').trim() || [],
  )
  return shortest.slice(0, nameMax)
}
