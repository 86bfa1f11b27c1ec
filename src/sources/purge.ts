import type { Writer } from '../ingest/context.ts'
import type { Ingest } from '../ingest/ingest.ts'
import { AppError } from '../kernel/errors.ts'
import { reasonOf } from '../kernel/reason.ts'
import { sourcePrefix } from '../store/open-document.ts'
import type { Database } from '../store/sql.ts'

/** What purging takes. */
export interface PurgeDeps {
  readonly database: Database
  readonly ingest: Pick<Ingest, 'withdraw' | 'changeAccess'>
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

// So many one after another are nobody's own fault: the database is away, or this process has lost the source.
const failuresInTurnMax = 10

/**
 * Withdraws for good what the source has not had for `purge_days`, unless that is so much that the source
 * may be wrong: more than a tenth of its items, or 1,000. Then it stays hidden until an administrator says
 * how many. One that cannot be withdrawn keeps no other. May be killed anywhere, and run again. Throws the
 * last failure where ten come one after another.
 */
export async function purgeMissing({ database, ingest, actor, id, signal }: PurgeDeps): Promise<Purged> {
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
        await withdraw({ ingest, actor }, document)
        await database.query(
          'delete from source_items where source = $1 and document = $2 and missing_at is not null',
          [id, document],
        )
        failuresInTurn = 0
      } catch (error) {
        failuresInTurn += 1
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
 * May be killed anywhere.
 */
export async function removeAll(dependencies: PurgeDeps): Promise<void> {
  const { database, id, signal } = dependencies
  const seen = new Set<string>()
  for (;;) {
    signal.throwIfAborted()
    // The second half is for what a copy of the database may have forgotten.
    const rows = await database.query<{ document: string }>(
      `select document from source_items where source = $1
       union select id from documents where source = $2 and source like 'source/%' and withdrawn_at is null limit $3`,
      [id, `${sourcePrefix}${id}`, pageSize],
    )
    for (const { document } of rows) {
      if (seen.has(document))
        throw new AppError('internal_error', { internal: `${document} cannot be withdrawn.` })
      seen.add(document)
      await withdraw(dependencies, document)
      await database.query('delete from source_items where source = $1 and document = $2', [id, document])
    }
    if (rows.length === 0) break
  }
  await removeTuples(dependencies)
}

async function removeTuples({ database, ingest, actor, id, signal }: PurgeDeps): Promise<void> {
  const rows = await database.query<{ tuple: string }>(
    `select tuple from source_tuples where source = $1 and tuple not like '% filed_in %' order by tuple`,
    [id],
  )
  for (const { tuple } of rows) {
    signal.throwIfAborted()
    const [user = '', relation = '', object = ''] = tuple.split(' ')
    const [type = '', name = ''] = object.split(/:(.*)/s)
    await ingest.changeAccess(
      {
        kind: 'service',
        writer: actor,
        scopes: new Set(['docs.write', 'directory.write']),
        prefixes: [`${id}/`],
      },
      { writes: [], deletes: [{ user, relation, object: `${type}:${name}` }] },
    )
    await database.query('delete from source_tuples where source = $1 and tuple = $2', [id, tuple])
  }
}

async function withdraw(
  { ingest, actor }: Pick<PurgeDeps, 'ingest' | 'actor'>,
  document: string,
): Promise<void> {
  try {
    await ingest.withdraw(actor, document)
  } catch (error) {
    // It never came in, or is gone.
    if (!(error instanceof AppError && error.code === 'not_found')) throw error
  }
}
