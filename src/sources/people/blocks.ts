import type { TupleKey } from '../../authz/fga.ts'
import type { Caller } from '../../ingest/access-rights.ts'
import type { Writer } from '../../ingest/context.ts'
import type { Ingest } from '../../ingest/ingest.ts'
import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import { endExpired, takeLease } from '../../store/lease.ts'
import { sourcePrefix } from '../../store/open-document.ts'
import type { Database } from '../../store/sql.ts'
import { followMoves } from '../state.ts'

/** What keeping people out takes. */
export interface BlocksDeps {
  readonly database: Database
  readonly ingest: Pick<Ingest, 'changeAccess'>
}

/** The group of those whose account of this source was suspended a moment ago. No source has it itself. */
export const blockedGroup = (source: string): `group:${string}` => `group:${source}/suspended`

// One Write of OpenFGA takes 100. A source has 20 collections at most, and the service adds one of its own.
const membersMax = 75

/**
 * Keeps everybody whose account was suspended from all of the source, until a reading has taken away what
 * the account gave them: the source may not answer for a day. Whom it kept out and need not any more, it lets
 * go. One process at a time; may be killed anywhere, and run again. Does NOT look whether the documents are
 * filed where the source's row says.
 */
export async function settleBlocks(
  { database, ingest }: BlocksDeps,
  source: string,
  writer: Writer,
): Promise<void> {
  // Else a block that a version before this noted by an old key would be let go by that one.
  await database.transaction((sql) => followMoves(sql, source))
  const rows = await database.query<{
    subject: string
    isWanted: boolean
    isWritten: boolean
    collections: string[]
  }>(
    `select subject, is_wanted as "isWanted", is_written as "isWritten", collections
     from (${blocks}) as found where source = $1 order by subject`,
    [source],
  )
  const caller: Caller = {
    kind: 'service',
    writer,
    scopes: new Set(['docs.write', 'directory.write']),
    prefixes: [`${source}/`],
  }
  const member = (subject: string): TupleKey => ({
    user: subject,
    relation: 'member',
    object: blockedGroup(source),
  })
  const keptCollections = (rows[0]?.collections ?? []).map(
    (collection): TupleKey => ({
      user: `${blockedGroup(source)}#member`,
      relation: 'blocked',
      object: `collection:${collection}`,
    }),
  )
  const missing = rows.filter(({ isWanted, isWritten }) => isWanted && !isWritten)
  for (const page of pagesOf(missing)) {
    await database.query(
      'insert into source_blocks (source, subject) select $1, unnest($2::text[]) on conflict do nothing',
      [source, page],
    )
    await ingest.changeAccess(caller, { writes: [...page.map(member), ...keptCollections], deletes: [] })
    await database.query(
      'update source_blocks set is_written = true where source = $1 and subject = any($2)',
      [source, page],
    )
  }
  const isOver = rows.every(({ isWanted }) => !isWanted)
  for (const page of pagesOf(rows.filter(({ isWanted }) => !isWanted))) {
    // Before it is deleted: of what a process that ends meanwhile deleted nothing is taken for granted.
    await database.query(
      'update source_blocks set is_written = false where source = $1 and subject = any($2)',
      [source, page],
    )
    // With the last of them goes the block itself: each check would have to look at it.
    const deletes = [...page.map(member), ...(isOver ? keptCollections : [])]
    await ingest.changeAccess(caller, { writes: [], deletes })
    await database.query('delete from source_blocks where source = $1 and subject = any($2)', [source, page])
  }
}

// Each person who is to be kept out of a source, or may be already.
const blocks = `
  select source, subject, wanted.source is not null as is_wanted, coalesce(is_written, false) as is_written,
    collections
  from (
    select distinct p.source, p.subject from source_people p join sources s on s.id = p.source
    where p.state = 'suspended' and p.gives and p.subject is not null and s.state in ('active', 'paused')
  ) as wanted full join source_blocks using (source, subject) join sources on sources.id = source`

function pagesOf(rows: readonly { readonly subject: string }[]): readonly (readonly string[])[] {
  const subjects = rows.map(({ subject }) => subject)
  const pages: (readonly string[])[] = []
  for (let offset = 0; offset < subjects.length; offset += membersMax)
    pages.push(subjects.slice(offset, offset + membersMax))
  return pages
}

/** What {@link createBlocking} works with. */
export interface BlockingDeps extends BlocksDeps {
  readonly log: Log
  readonly newId: () => string
  /** Seconds after which another process may go on with the work of one that died. */
  readonly leaseSeconds: number
}

/** Looks for people to keep out, or to let go, of all sources. No failure of one source reaches another. */
export function createBlocking(dependencies: BlockingDeps): () => Promise<void> {
  const { database, log, newId, leaseSeconds } = dependencies

  async function settle(source: string): Promise<void> {
    const objects = [`source-people:${source}`]
    await endExpired(database, objects, { isAlone: database.kind === 'pglite' })
    const lost = () => new Error('Another process does this.')
    const lease = await takeLease({ database, seconds: leaseSeconds, lost }, objects, newId())
    if (lease === undefined) return
    try {
      await settleBlocks(dependencies, source, {
        subject: `service:${sourcePrefix}${source}`,
        actors: [],
        client: 'source',
        txn: newId(),
        async assertCurrent(sql) {
          const rows = await sql.query('select from leases where holder = $1 for share', [lease.holder])
          if (rows.length === 0) throw lost()
        },
      })
    } finally {
      await lease.end()
    }
  }

  return async () => {
    const sources = await database.query<{ source: string }>(
      `select distinct source from (${blocks}) as found where not is_wanted or not is_written`,
    )
    for (const { source } of sources)
      try {
        await settle(source)
      } catch (error) {
        log('source_people_not_blocked', { source, reason: reasonOf(error) })
      }
  }
}
