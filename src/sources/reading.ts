import { setTimeout as sleep } from 'node:timers/promises'
import { type Source, SourceUnavailable, type SyncReport, syncOnce } from '@remit/connector'
import { type Fga, tupleId } from '../authz/fga.ts'
import type { Writer } from '../ingest/context.ts'
import { AppError } from '../kernel/errors.ts'
import { splitObject } from '../kernel/ids.ts'
import { pluralize } from '../kernel/pluralize.ts'
import { printable } from '../kernel/printable.ts'
import { entryFor, type RegisteredSecret } from '../kernel/registered-secret.ts'
import type { GuardedFetch } from '../outbound/guarded-fetch.ts'
import { movedTo } from '../store/moved.ts'
import type { Sql } from '../store/sql.ts'
import { createSourceFetch, type SourceFetchCounts } from './fetch.ts'
import type { Before, Opening, ReadSettings } from './kind.ts'
import { withPeople } from './people/linking.ts'
import { type Giving, noteTakenAway } from './people/rows.ts'
import type { SourceRow } from './rows.ts'
import type { HeldSource, Outcome, SourceRunnerDeps } from './runner.ts'
import { createSourceState, hideItems } from './state.ts'
import { createSourceWriter } from './writer.ts'

/** One reading of one source. */
export interface ReadOnceDeps
  extends Outside,
    Pick<SourceRunnerDeps, 'ingest' | 'kinds' | 'origins' | 'titleOf' | 'fga' | 'addresses' | 'seal'> {
  readonly held: HeldSource
  readonly actor: Writer
}

/** What leads out of the service. */
interface Outside {
  readonly secrets: readonly RegisteredSecret[]
  readonly outbound: GuardedFetch
  readonly now: () => number
}

/** Settings whose source can ask its own origin. Its end notes how often it did. */
interface OpenSettings extends AsyncDisposable, Pick<ReadSettings, 'origin' | 'verifiesAddresses'> {
  open(opening: Omit<Opening, 'fetch' | 'secret'>): Source
}

/**
 * Reads a source once, from where the last reading came to. Throws where the source or this service does
 * not answer: nothing is hidden then, and nothing is confirmed. What cannot be brought is hidden, with its
 * reason.
 */
export async function readOnce({
  held: heldSource,
  actor,
  ingest,
  kinds,
  origins,
  titleOf,
  fga,
  addresses,
  seal,
  ...outside
}: ReadOnceDeps): Promise<Outcome> {
  const { row, beganAt, signal, transaction } = heldSource
  const { id, collections, crawledAt, crawlWantedAt } = row
  const kind = kinds.get(row.kind)
  if (kind === undefined) throw new AppError('internal_error', { public: `No kind ${row.kind} is there.` })
  await using settings = openOutside(kind.read(row.settings), heldSource, outside)
  // What the machine allows may have changed since, and what is stored could have been written by anybody.
  if (settings.origin !== row.origin || !origins.includes(row.origin))
    throw new AppError('forbidden', { public: `${row.origin} is none of SOURCE_ORIGINS.` })
  const isOld = crawledAt !== undefined && beganAt.getTime() - crawledAt.getTime() >= row.crawlSeconds * 1_000
  const isDue = isOld || crawlWantedAt !== undefined
  const isCompared = isDue || crawledAt === undefined
  const state = createSourceState({ id, beganAt, crawls: isCompared, transaction })
  const prefix = `${id}/`
  const hide = (document: string, reason: string, isMissing: boolean) =>
    transaction((sql) => hideItems(sql, id, [document], { reason, isMissing }))
  const writer = createSourceWriter({
    ingest,
    actor,
    prefix,
    collections,
    hideMissing: (document) => hide(document, 'The source does not have it any more.', true),
    hideBroken: (document) => hide(document, 'It cannot be brought.', false),
  })
  const { verifiesAddresses } = settings
  let nobody: readonly Giving[] = []
  const publicCollections = await transaction((sql) => readPublic(sql, collections))
  const last = await transaction((sql) => readLast(sql, id))
  const before = { ...last, takesOther: crawlWantedAt !== undefined }
  const opening = { prefix, collections, publicCollections, titleOf, before }
  const source = withPeople(settings.open(opening), {
    source: id,
    addresses,
    verifiesAddresses,
    onNobody: (nobodies) => {
      nobody = nobodies
    },
    actor,
    seal,
    transaction,
  })
  let isDirectoryIn = false
  const confirmGroups = () => {
    isDirectoryIn = true
    return transaction((sql) =>
      sql.query(
        `update sources set groups_at = $2
         where id = $1 and (crawl_wanted_at is null or $3 and crawl_wanted_at < $2)`,
        [id, beganAt, isCompared],
      ),
    )
  }
  const report = await syncOnce(source, writer, state, {
    signal,
    onDirectory: confirmGroups,
    stored: { on: storedOn(fga), isAll: isCompared },
  })
  await noteFailed(heldSource, report)
  if (report.isComplete) {
    // Of whom something could not be taken away, who is kept out stays so.
    const stuck = (report.directory?.failed ?? []).map(({ tuple }) => tuple.slice(0, tuple.indexOf(' ')))
    await transaction(async (sql) => {
      // Who was moved meanwhile has one of two names here.
      const moved = await movedTo(sql, [...stuck, ...nobody.map(({ subject }) => subject)])
      const keyOf = (subject: string): string => moved.get(subject) ?? subject
      const stuckNow = new Set(stuck.map(keyOf))
      const cleared = nobody.filter(({ subject }) => !stuckNow.has(keyOf(subject)))
      await noteTakenAway(sql, id, cleared)
    })
  }
  const crawlBeganAt = state.crawlBeganAt()
  return {
    confirmsGroups: isDirectoryIn,
    confirmsItems: report.isComplete && (kind.untold.length === 0 || crawlBeganAt !== undefined),
    isComplete: report.isComplete,
    isCompared,
    crawled: report.isComplete && isCompared && crawlBeganAt !== undefined,
    itemsAt: crawlBeganAt ?? beganAt,
    problem: problemOf(report),
    nameless: namelessOf(report),
  }
}

