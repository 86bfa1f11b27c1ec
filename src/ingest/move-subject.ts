import { type Tuple, tupleId } from '../authz/fga.ts'
import { AppError } from '../kernel/errors.ts'
import type { FgaObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { type Mark, unmark } from './desired-tuples.ts'
import { type Hold, retryRefusedWrite } from './hold.ts'

/** What moves from one subject, `user:acme/anne`, to another. */
export interface SubjectMove {
  readonly from: string
  readonly to: string
  /** All that OpenFGA has under a subject, or on it. */
  readonly tuplesOf: (subject: string) => Promise<readonly Tuple[]>
  /** The same of `from`; throws where some of it cannot stand under `to`. */
  readonly movable: () => Promise<readonly Tuple[]>
  /** Others' rows, in the same transaction; what it gives is done after it, before OpenFGA hears of it. */
  readonly rows: (sql: Sql) => Promise<readonly (() => Promise<void>)[]>
}

const triesMax = 4

/**
 * Gives `to` all that is left of `from` once its content has moved: members, writers, lendings. Rows and
 * marks first, then one Write, since by parts somebody could be out of a block and still be in a group. All
 * of it is held meanwhile. Whoever died meanwhile says it again: until `person_moves` tells the end, no
 * comparison looks at either of the two.
 */
export async function moveSubject(context: IngestContext, move: SubjectMove): Promise<void> {
  for (let tries = 1; tries <= triesMax; tries += 1) {
    const objects = await objectsOf(context, move)
    const isDone = await context.documentLocks.hold([...objects].sort(), async (hold) => {
      // What came to it before all of it was held.
      for (const object of await objectsOf(context, move)) if (!objects.has(object)) return false
      await moveHeld(hold, move)
      return true
    })
    if (isDone) return
  }
  throw new AppError('authorization_unavailable', { internal: `${move.from} is written all the time` })
}

async function objectsOf(
  { database }: IngestContext,
  { from, to, tuplesOf }: SubjectMove,
): Promise<ReadonlySet<string>> {
  const rows = await database.query<{ object: string }>(`select distinct object from ${notContent}`, [from])
  const objects = [...rows, ...(await tuplesOf(from))].map(({ object }) => object)
  return new Set([...objects, ...(objects.some((object) => object === from) ? [to] : [])])
}

async function moveHeld(hold: Hold, { from, to, tuplesOf, movable, rows }: SubjectMove): Promise<void> {
  const { marks, settles } = await hold.transaction(async (sql) => {
    const left = await rows(sql)
    await sql.query(
      `insert into desired_tuples (object, relation, subject, expires_at)
       select ${renamed('object')}, relation, ${renamed('subject')}, expires_at from ${notContent}
       on conflict do nothing`,
      [from, to],
    )
    const marked = await sql.query<Mark>(
      `insert into unreconciled (object, purge)
       select distinct ${renamed('object')}, false from ${notContent} order by 1
       on conflict (object) do update set since = now(), number = nextval('unreconciled_numbers')
       returning object, number`,
      [from, to],
    )
    await sql.query(`delete from ${notContent}`, [from])
    return { marks: marked, settles: left }
  })
  for (const settle of settles) await settle()
  await retryRefusedWrite(async () => {
    const existing = new Set((await tuplesOf(to)).map(tupleId))
    // Asked again: another model may have come into force since the move began.
    const old = await movable()
    const counterpartOf = (name: string): string => (name === from ? to : name)
    const moved = old.map((tuple) => ({
      ...tuple,
      user: counterpartOf(tuple.user),
      object: counterpartOf(tuple.object) as FgaObject,
    }))
    // One that the new key has keeps its own end.
    await hold.write({
      writes: moved.filter((tuple) => !existing.has(tupleId(tuple))),
      deletes: old.map(({ user, relation, object }) => ({ user, relation, object })),
    })
  })
  await hold.transaction((sql) => unmark(sql, marks))
}

// Keys that move are of an issuer, `user:acme/anne`; by that their index is found.
const notContent = `desired_tuples
  where (subject = $1 and subject like 'user:%/%' or object = $1)
    and split_part(object, ':', 1) not in ('document', 'folder', 'zone', 'collection')`
const renamed = (column: string): string => `case when ${column} = $1 then $2::text else ${column} end`
