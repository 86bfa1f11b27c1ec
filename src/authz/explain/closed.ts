import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import { isOpenDocument } from '../../store/open-document.ts'
import type { Sql } from '../../store/sql.ts'

/**
 * Why nobody reads a document now, whatever OpenFGA says: its source was not confirmed lately, or hides it.
 * Undefined where nothing closes it, and for any other object. Asked by the database's clock.
 */
export async function closedBySource(sql: Sql, object: FgaObject): Promise<string | undefined> {
  const { type, id } = splitObject(object)
  if (type !== 'document') return undefined
  const [row] = await sql.query<ClosedRow>(
    `select substr(documents.source, 8) as source, s.state, i.hidden, i.document is not null as known,
       least(s.groups_at, at.items_at) as since, s.groups_at is null or at.items_at is null as never
     from documents
       left join sources s on s.id = substr(documents.source, 8)
       left join source_items i on i.source = s.id and i.document = documents.id
       cross join lateral (select case when i.settled then greatest(i.confirmed_at, s.items_at)
         else i.confirmed_at end as items_at) as at
     where documents.id = $1 and documents.source like 'source/%' and not ${isOpenDocument}`,
    [id],
  )
  return row && `Nobody reads it: ${reasonOf(row)}`
}

interface ClosedRow {
  readonly source: string
  readonly state: string | null
  readonly hidden: string | null
  /** Whether the source says that it has it. */
  readonly known: boolean
  readonly since: Date | null
  readonly never: boolean
}

function reasonOf({ source, state, hidden, known: isKnown, since, never: isUnconfirmed }: ClosedRow): string {
  if (state === null || state === 'proposed') return `its source ${source} is not there.`
  if (state === 'removing') return `its source ${source} is being removed.`
  if (hidden !== null) return `it is hidden. ${hidden}`
  if (!isKnown) return `its source ${source} does not tell of it.`
  if (isUnconfirmed || since === null) return `its source ${source} has not been confirmed yet.`
  return `its source ${source} has not been confirmed since ${since.toISOString()}.`
}
