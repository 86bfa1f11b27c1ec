import { isId } from '@remit/contract/id'
import { operator, type RecordActor } from '../../audit/record.ts'
import { type AllowList, isAdministrators } from '../../authz/allow-list/allow-list.ts'
import { assertInForce } from '../../authz/allow-list/in-force.ts'
import { type Fga, type Tuple, type TupleKey, tupleId } from '../../authz/fga.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import { collectionObject, type FgaObject } from '../../kernel/ids.ts'
import { lockPrefixes } from '../../store/prefixes.ts'
import type { Database, Sql } from '../../store/sql.ts'

/** A program of its own that writes documents. */
export interface Service {
  readonly name: string
  /** Collections it may write to and tag. The tuples decide; this is what they should be. */
  readonly collections: readonly string[]
  /** Beginnings of the group and organization ids that it may write with `directory.write`. */
  readonly prefixes: readonly string[]
}

/** The registry of services, and the collections into which each may write. */
export interface Services {
  /**
   * Registers a service with exactly these collections and prefixes. The row comes first, then the tuples; a
   * crash between leaves rights out, never over, and running it again completes them. Throws `forbidden`,
   * with nothing changed, where the allow-list lets no administrator write a right that is new. What stays or
   * is taken away asks no list: nothing keeps a right from ending. Throws `invalid_request` for a prefix of
   * which a directory writes groups, and for what a source has of its own.
   */
  save(service: Service, options?: ServiceChange): Promise<void>
  get(name: string): Promise<Service | undefined>
  list(): Promise<Service[]>
  /**
   * Takes its rights away, then its clients and itself: no token of it counts from then on. What it brought
   * in stays. False: there is no such service.
   */
  remove(name: string, options?: ServiceChange): Promise<boolean>
}

/** On whose behalf a service is changed. */
export interface ServiceChange {
  /**
   * Runs in each transaction that changes a row, and throws where whoever asks may not write any more:
   * another process has taken over.
   */
  readonly assertCurrent?: (sql: Sql) => Promise<void>
}

/** The service as an object of the authorization model. */
export const serviceObject = (name: string): FgaObject => `service:${name}`

/** Whoever changes it, on record, and until when it may. */
type Changing = RecordActor & ServiceChange

export interface ServicesDeps {
  readonly database: Database
  readonly fga: Pick<Fga, 'read'>
  readonly allowList: () => AllowList
  readonly newTxn: () => string
  /** How tuples get to OpenFGA, rows first: see `applyTuples` and `takeAway` of src/ingest. */
  readonly tuples: {
    readonly give: (recordedAs: Changing, tuples: readonly Tuple[]) => Promise<void>
    readonly takeAway: (recordedAs: Changing, tuples: readonly TupleKey[]) => Promise<void>
  }
}