const readPublic = async (sql: Sql, collections: readonly string[]): Promise<readonly string[]> =>
  (
    await sql.query<{ id: string }>(
      'select id from collections where public_allowed and id = any($1) order by id',
      [collections],
    )
  ).map(({ id }) => id)

async function readLast(sql: Sql, id: string): Promise<Omit<Before, 'takesOther'>> {
  const [row] = await sql.query<{ cursor: string | null; has: boolean }>(
    `select cursor, exists (select from source_items where source = sources.id and missing_at is null) as has
     from sources where id = $1`,
    [id],
  )
  return { cursor: row?.cursor ?? undefined, hasItems: row?.has === true }
}

const storedOn =
  (fga: Pick<Fga, 'read'>) =>
  async (object: string): Promise<string[]> => {
    const found: string[] = []
    const { type, id } = splitObject(object)
    for await (const tuple of fga.read({ object: `${type}:${id}` })) found.push(tupleId(tuple))
    return found
  }

/** What was not brought and is no item, or has no id: refused changes, what is closed, items. */
const namelessOf = ({ failed: failures, directory }: SyncReport): SourceRow['nameless'] =>
  [
    ...(directory?.failed ?? []).map(({ tuple, problem }) => ({ name: tuple, problem })),
    ...(directory?.closed ?? []).map(({ place, problem }) => ({ name: place, problem })),
    ...failures.filter(({ id: document }) => document === undefined),
  ]
    .slice(0, namelessMax)
    .map(({ name, problem }) => ({ name: storable(name), problem: storable(problem) }))

const namelessMax = 100
const reasonLengthMax = 500

/** Names and errors of a source may hold what Postgres does not take. */
const storable = (text: string): string => printable(text.slice(0, reasonLengthMax))

/** Why each of them is hidden. They are out of every search since they failed. */
const noteFailed = ({ row, transaction }: HeldSource, { failed: failures }: SyncReport): Promise<unknown> =>
  transaction(async (sql) => {
    for (const { id, problem } of failures)
      if (id !== undefined) await hideItems(sql, row.id, [id], { reason: storable(problem) })
  })

function problemOf({ isComplete, failed, directory }: SyncReport): string | undefined {
  const problems = [
    ...(isComplete ? [] : ['It was not read to its end: nothing is confirmed.']),
    ...(directory === undefined || directory.failed.length === 0
      ? []
      : [
          `${pluralize(directory.failed.length, 'change')} of groups, folders or zones refused: ${directory.failed[0]?.problem}`,
        ]),
    ...(directory === undefined || directory.closed.length === 0
      ? []
      : [
          `${pluralize(directory.closed.length, 'group, folder or zone', 'groups, folders or zones')} closed: ${directory.closed[0]?.problem}`,
        ]),
    ...(failed.length === 0 ? [] : [`${pluralize(failed.length, 'item')} cannot be brought.`]),
  ]
  return problems.length === 0 ? undefined : printable(problems.join(' '))
}

/** Gives a source its credential and its way out. `open` throws where this process has no such credential. */
function openOutside(
  settings: ReadSettings,
  { row, signal, transaction }: HeldSource,
  { secrets, outbound, now }: Outside,
): OpenSettings {
  const { fetch, counts } = createSourceFetch({
    outbound,
    origin: row.origin,
    perMinute: row.requestsPerMinute,
    now,
    sleep: (ms, until) => sleep(ms, undefined, { signal: until }),
    signal,
  })
  return {
    origin: settings.origin,
    verifiesAddresses: settings.verifiesAddresses,
    open: (opening) => settings.open({ ...opening, fetch, secret: secretOf(row, secrets) }),
    [Symbol.asyncDispose]: () => noteRequests(transaction, row.id, counts),
  }
}

/** For exactly this kind and origin, also where what is stored names something else. */
function secretOf(
  { kind, origin, secret: name }: SourceRow,
  secrets: readonly RegisteredSecret[],
): string | undefined {
  if (name === undefined) return undefined
  const value = entryFor(secrets, { name, kind, origin })?.value
  if (value === undefined)
    throw new SourceUnavailable(`SOURCE_SECRETS has no entry ${name} for the kind ${kind} at ${origin} here.`)
  return value
}

/** Also of a reading that failed; one that lost its lease counts nothing. */
const noteRequests = async (
  transaction: HeldSource['transaction'],
  id: string,
  { requests, throttled }: SourceFetchCounts,
): Promise<void> => {
  if (requests === 0) return
  await transaction((sql) =>
    sql.query('update sources set requests = requests + $2, throttled = throttled + $3 where id = $1', [
      id,
      requests,
      throttled,
    ]),
  ).catch(() => undefined)
}
