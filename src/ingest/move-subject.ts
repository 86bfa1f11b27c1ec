import { type Tuple, type TupleKey, tupleId } from '../authz/fga.ts'
import { AppError } from '../kernel/errors.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { keepingLaterEnd, type Mark, unmark } from './desired-tuples.ts'
import { type Hold, retryRefusedWrite } from './hold.ts'
import { isAdopted, isForeign } from './reconcile-tuples.ts'
import { copyBlocks, renameSubject } from './retag.ts'

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
 * Gives `to` all that `from` has: content, members, writers, lendings. Rows and marks first, and before all
 * that lets anybody read what keeps from it, since `to` is not barred meanwhile. What `from` has goes last,
 * of whom nothing is answered. Whoever died meanwhile says it again: until `person_moves` tells the end, no
 * comparison looks at members and the like of either of the two.
 */
export async function moveSubject(context: IngestContext, move: SubjectMove): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    await copyBlocks(context, move.from, move.to)
    await whileHeld(context, adoptedOf(move), (hold) => restrictHeld(context, hold, adoptedOf(move)))
    if (await renameSubject(context, move.from, move.to)) break
    if (tries === triesMax) throw writtenAllTheTime(move)
  }
  await whileHeld(context, move, (hold) => moveHeld(hold, move))
}

/** Without content and lendings. */
function adoptedOf({ tuplesOf, movable, ...move }: SubjectMove): SubjectMove {
  const isOfThem = ({ object, relation }: Tuple): boolean => isAdopted(splitObject(object).type, relation)
  return {
    ...move,
    tuplesOf: async (subject) => (await tuplesOf(subject)).filter(isOfThem),
    movable: async () => (await movable()).filter(isOfThem),
  }
}

async function whileHeld(
  context: IngestContext,
  move: SubjectMove,
  work: (hold: Hold) => Promise<void>,
): Promise<void> {
  for (let tries = 1; tries <= triesMax; tries += 1) {
    const objects = await objectsOf(context, move)
    const isDone = await context.documentLocks.hold([...objects].sort(), async (hold) => {
      // What came to it before all of it was held.
      for (const object of await objectsOf(context, move)) if (!objects.has(object)) return false
      await work(hold)
      return true
    })
    if (isDone) return
  }
  throw writtenAllTheTime(move)
}

const writtenAllTheTime = ({ from }: SubjectMove): AppError =>
  new AppError('authorization_unavailable', { internal: `${from} is written all the time` })

/** Members of groups that block, first of those that give nothing. Their rows come with all the rest. */
async function restrictHeld(context: IngestContext, hold: Hold, move: SubjectMove): Promise<void> {
  await retryRefusedWrite(async () => {
    await hold.write(await gainOf(move, await restrictingOf(context, await move.movable())))
  })
}

async function restrictingOf(
  { allowList, effectsOf }: IngestContext,
  tuples: readonly Tuple[],
): Promise<readonly Tuple[]> {
  const list = allowList()
  const { restricting, giving } = await effectsOf([...new Set(tuples.map(usersetOf))])
  const of = (tuple: Tuple) => {
    const { type } = splitObject(tuple.object)
    const isWidening = list.isWidening(type, tuple.relation)
    const isOfBlocked = restricting.has(usersetOf(tuple))
    return {
      tuple,
      restricts: !isWidening || isOfBlocked || list.restrictsByItself(type, tuple.relation),
      gives: isWidening && (!isOfBlocked || giving.has(usersetOf(tuple))),
    }
  }
  const found = tuples.map(of).filter(({ restricts }) => restricts)
  return [...found.filter(({ gives }) => !gives), ...found.filter(({ gives }) => gives)].map(
    ({ tuple }) => tuple,
  )
}

const usersetOf = ({ object, relation }: Tuple): string => `${object}#${relation}`

/** The same under the new key. */
function moved({ from, to }: SubjectMove, tuple: Tuple): Tuple {
  const counterpartOf = (name: string): string => (name === from ? to : name)
  return { ...tuple, user: counterpartOf(tuple.user), object: counterpartOf(tuple.object) as FgaObject }
}

/** What is to be written of these for the new key. One that it has as well keeps the later end. */
async function gainOf(
  move: SubjectMove,
  tuples: readonly Tuple[],
): Promise<{ readonly writes: readonly Tuple[]; readonly deletes: readonly TupleKey[] }> {
  const existing = new Map((await move.tuplesOf(move.to)).map((tuple) => [tupleId(tuple), tuple]))
  const writes = tuples
    .map((tuple) => moved(move, tuple))
    .filter((tuple) => {
      const own = existing.get(tupleId(tuple))
      return own === undefined || endsLater(tuple, own)
    })
  return { writes, deletes: writes.filter((tuple) => existing.has(tupleId(tuple))).map(keyOf) }
}

/** Not where one has a condition of others, which says no end that could be compared. */
const endsLater = ({ condition: one }: Tuple, { condition: other }: Tuple): boolean =>
  other !== undefined &&
  !isForeign(one) &&
  !isForeign(other) &&
  (one === undefined || Date.parse(one.context.expires_at) > Date.parse(other.context.expires_at))

const keyOf = ({ user, relation, object }: Tuple): TupleKey => ({ user, relation, object })

async function objectsOf(
  { database }: IngestContext,
  { from, to, tuplesOf }: SubjectMove,
): Promise<ReadonlySet<string>> {
  const rows = await database.query<{ object: string }>(`select distinct object from ${notContent}`, [from])
  const objects = [...rows, ...(await tuplesOf(from))].map(({ object }) => object)
  return new Set([...objects, ...(objects.some((object) => object === from) ? [to] : [])])
}

async function moveHeld(hold: Hold, move: SubjectMove): Promise<void> {
  const { from, to, movable, rows } = move
  const { marks, settles } = await hold.transaction(async (sql) => {
    const left = await rows(sql)
    await sql.query(
      `insert into desired_tuples (object, relation, subject, expires_at)
       select ${renamed('object')}, relation, ${renamed('subject')}, expires_at from ${notContent}
       ${keepingLaterEnd}`,
      [from, to],
    )
    const marked = await sql.query<Mark & { readonly isFresh: boolean }>(
      `insert into unreconciled (object, purge)
       select distinct ${renamed('object')}, false from ${notContent} order by 1
       on conflict (object) do update set number = nextval('unreconciled_numbers')
       returning object, number, xmax = 0 as "isFresh"`,
      [from, to],
    )
    await sql.query(`delete from ${notContent}`, [from])
    // Of another change that is not done yet the mark stays.
    return { marks: marked.filter(({ isFresh }) => isFresh), settles: left }
  })
  for (const settle of settles) await settle()
  await retryRefusedWrite(async () => {
    // Asked again: another model may have come into force since the move began.
    const old = await movable()
    const { writes, deletes } = await gainOf(move, old)
    await hold.write({ writes, deletes: [...deletes, ...old.map(keyOf)] })
  })
  await hold.transaction((sql) => unmark(sql, marks))
}

// Keys that move are of an issuer, `user:acme/anne`; by that their index is found.
const notContent = `desired_tuples
  where (subject = $1 and subject like 'user:%/%' or object = $1)
    and split_part(object, ':', 1) not in ('document', 'folder', 'zone', 'collection')`
const renamed = (column: string): string => `case when ${column} = $1 then $2::text else ${column} end`