/** Writes rights at OpenFGA and the row. Does NOT check who asks. */
export function createServices(dependencies: ServicesDeps): Services {
  const { database: sql, fga, allowList, newTxn, tuples: tupleWriters } = dependencies
  const changing = (assertCurrent: ServiceChange['assertCurrent']): Changing => ({
    ...operator(newTxn()),
    ...(assertCurrent && { assertCurrent }),
  })
  const get: Services['get'] = async (name) =>
    (await sql.query<Service>('select name, collections, prefixes from services where name = $1', [name]))[0]

  /** As stored, not as the row says: what a crash or an administrator took away is a right that is new. */
  async function missing(name: string, tuples: readonly Tuple[]): Promise<Tuple[]> {
    if (tuples.length === 0) return []
    const user = serviceObject(name)
    const existing = new Set<string>()
    for await (const tuple of fga.read({ user, object: 'collection:' })) existing.add(tupleId(tuple))
    const rows = await sql.query<TupleKey>(
      `select subject as "user", relation, object from desired_tuples
       where subject = $1 and object = any($2) and relation in ('writer', 'tagger')`,
      [user, tuples.map(({ object }) => object)],
    )
    const kept = new Set(rows.map(tupleId))
    return tuples.filter((tuple) => !existing.has(tupleId(tuple)) || !kept.has(tupleId(tuple)))
  }

  return {
    get,
    async list() {
      return sql.query<Service>('select name, collections, prefixes from services order by name')
    },
    async save(service, { assertCurrent } = {}) {
      const { name, collections, prefixes } = service
      if (!isId(name)) throw invalid('name', 'The service name is not valid.')
      await assertCollections(sql, collections)
      await assertFree(sql, service)
      const missingRights = await missing(name, rights(name, collections))
      const list = missingRights.length === 0 ? undefined : allowList()
      if (list !== undefined) assertMayWrite(list, missingRights)
      const previousCollections = (await get(name))?.collections ?? []
      const dropped = previousCollections.filter((collection) => !collections.includes(collection))
      // Removals first: a crash must not leave a right that the row no longer lists.
      if (dropped.length > 0) await tupleWriters.takeAway(changing(assertCurrent), rights(name, dropped))
      await sql.transaction(async (transaction) => {
        await lockPrefixes(transaction)
        await assertCurrent?.(transaction)
        if (list !== undefined) await assertInForce(transaction, list)
        await assertFree(transaction, service)
        await transaction.query(
          `insert into services (name, collections, prefixes, tuples_first) values ($1, $2, $3, true)
           on conflict (name) do update set collections = excluded.collections, prefixes = excluded.prefixes`,
          [name, [...collections], [...prefixes]],
        )
      })
      if (missingRights.length === 0) return
      // Whoever removes the service, or takes a collection from it, comes before this and is seen, or after,
      // and takes these away with the row.
      const assertStays = async (transaction: Sql): Promise<void> => {
        await assertCurrent?.(transaction)
        const [row] = await transaction.query<Pick<Service, 'collections'>>(
          'select collections from services where name = $1 for share',
          [name],
        )
        if (!collections.every((collection) => row?.collections.includes(collection)))
          throw new AppError('conflict', {
            field: 'collections',
            public: 'Somebody else changed this service meanwhile. Look at it, then say it again.',
          })
      }
      await tupleWriters.give(changing(assertStays), missingRights)
    },
    async remove(name, { assertCurrent } = {}) {
      const registeredService = await get(name)
      if (registeredService === undefined) return false
      if (assertCurrent !== undefined) await sql.transaction(assertCurrent)
      // First: a crash must not leave a right that no row lists.
      if (registeredService.collections.length > 0)
        await tupleWriters.takeAway(changing(assertCurrent), rights(name, registeredService.collections))
      await sql.transaction(async (transaction) => {
        await assertCurrent?.(transaction)
        await transaction.query('delete from clients where service = $1', [name])
        await transaction.query('delete from services where name = $1', [name])
      })
      return true
    },
  }
}

/** Throws `invalid_request` for the first that is not there. */
export async function assertCollections(sql: Sql, collections: readonly string[]): Promise<void> {
  const rows = await sql.query<{ id: string }>('select id from collections where id = any($1)', [
    [...collections],
  ])
  const knownIds = new Set(rows.map(({ id }) => id))
  const missing = collections.find((collection) => !knownIds.has(collection))
  if (missing !== undefined) throw invalid('collections', `There is no collection ${missing}. Add it first.`)
}

/** Nobody else writes there, nor has it of their own. */
async function assertFree(sql: Sql, service: Service): Promise<void> {
  await assertNoSources(sql, service)
  await assertNoDirectorys(sql, service.prefixes)
}

/** A source has collections and a prefix of its own: who else wrote there would speak for it. */
async function assertNoSources(sql: Sql, { name, collections, prefixes }: Service): Promise<void> {
  const [source] = await sql.query<{ id: string; files: boolean }>(
    `select id, collections && $2 as files from sources where 'source/' || id <> $1 and (collections && $2 or exists (
       select from unnest($3::text[]) as prefix
       where starts_with(prefix, id || '/') or (prefix <> '' and starts_with(id || '/', prefix)))) limit 1`,
    [name, [...collections], [...prefixes]],
  )
  if (source !== undefined)
    throw invalid(
      source.files ? 'collections' : 'prefixes',
      `The source ${source.id} has this of its own: nobody else writes there.`,
    )
}

/** What a directory brings nobody else writes: it would not know of it, nor take it away. */
async function assertNoDirectorys(sql: Sql, prefixes: readonly string[]): Promise<void> {
  const [row] = await sql.query<{ name: string; own: string }>(
    `select name, own from directories, unnest($1::text[]) as own
     where starts_with(prefix, own) or starts_with(own, prefix)`,
    [[...prefixes]],
  )
  if (row !== undefined)
    throw invalid('prefixes', `The directory ${row.name} writes groups that begin with ${row.own}.`)
}

function assertMayWrite(list: AllowList, tuples: readonly Tuple[]): void {
  const wrong = tuples.find((tuple) => !isAdministrators(list, tuple, 'write'))
  if (wrong === undefined) return
  throw new AppError('forbidden', {
    field: 'collections',
    public: `The allow-list lets no administrator write a ${wrong.relation} of a collection.`,
  })
}

const rights = (name: string, collections: readonly string[]): Tuple[] =>
  collections.flatMap((collection) =>
    (['writer', 'tagger'] as const).map((relation) => ({
      user: serviceObject(name),
      relation,
      object: collectionObject(collection),
    })),
  )
