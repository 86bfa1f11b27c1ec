import { isId } from '@remit/contract/id'
import { record } from '../audit/record.ts'
import { type AllowList, isAdministrators } from '../authz/allow-list/allow-list.ts'
import { assertInForce } from '../authz/allow-list/in-force.ts'
import { type Tuple, type TupleKey, tupleId } from '../authz/fga.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import { collectionObject, type FgaObject } from '../kernel/ids.ts'
import { writeChange } from './access.ts'
import type { IngestContext, Writer } from './context.ts'
import { type Entry, readTags, toTuple } from './desired-tuples.ts'
import type { FieldType } from './document-rows.ts'
import { assertNoSources } from './source-collections.ts'

/** A collection to make or change. */
export interface CollectionInput {
  readonly id: string
  readonly title: string
  /** Whether documents in it may be opened to everybody (`user:*`). Defaults to false. */
  readonly publicAllowed?: boolean
  /** Organization id. Left out: as it is. */
  readonly organization?: string
  /** `service:NAME`, the whole list. Left out: as they are. */
  readonly writers?: readonly string[]
  readonly taggers?: readonly string[]
}

/**
 * Makes or changes a collection: its row first, then its rights as `POST /access` writes tuples. Of what a
 * crash leaves the mending completes what stands in rows, and saying it again the rest. Documents that were
 * opened to everybody stay so when `publicAllowed` ends: take their tuples away too. Throws
 * `invalid_request` for a writer or tagger of a source's collection that is not the source.
 */
export async function saveCollection(
  context: IngestContext,
  writer: Writer,
  input: CollectionInput,
  signal?: AbortSignal,
): Promise<void> {
  assertInput(input)
  const object = collectionObject(input.id)
  const list = context.allowList()
  assertMayWrite(list, object, input)
  await context.documentLocks.hold(
    [object],
    async (hold) => {
      const entries = await rightsChange(context, object, input)
      // Before anything of it is kept.
      assertMayDelete(
        list,
        entries.flatMap(({ tuple, operation }) => (operation === 'delete' ? [tuple] : [])),
      )
      await hold.transaction(async (sql) => {
        await assertNoSources(sql, rightsOf(input))
        await assertInForce(sql, list)
        await sql.query(
          `insert into collections (id, title, public_allowed) values ($1, $2, $3)
         on conflict (id) do update set title = excluded.title, public_allowed = excluded.public_allowed`,
          [input.id, input.title, input.publicAllowed ?? false],
        )
        await record(sql, writer, { event: 'collection_saved', collection: input.id })
      })
      if (entries.length > 0) await writeChange(context, list, hold, writer, entries)
    },
    signal,
  )
}

function assertInput({ id, writers = [], taggers = [], organization }: CollectionInput): void {
  if (!isId(id)) throw invalid('id', 'This is not an id.')
  if (organization !== undefined && !isId(organization)) throw invalid('organization', 'This is not an id.')
  for (const [field, list] of Object.entries({ writers, taggers })) {
    const wrong = list.findIndex(
      (service) => !service.startsWith('service:') || !isId(service.slice('service:'.length)),
    )
    if (wrong >= 0) throw invalid(`${field}.${wrong}`, 'Must be service:NAME.')
  }
}

const rightsOf = ({ id, writers = [], taggers = [] }: CollectionInput): Entry[] =>
  Object.entries({ writer: writers, tagger: taggers }).flatMap(([relation, users]) =>
    users.map(
      (user, index): Entry => ({
        field: `${relation}s.${index}`,
        tuple: { user, relation, object: collectionObject(id) },
        operation: 'write',
      }),
    ),
  )

/** Who saves a collection is an administrator, or the operator. */
function assertMayWrite(list: AllowList, object: FgaObject, input: CollectionInput): void {
  const { organization } = input
  const entries = [
    ...rightsOf(input),
    ...(organization === undefined
      ? []
      : [
          {
            field: 'organization',
            tuple: { user: `organization:${organization}`, relation: 'organization', object },
          },
        ]),
  ]
  const wrong = entries.find(({ tuple }) => !isAdministrators(list, tuple, 'write'))
  if (wrong !== undefined)
    throw new AppError('forbidden', {
      field: wrong.field,
      public: 'The allow-list lets no administrator write this.',
    })
}

/** A list that leaves somebody out takes their tuples away. */
function assertMayDelete(list: AllowList, deletes: readonly TupleKey[]): void {
  const wrong = deletes.find((tuple) => list.requirementOf(tuple, 'delete').kind !== 'security')
  if (wrong !== undefined)
    throw new AppError('forbidden', {
      field: wrong.relation === 'organization' ? wrong.relation : `${wrong.relation}s`,
      public: 'The allow-list lets no administrator take away what this leaves out.',
    })
}

/** What the list says that is not in both OpenFGA and rows, and what it leaves out that is in one of them. */
async function rightsChange(
  { database, fga }: IngestContext,
  object: FgaObject,
  { writers, taggers, organization }: CollectionInput,
): Promise<readonly Entry[]> {
  const membersByRelation = new Map<string, readonly string[] | undefined>([
    ['writer', writers],
    ['tagger', taggers],
    ['organization', organization === undefined ? undefined : [`organization:${organization}`]],
  ])
  const rows = (await readTags(database, [object])).get(object) ?? []
  const kept = new Map(rows.map((tag) => toTuple(object, tag)).map((tuple) => [tupleId(tuple), tuple]))
  const present = new Map<string, Tuple>()
  for await (const { user, relation } of fga.read({ object }))
    present.set(tupleId({ user, relation, object }), { user, relation, object })
  const left = [...new Map([...kept, ...present]).values()].filter(
    ({ user, relation }) => membersByRelation.get(relation)?.includes(user) === false,
  )
  const said = [...membersByRelation].flatMap(([relation, users]) =>
    [...new Set(users)].map((user): Tuple => ({ user, relation, object })),
  )
  const lacking = said.filter((tuple) => !present.has(tupleId(tuple)) || !kept.has(tupleId(tuple)))
  return [
    ...left.map((tuple): Entry => ({ tuple, operation: 'delete', field: `${tuple.relation}s` })),
    ...lacking.map((tuple): Entry => ({ tuple, operation: 'write', field: `${tuple.relation}s` })),
  ]
}

const namePattern = /^[A-Za-z][A-Za-z0-9_.-]{0,99}$/

/**
 * Replaces the list of metadata fields that filters may use. Stored documents of another type stop matching.
 */
export async function saveFields(
  { database }: IngestContext,
  writer: Writer,
  fields: Readonly<Record<string, FieldType>>,
): Promise<void> {
  for (const name of Object.keys(fields)) {
    if (!namePattern.test(name))
      throw invalid(name, 'A field is named by letters, digits, dot, dash and underscore.')
  }
  await database.transaction(async (sql) => {
    await sql.query('delete from fields')
    await sql.query('insert into fields (name, type) select * from unnest($1::text[], $2::text[])', [
      Object.keys(fields),
      Object.values(fields),
    ])
    await record(sql, writer, { event: 'fields_saved', fields })
  })
}
