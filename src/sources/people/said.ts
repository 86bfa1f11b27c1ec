import type { RecordActor } from '../../audit/record.ts'
import type { Sql } from '../../store/sql.ts'
import { recordChanges } from './linking.ts'

/**
 * Suspends every account of whom two administrators said who it is, until they say so again, and forgets what
 * one of them proposed: the source's accounts are those of another system now. Links by its settings are said
 * anew with these, and links by address are held against source and directory by each reading.
 */
export async function holdSaid(sql: Sql, source: string, who: RecordActor): Promise<void> {
  const held = await sql.query<{ account: string; subject: string }>(
    `update source_people set state = 'suspended', is_held = true, changed_at = now(),
       reason = 'The source reads another system now.'
     where source = $1 and linked_by = 'people' and not is_held returning account, subject`,
    [source],
  )
  const changed = held.map((one) => ({ ...one, state: 'suspended' as const }))
  await recordChanges(sql, who, source, changed)
  await sql.query('delete from source_people_proposed where source = $1', [source])
}
