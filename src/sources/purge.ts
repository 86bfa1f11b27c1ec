import { isId } from '@remit/contract/is-id'
import { type Fga, type TupleKey, tupleId } from '../authz/fga.ts'
import type { Caller } from '../ingest/access-rights.ts'
import type { Writer } from '../ingest/context.ts'
import type { Ingest } from '../ingest/ingest.ts'
import { AppError } from '../kernel/errors.ts'
import { splitObject } from '../kernel/ids.ts'
import { reasonOf } from '../kernel/reason.ts'
import { sourcePrefix } from '../store/open-document.ts'
import type { Database, Sql } from '../store/sql.ts'
import { followMoves } from './state.ts'

/** What purging takes. */
export interface PurgeDeps {
  readonly database: Database
  readonly ingest: Pick<Ingest, 'withdraw' | 'changeAccess'>
  readonly fga: Pick<Fga, 'read'>
  /** The source's own service. */
  readonly actor: Writer
  readonly id: string
  readonly signal: AbortSignal
}

// More than a tenth of a source, or than a thousand, goes by somebody's word only; ten always may.
const withoutAWord = 10
const withoutAWordMax = 1_000
const pageSize = 200

/** What became of a purge. */
export interface Purged {
  /** Those that could not be withdrawn. They stay hidden, and are tried again. */
  readonly failed: readonly { readonly document: string; readonly reason: string }[]
}

// So many one after another are no document's own fault: the database is away, or the source is lost.
const failuresInTurnMax = 10

/**
 * Withdraws for good what the source has not had for `purge_days`, unless that is so much that the source
 * may be wrong: more than a tenth of its items, or 1,000. Then it stays hidden until an administrator says
 * how many. One that cannot be withdrawn keeps no other. May be killed anywhere, and run again. Throws the
 * last failure where ten come one after another.
 */
export async function purgeMissing(dependencies: PurgeDeps): Promise<Purged> {
  const { database, id, signal } = dependencies
  const failed: { document: string; reason: string }[] = []
  let failuresInTurn = 0
  for (let after = ''; ; ) {
    signal.throwIfAborted()
    const rows = await database.query<{ document: string }>(
      `with counted as (
         select count(*) as items, count(*) filter (where missing_at is not null) as missing
         from source_items where source = $1)
       select i.document from source_items i join sources s on s.id = i.source cross join counted
       where i.source = $1 and i.document > $5 and i.missing_at is not null and (
         i.missing_at <= s.purge_until
         or i.missing_at <= now() - make_interval(days => s.purge_days)
            and counted.missing <= greatest($2::int, least($3::int, counted.items / 10)))
       order by i.document limit $4`,
      [id, withoutAWord, withoutAWordMax, pageSize, after],
    )
    for (const { document } of rows) {
      signal.throwIfAborted()
      try {
        await withdraw(dependencies, document)
        await database.query(
          'delete from source_items where source = $1 and document = $2 and missing_at is not null',
          [id, document],
        )
        failuresInTurn = 0
      } catch (error) {
        // Of ten that are filed elsewhere each is alone with that.
        if (!(error instanceof NoRight)) failuresInTurn += 1
        if (failuresInTurn === failuresInTurnMax) throw error
        failed.push({ document, reason: reasonOf(error) })
      }
    }
    after = rows.at(-1)?.document ?? ''
    if (rows.length < pageSize) return { failed }
  }
}

/**
 * Takes away everything that a source brought: nobody reads any of it since it is being removed. Its
 * documents first, then its groups and readers of folders. Folders stay filed: that gives nobody anything.
 * One that cannot be withdrawn keeps no other; the first such failure is thrown at the end. May be killed
 * anywhere.
 */
