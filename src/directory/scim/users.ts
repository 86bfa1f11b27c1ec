import type { Runtime } from '../../store/runtime.ts'
import type { Sql } from '../../store/sql.ts'
import type { Directory } from '../directories.ts'
import { type DirectoryPeople, type DirectoryPerson, keyOf, type PersonKey } from '../people.ts'
import {
  type AttributeDefinition,
  type Attributes,
  isObject,
  readAttributes,
  readSimple,
} from './attributes.ts'
import { invalidValue, notFound, ScimError } from './errors.ts'
import { pathIn } from './filter.ts'
import type { Listed } from './listing.ts'
import { applyOperation, readPatch } from './patch.ts'
import { assertVersion, etagOf, type Resource, type ScimAnswer, type ScimCaller } from './request.ts'
import { assertRequired, attributesOf, schemaOf } from './schemas.ts'

/** Users of a directory: those alone that it made. Each call is one transaction, and one event on record. */
export interface ScimUsers {
  create(caller: ScimCaller, body: unknown): Promise<ScimAnswer>
  /** Undefined: there is none, it is deleted, or it is another directory's. */
  get(directory: Directory, id: string): Promise<UserRow | undefined>
  replace(caller: ScimCaller, id: string, body: unknown, ifMatch: string | undefined): Promise<ScimAnswer>
  patch(caller: ScimCaller, id: string, body: unknown, ifMatch: string | undefined): Promise<ScimAnswer>
  remove(caller: ScimCaller, id: string, ifMatch: string | undefined): Promise<ScimAnswer>
  listed(directory: Directory): Listed<UserRow>
}

/** A user as it is stored. */
export interface UserRow extends DirectoryPerson {
  readonly attributes: Attributes
  readonly createdAt: Date
  readonly changedAt: Date
}

export interface ScimUsersDeps extends Pick<Runtime, 'database' | 'clock'> {
  readonly newId: () => string
  readonly people: DirectoryPeople
  /** Address of `/scim/v2`. */
  readonly baseUrl: string
}

