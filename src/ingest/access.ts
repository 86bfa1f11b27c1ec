import { record } from '../audit/record.ts'
import { type Tuple, type TupleKey, tupleId } from '../authz/fga.ts'
import { misfitOf } from '../authz/tuples.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import { splitObject } from '../kernel/ids.ts'
import { type Caller, type Entry, readObjects, refusalOf } from './access-rights.ts'
import { keepSensitive } from './access-sensitivity.ts'
import { storeChange } from './access-store.ts'
import type { IngestContext, Writer } from './deps.ts'
import { assertNoCircle, foldersLock, writesFolderParent } from './folder-cycles.ts'
import { type JobNote, noteTexts } from './job-store.ts'
import { settleObject } from './settle.ts'

export interface AccessChange {
  readonly writes: readonly Tuple[]
  readonly deletes: readonly TupleKey[]
}

const tuplesMax = 100
const tracked = new Set(['document', 'folder', 'collection'])

/**
 * Changes tuples by the allow-list of src/authz/tuples.ts, in one Write to OpenFGA, in force when this returns.
 * Throws `invalid_request` naming the tuple that does not fit the model, `forbidden` naming the one that this
 * caller may not touch, `conflict` for one that exists with another end; then nothing of it is written. A folder that
 * would lie in itself is `invalid_request`.
 * After a 503 the change may yet take effect: it is remembered before it is sent, and drift completes it.
 */
export async function changeAccess(
  context: IngestContext,
  caller: Caller,
  change: AccessChange,
): Promise<readonly JobNote[]> {
  const entries = entriesOf(change)
  assertFits(entries)
  return context.locks.hold(locksFor(entries), async () => {
    const facts = await readObjects(context, caller, entries)
    for (const entry of entries) {
      const refused = refusalOf(caller, entry, facts)
      if (refused !== undefined) throw new AppError('forbidden', { field: entry.field, public: refused })
    }
    await assertNoCircle(context.database, entries)
    await assertSameEnds(context, entries)
    const kept = caller.kind === 'service' ? await keepSensitive(context, entries, facts) : []
    const all = [...entries, ...kept]
    await writeChange(context, caller.writer, all)
    return kept.map(({ tuple }) => ({
      id: splitObject(tuple.object).id,
      code: 'sensitivity_kept',
      detail: noteTexts.sensitivity_kept,
    }))
  })
}

/**
 * The same without asking who may: for the operator's own data, such as the sample's groups and folders. Keeps
 * our tags in step, which tuples written straight to OpenFGA would not: drift would take those away.
 * Any number of tuples, in Writes of 100.
 */
export async function applyTuples(
  context: IngestContext,
  writer: Writer,
  change: AccessChange,
): Promise<void> {
  const entries = entriesOf(change)
  for (let from = 0; from < entries.length; from += tuplesMax) {
    const page = entries.slice(from, from + tuplesMax)
    for (const { tuple, operation, field } of page) {
      const misfit = misfitOf(tuple, operation)
      if (misfit !== undefined) throw invalid(`${field}.${misfit.field}`, misfit.detail)
    }
    // An end may differ from the one that an earlier run wrote: OpenFGA takes it in a second Write only.
    const ending = page.filter(
      ({ tuple, operation }) => operation === 'write' && tuple.condition !== undefined,
    )
    await context.locks.hold(locksFor(page), async () => {
      await assertNoCircle(context.database, page)
      await context.fga.write({
        deletes: ending.map(({ tuple: { user, relation, object } }) => ({ user, relation, object })),
      })
      await writeChange(context, writer, page)
    })
  }
}

const entriesOf = ({ writes, deletes }: AccessChange): Entry[] => [
  ...deletes.map((tuple, index): Entry => ({ tuple, operation: 'delete', field: `deletes.${index}` })),
  ...writes.map((tuple, index): Entry => ({ tuple, operation: 'write', field: `writes.${index}` })),
]

function locksFor(entries: readonly Entry[]): readonly string[] {
  const objects = entries.map(({ tuple }) => tuple.object).filter((one) => tracked.has(splitObject(one).type))
  return [...new Set([...objects, ...(entries.some(writesFolderParent) ? [foldersLock] : [])])].sort()
}

function assertFits(entries: readonly Entry[]): void {
  if (entries.length === 0) throw invalid('writes', 'At least one tuple is needed.')
  if (entries.length > tuplesMax)
    throw invalid('writes', `At most ${tuplesMax} tuples, writes and deletes together.`)
  const seen = new Set<string>()
  for (const { tuple, operation, field } of entries) {
    const misfit = misfitOf(tuple, operation)
    if (misfit !== undefined) throw invalid(`${field}.${misfit.field}`, misfit.detail)
    if (seen.has(tupleId(tuple))) throw invalid(field, 'This tuple is named twice.')
    seen.add(tupleId(tuple))
  }
}

/** OpenFGA cannot change a stored tuple's end in one Write, and would fail the whole. */
async function assertSameEnds({ fga }: IngestContext, entries: readonly Entry[]): Promise<void> {
  const expiring = entries.filter(
    ({ tuple, operation }) =>
      operation === 'write' &&
      ['viewer', 'member'].includes(tuple.relation) &&
      (tuple.user.startsWith('user:') || tuple.user.endsWith('#member')),
  )
  const found = await Promise.all(
    expiring.map(async ({ tuple: { user, relation, object, condition } }) => {
      for await (const stored of fga.read({ user, relation, object })) {
        return endOf(stored.condition) !== endOf(condition)
      }
      return false
    }),
  )
  const index = found.indexOf(true)
  const entry = expiring[index]
  if (entry === undefined) return
  throw new AppError('conflict', {
    field: entry.field,
    public: 'This tuple exists with another end. Delete it in a request of its own first.',
  })
}

const endOf = (condition: Tuple['condition']): number | undefined =>
  condition === undefined ? undefined : Date.parse(condition.context.expires_at)

async function writeChange(context: IngestContext, writer: Writer, entries: readonly Entry[]): Promise<void> {
  const { database, fga } = context
  const { waiting, marked, fresh } = await database.transaction(async (sql) => {
    const stored = await storeChange(sql, entries)
    await record(sql, writer, {
      event: 'access_changed',
      writes: entries.filter(({ operation }) => operation === 'write').map(({ tuple }) => tupleId(tuple)),
      deletes: entries.filter(({ operation }) => operation === 'delete').map(({ tuple }) => tupleId(tuple)),
    })
    return stored
  })
  const now = entries.filter(({ tuple }) => !waiting.has(tuple.object))
  await fga.write({
    deletes: now.flatMap(({ tuple: { user, relation, object }, operation }) =>
      operation === 'delete' ? [{ user, relation, object }] : [],
    ),
    writes: now.flatMap(({ tuple, operation }) => (operation === 'write' ? [tuple] : [])),
  })
  // Marks of this change alone are settled by its Write; older ones, and new folders, are looked at whole.
  await database.query('delete from unsettled where object = any($1)', [marked])
  for (const object of fresh) await settleObject(database, fga, object)
}