export async function removeAll(dependencies: PurgeDeps): Promise<void> {
  const failed: unknown[] = []
  let failuresInTurn = 0
  for (let after = ''; ; ) {
    const documents = await pageToRemove(dependencies, after)
    for (const document of documents) {
      dependencies.signal.throwIfAborted()
      try {
        await withdraw(dependencies, document)
        await dependencies.database.query('delete from source_items where source = $1 and document = $2', [
          dependencies.id,
          document,
        ])
        failuresInTurn = 0
      } catch (error) {
        if (!(error instanceof NoRight)) failuresInTurn += 1
        if (failuresInTurn === failuresInTurnMax) throw error
        failed.push(error)
      }
    }
    after = documents.at(-1) ?? ''
    if (documents.length < pageSize) break
  }
  await removeTuples(dependencies)
  if (failed.length > 0) throw failed[0]
}

/** The second half is for what a copy of the database may have forgotten. */
async function pageToRemove({ database, id, signal }: PurgeDeps, after: string): Promise<readonly string[]> {
  signal.throwIfAborted()
  const rows = await database.query<{ document: string }>(
    `select document from source_items where source = $1 and document > $4
     union select id from documents
       where source = $2 and source like 'source/%' and withdrawn_at is null and id > $4
     order by document limit $3`,
    [id, `${sourcePrefix}${id}`, pageSize, after],
  )
  return rows.map(({ document }) => document)
}

/**
 * What the service refuses to delete is gone all the same where OpenFGA does not hold it; what it does hold
 * keeps none of the others. Throws the first such refusal at the end.
 */
async function removeTuples({ database, ingest, fga, actor, id, signal }: PurgeDeps): Promise<void> {
  await database.transaction((sql) => followMoves(sql, id))
  const rows = await database.query<{ tuple: string }>(
    `select tuple from source_tuples where source = $1 and tuple not like '% filed_in %' order by tuple`,
    [id],
  )
  const caller: Caller = {
    kind: 'service',
    writer: actor,
    scopes: new Set(['docs.write', 'directory.write']),
    prefixes: [`${id}/`],
  }
  const refusals: unknown[] = []
  for (const { tuple } of rows) {
    signal.throwIfAborted()
    const key = keyOf(tuple)
    try {
      await ingest.changeAccess(caller, { writes: [], deletes: [key] })
    } catch (error) {
      if (!(error instanceof AppError) || error.status >= 500) throw error
      if (await isStored(fga, key)) {
        refusals.push(error)
        continue
      }
    }
    await database.query('delete from source_tuples where source = $1 and tuple = $2', [id, tuple])
  }
  if (refusals.length > 0) throw refusals[0]
}

function keyOf(tuple: string): TupleKey {
  const [user = '', relation = '', object = ''] = tuple.split(' ')
  const [type = '', name = ''] = object.split(/:(.*)/s)
  return { user, relation, object: `${type}:${name}` }
}

async function isStored(fga: Pick<Fga, 'read'>, key: TupleKey): Promise<boolean> {
  const { id } = splitObject(key.object)
  // Nothing is ever written of such an id, and OpenFGA may refuse to be asked.
  if (!isId(id)) return false
  for await (const tuple of fga.read({ object: key.object })) if (tupleId(tuple) === tupleId(key)) return true
  return false
}

/** A document is there, and the source may not withdraw it. */
class NoRight extends Error {
  override readonly name = 'NoRight'
  constructor(options: ErrorOptions) {
    super('The source has no right to withdraw it where it is filed.', options)
  }
}

async function withdraw({ database, ingest, actor, id }: PurgeDeps, document: string): Promise<void> {
  try {
    await ingest.withdraw(actor, document)
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    if (error.code === 'forbidden') throw new NoRight({ cause: error })
    if (error.code !== 'not_found') throw error
    // The same is said where what waits or failed may not be written any more.
    if (await isHere(database, id, document)) throw new NoRight({ cause: error })
  }
}

/** Whether something that the source sent as this document is here: published, waiting, or failed. */
async function isHere(sql: Sql, id: string, document: string): Promise<boolean> {
  const rows = await sql.query(
    `select from documents d where d.id = $1 and d.withdrawn_at is null and (d.source = $2
       or exists (select from revisions r where r.doc_no = d.doc_no and r.source = $2)
       or exists (select from failed_documents f where f.doc_no = d.doc_no and f.source = $2))`,
    [document, `${sourcePrefix}${id}`],
  )
  return rows.length > 0
}