/** Does NOT check who asks: the caller's directory comes from its token. */
export function createScimUsers(deps: ScimUsersDeps): ScimUsers {
  const { database, clock, newId, people, baseUrl } = deps
  const now = () => new Date(clock.now())

  const answer = (status: 200 | 201, row: UserRow): ScimAnswer => ({
    status,
    resource: userResource(row, baseUrl),
    version: etagOf(row.version),
    location: `${baseUrl}/Users/${row.id}`,
  })

  /** Writes what a PUT or PATCH makes of a user. `change` gets the row as it is, locked. */
  async function save(
    caller: ScimCaller,
    id: string,
    ifMatch: string | undefined,
    kind: 'replaced' | 'patched',
    change: (row: UserRow) => Attributes,
  ): Promise<ScimAnswer> {
    const { directory } = caller
    const before = await userOf(database, directory, id)
    if (before === undefined) throw notFound()
    const isComingBack = !before.isActive && change(before)['active'] === true
    const settled = isComingBack ? await people.settleBefore(caller, before) : undefined
    const write = async (sql: Sql) => {
      const old = await userOf(sql, directory, id, ' for update')
      if (old === undefined) throw notFound()
      assertVersion(ifMatch, old.version)
      const { active: isActive, ...attributes } = change(old)
      assertSameKey(directory, old, attributes)
      const saved: UserRow = {
        ...old,
        attributes,
        isActive: isActive === true,
        version: old.version + 1,
        changedAt: now(),
      }
      await assertLoginFree(sql, directory, saved)
      const changed = { ...saved, login: loginOf(attributes), kind, settled }
      const rest = await people.change(sql, caller, old, changed)
      return [saved, rest] as const
    }
    const written = people.orRefusal(caller, id, () => database.transaction(write))
    const [row, afterwards] = await written.catch((error: unknown) => {
      // Somebody else got the userName meanwhile.
      throw isObject(error) && error['code'] === '23505' ? taken() : error
    })
    await afterwards()
    return answer(200, row)
  }

  /**
   * Nothing else in a request holds back an end that it asks for: where it is refused, the person is ended
   * with the attributes that they had, and it is refused then. Not what names another version, or nobody.
   */
  async function orEnd(
    caller: ScimCaller,
    id: string,
    ifMatch: string | undefined,
    isEnding: () => boolean,
    work: () => Promise<ScimAnswer>,
  ): Promise<ScimAnswer> {
    try {
      return await work()
    } catch (error) {
      const isRefused = error instanceof ScimError && ![404, 412].includes(error.status)
      if (isRefused && isEnding() && (await userOf(database, caller.directory, id))?.isActive === true)
        await save(caller, id, ifMatch, 'patched', ({ attributes }) => ({ ...attributes, active: false }))
      throw error
    }
  }

  return {
    get: (directory, id) => userOf(database, directory, id),
    async create(caller, body) {
      const { directory } = caller
      const definitions = attributesOf('Users', directory)
      const given = readAttributes(definitions, objectOf(body))
      assertRequired(definitions, given)
      const { active: isActive, ...attributes } = given
      const key = keyIn(directory, attributes)
      if (key === undefined) throw invalidValue(directory.keyAttribute, 'is no key of a person.')
      const row: UserRow = {
        ...key,
        id: newId(),
        attributes,
        isActive: isActive === true,
        version: 1,
        createdAt: now(),
        changedAt: now(),
      }
      const afterwards = await database.transaction((sql) =>
        people.add(sql, caller, { ...row, login: loginOf(attributes) }),
      )
      if (afterwards === undefined) throw taken()
      await afterwards()
      return answer(201, row)
    },
    replace: (caller, id, body, ifMatch) => {
      const definitions = attributesOf('Users', caller.directory)
      return orEnd(
        caller,
        id,
        ifMatch,
        () => isActiveIn(definitions, body) === false,
        async () => {
          const attributes = readAttributes(definitions, objectOf(body))
          assertRequired(definitions, attributes)
          return save(caller, id, ifMatch, 'replaced', () => attributes)
        },
      )
    },
    patch: (caller, id, body, ifMatch) => {
      const definitions = attributesOf('Users', caller.directory)
      return orEnd(
        caller,
        id,
        ifMatch,
        () => isActiveAfter(definitions, body) === false,
        async () => {
          const operations = readPatch(body, definitions)
          return save(caller, id, ifMatch, 'patched', (row) => {
            const attributes = operations.reduce<Attributes>(applyOperation, {
              ...row.attributes,
              active: row.isActive,
            })
            assertRequired(definitions, attributes)
            return attributes
          })
        },
      )
    },
    async remove(caller, id, ifMatch) {
      const work = async (sql: Sql) => {
        const row = await userOf(sql, caller.directory, id, ' for update')
        if (row === undefined) throw notFound()
        assertVersion(ifMatch, row.version)
        return people.remove(sql, caller, row)
      }
      const afterwards = await people.orRefusal(caller, id, () => database.transaction(work))
      await afterwards()
      return { status: 204 }
    },
    listed: (directory) => ({
      type: 'Users',
      count: async (sql) => {
        const [row] = await sql.query<{ count: number }>(
          'select count(*) as count from directory_users where directory = $1 and deleted_at is null',
          [directory.name],
        )
        return row?.count ?? 0
      },
      page: (sql, offset, limit) =>
        sql.query<UserRow>(
          `${select} where directory = $1 and deleted_at is null order by created_at, id offset $2 limit $3`,
          [directory.name, offset, limit],
        ),
      behind: (sql, last, { id, userName, externalId, displayName }, limit) =>
        sql.query<UserRow>(
          `${select} where directory = $1 and deleted_at is null
             and ($2::timestamptz is null or (created_at, id) > ($2, $3))
             and ($4::text is null or id = $4) and ($5::text is null or lower(login) = lower($5))
             and ($6::text is null or attributes ->> 'externalId' = $6)
             and ($7::text is null or lower(attributes ->> 'displayName') = lower($7))
           order by created_at, id limit $8`,
          [
            directory.name,
            last?.createdAt ?? null,
            last?.id ?? null,
            id ?? null,
            userName ?? null,
            externalId ?? null,
            displayName ?? null,
            limit,
          ],
        ),
      fitting: async (_, rows) => rows.length,
      resources: async (_, rows) => rows.map((row) => userResource(row, baseUrl)),
    }),
  }
}

const select = `select id, sub, account, attributes, is_active as "isActive", version,
  created_at as "createdAt", changed_at as "changedAt" from directory_users`

async function userOf(
  sql: Sql,
  { name }: Directory,
  id: string,
  lock: '' | ' for update' = '',
): Promise<UserRow | undefined> {
  const [row] = await sql.query<UserRow>(
    `${select} where id = $1 and directory = $2 and deleted_at is null${lock}`,
    [id, name],
  )
  return row
}

/** A user as it leaves. */
export const userResource = (row: UserRow, baseUrl: string): Resource => ({
  schemas: [schemaOf.Users],
  id: row.id,
  ...row.attributes,
  active: row.isActive,
  meta: {
    resourceType: 'User',
    created: row.createdAt.toISOString(),
    lastModified: row.changedAt.toISOString(),
    version: etagOf(row.version),
    location: `${baseUrl}/Users/${row.id}`,
  },
})

const objectOf = (body: unknown): Readonly<Record<string, unknown>> => {
  if (isObject(body)) return body
  throw new ScimError(400, 'The body is an object.', 'invalidSyntax')
}

/** What a body says of `active`, whatever else is in it; undefined: nothing that can be read. */
function isActiveIn(definitions: readonly AttributeDefinition[], body: unknown): boolean | undefined {
  const values = Object.entries(isObject(body) ? body : {}).flatMap(([name, value]) => {
    const path = pathIn(name, definitions)
    return path?.attribute.name === 'active' ? [activeOf(path.attribute, value)] : []
  })
  return values.at(-1)
}

/** The same of the operations of a PATCH: the last one that says something of it. */
function isActiveAfter(definitions: readonly AttributeDefinition[], body: unknown): boolean | undefined {
  const operations: unknown = isObject(body) ? body['Operations'] : undefined
  const said = (Array.isArray(operations) ? operations : []).filter(isObject).flatMap((operation) => {
    const { op, path, value } = operation
    if (typeof op !== 'string' || !/^(add|replace)$/i.test(op)) return []
    const isActive = isActiveIn(
      definitions,
      typeof path === 'string' && path !== '' ? { [path]: value } : value,
    )
    return isActive === undefined ? [] : [isActive]
  })
  return said.at(-1)
}

function activeOf(definition: AttributeDefinition, value: unknown): boolean | undefined {
  try {
    return readSimple(definition, value) === true
  } catch {
    return undefined
  }
}

const loginOf = ({ userName }: Attributes): string => (typeof userName === 'string' ? userName : '')

/** Never from another attribute than the one that was registered. */
function keyIn(directory: Directory, attributes: Attributes): PersonKey | undefined {
  const value = attributes[directory.keyAttribute]
  return typeof value === 'string' ? keyOf(directory, value) : undefined
}

function assertSameKey(directory: Directory, { sub }: UserRow, attributes: Attributes): void {
  const { keyAttribute } = directory
  if (keyIn(directory, attributes)?.sub !== sub)
    throw new ScimError(400, `${keyAttribute} is the key of this person, and never changes.`, 'mutability')
}

// The same for a key that is deleted: of whom it was is nobody's to ask.
const taken = (): ScimError =>
  new ScimError(409, 'There is, or was, a user of this key or userName.', 'uniqueness')

async function assertLoginFree(sql: Sql, { name }: Directory, { id, attributes }: UserRow): Promise<void> {
  const [other] = await sql.query(
    `select from directory_users where directory = $1 and lower(login) = lower($2) and id <> $3
       and deleted_at is null`,
    [name, loginOf(attributes), id],
  )
  if (other !== undefined) throw taken()
}
