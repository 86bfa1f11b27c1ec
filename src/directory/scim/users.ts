import { isId } from '@remit/contract/id'
import { record } from '../../audit/record.ts'
import type { PersonEnd } from '../../delegation/administration/person-end.ts'
import { isKey, subjectKey } from '../../delegation/registry/subject.ts'
import { presets } from '../../delegation/tokens/presets.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Sql } from '../../store/sql.ts'
import type { Directory } from '../directories.ts'
import { endMemberships, type Memberships, wakeMemberships } from '../memberships.ts'
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
export interface UserRow {
  readonly id: string
  readonly sub: string
  /** `acme/anne` */
  readonly account: string
  readonly attributes: Attributes
  readonly isActive: boolean
  readonly version: number
  readonly createdAt: Date
  readonly changedAt: Date
}

export interface ScimUsersDeps extends Pick<Runtime, 'database' | 'clock'> {
  readonly newId: () => string
  readonly personEnd: PersonEnd
  readonly memberships: Pick<Memberships, 'settle' | 'restricting'>
  /** Address of `/scim/v2`. */
  readonly baseUrl: string
}

/** What is left to do once a transaction is committed. */
type Afterwards = () => Promise<void>
const nothing: Afterwards = async () => undefined

/** Does NOT check who asks: the caller's directory comes from its token. */
export function createScimUsers(deps: ScimUsersDeps): ScimUsers {
  const { database, clock, newId, personEnd, memberships, baseUrl } = deps
  const now = () => new Date(clock.now())

  const answer = (status: 200 | 201, row: UserRow): ScimAnswer => ({
    status,
    resource: userResource(row, baseUrl),
    version: etagOf(row.version),
    location: `${baseUrl}/Users/${row.id}`,
  })

  /** The ends first: a crash behind them leaves somebody out, never in. */
  async function end(
    sql: Sql,
    caller: ScimCaller,
    { sub, account }: Pick<UserRow, 'sub' | 'account'>,
  ): Promise<Afterwards> {
    const { directory, recordedAs } = caller
    const settle = await personEnd.end(sql, { issuer: directory.issuer, sub, person: account }, recordedAs)
    // Out of a group that is kept from something, they might read more once they are active.
    const kept = await memberships.restricting(sql, `user:${account}`, { orAll: true })
    return endGroups(sql, caller, account, kept, settle)
  }

  async function endGroups(
    sql: Sql,
    { directory, recordedAs }: ScimCaller,
    account: string,
    kept: readonly string[],
    before: Afterwards,
  ): Promise<Afterwards> {
    const groups = await endMemberships(sql, `user:${account}`, now(), kept)
    return async () => {
      await before()
      await memberships.settle(
        groups.map((id) => ({ id, directory })),
        recordedAs,
      )
    }
  }

  /** Signing in comes back only where what was taken away is gone from OpenFGA too. */
  async function admit(sql: Sql, caller: ScimCaller, { sub, account }: UserRow): Promise<Afterwards> {
    const { directory, recordedAs } = caller
    const member = `user:${account}`
    const kept = await memberships.restricting(sql, member, { orAll: false })
    const pending = await sql.query(
      `select from directory_unsettled where member = $1 union all
       select from directory_members where member = $1 and is_dormant and group_id = any($2::text[]) limit 1`,
      [member, [...kept]],
    )
    if (pending.length > 0)
      throw new ScimError(409, 'What this person had is still being taken away. Try again in a minute.')
    const settle = await personEnd.admit(sql, { issuer: directory.issuer, sub, person: account }, recordedAs)
    // What they were listed in meanwhile: the directory says it again, of somebody who is active.
    return endGroups(sql, caller, account, kept, settle)
  }

  /** What keeps them from something is in force before they may sign in. */
  async function settleBefore(caller: ScimCaller, row: UserRow): Promise<void> {
    const member = `user:${row.account}`
    await database.transaction(async (sql) => {
      if ((await userOf(sql, caller.directory, row.id, ' for update')) === undefined) throw notFound()
      await wakeMemberships(sql, member, await memberships.restricting(sql, member, { orAll: true }))
    })
    const groups = await database.query<{ id: string }>(
      'select group_id as id from directory_unsettled where member = $1 order by 1',
      [member],
    )
    await memberships.settle(
      groups.map(({ id }) => ({ id, directory: caller.directory })),
      caller.recordedAs,
    )
  }

  /** On record also where nobody is ended, since nobody else would administer: who asked for it is seen. */
  async function orRefusal<T>(caller: ScimCaller, id: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof AppError && !(error instanceof ScimError) && error.code === 'conflict') {
        const row = await userOf(database, caller.directory, id)
        if (row !== undefined)
          await database.transaction((sql) => record(sql, caller.recordedAs, changed(row, 'end_refused')))
      }
      throw error
    }
  }

  /** Writes what a PUT or PATCH makes of a user. `change` gets the row as it is, locked. */
  async function save(
    caller: ScimCaller,
    id: string,
    ifMatch: string | undefined,
    kind: 'replaced' | 'patched',
    change: (row: UserRow) => Attributes,
  ): Promise<ScimAnswer> {
    const { directory, recordedAs } = caller
    const before = await userOf(database, directory, id)
    if (before === undefined) throw notFound()
    if (!before.isActive) await settleBefore(caller, before)
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
      const rest =
        old.isActive === saved.isActive
          ? nothing
          : saved.isActive
            ? await admit(sql, caller, saved)
            : await end(sql, caller, saved)
      await assertLoginFree(sql, directory, saved)
      await sql.query(
        `update directory_users set attributes = $2, login = $3, is_active = $4, version = $5, changed_at = $6
         where id = $1`,
        [id, attributes, loginOf(attributes), saved.isActive, saved.version, saved.changedAt],
      )
      await record(sql, recordedAs, changed(saved, kind))
      return [saved, rest] as const
    }
    const written = orRefusal(caller, id, () => database.transaction(write))
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
      const { directory, recordedAs } = caller
      const definitions = attributesOf('Users', directory)
      const given = readAttributes(definitions, objectOf(body))
      assertRequired(definitions, given)
      const { active: isActive, ...attributes } = given
      const row: UserRow = {
        ...keyOf(directory, attributes),
        id: newId(),
        attributes,
        isActive: isActive === true,
        version: 1,
        createdAt: now(),
        changedAt: now(),
      }
      const afterwards = await database.transaction(async (sql) => {
        await assertNotMoved(sql, row.account)
        const inserted = await sql.query(
          `insert into directory_users (id, directory, sub, account, login, attributes, is_active, created_at, changed_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $8) on conflict do nothing returning id`,
          [
            row.id,
            directory.name,
            row.sub,
            row.account,
            loginOf(attributes),
            attributes,
            row.isActive,
            row.createdAt,
          ],
        )
        if (inserted.length === 0) throw taken()
        const rest = row.isActive ? nothing : await end(sql, caller, row)
        await record(sql, recordedAs, changed(row, 'created'))
        return rest
      })
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
      const { directory, recordedAs } = caller
      const work = async (sql: Sql) => {
        const row = await userOf(sql, directory, id, ' for update')
        if (row === undefined) throw notFound()
        assertVersion(ifMatch, row.version)
        const ended = row.isActive ? await end(sql, caller, row) : nothing
        // Also what keeps them from something: nobody comes back by this key.
        const rest = await endGroups(sql, caller, row.account, [], ended)
        // The row stays: its key is nobody else's from now on, and who had it stays shut out.
        await sql.query(
          `update directory_users set attributes = '{}', login = '', is_active = false, version = version + 1,
             changed_at = $2, deleted_at = $2 where id = $1`,
          [id, now()],
        )
        await record(sql, recordedAs, changed({ ...row, isActive: false }, 'deleted'))
        return rest
      }
      const afterwards = await orRefusal(caller, id, () => database.transaction(work))
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
function keyOf(directory: Directory, attributes: Attributes): Pick<UserRow, 'sub' | 'account'> {
  const { namespace, keyAttribute } = directory
  const sub = subOf(directory, attributes)
  const key = sub === undefined ? undefined : subjectKey(sub)
  const account = `${namespace}/${key ?? ''}`
  // What OpenFGA would not take as a user joins no group, and nobody could end it there.
  if (sub === undefined || key === undefined || !isKey(key) || !isId(account))
    throw invalidValue(keyAttribute, 'is no key of a person.')
  return { sub, account }
}

/** As a token of the issuer has it; undefined: no token of it ever would. */
function subOf({ issuer, keyAttribute, preset }: Directory, attributes: Attributes): string | undefined {
  const value = attributes[keyAttribute]
  if (typeof value !== 'string' || preset !== 'entra') return typeof value === 'string' ? value : undefined
  const [tid, oid, ...rest] = value.toLowerCase().split('.')
  const sub = rest.length === 0 ? presets.entra.sub({ tid, oid }, issuer) : undefined
  return typeof sub === 'string' ? sub : undefined
}

function assertSameKey(directory: Directory, { sub }: UserRow, attributes: Attributes): void {
  const { keyAttribute } = directory
  if (subOf(directory, attributes) !== sub)
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

/** Whoever moves somebody from this key meanwhile is waited for: nothing is to come under it any more. */
async function assertNotMoved(sql: Sql, account: string): Promise<void> {
  await sql.query('lock table person_moves in share mode')
  const [moved] = await sql.query('select from person_moves where old_key = $1', [account])
  if (moved !== undefined) throw taken()
}

const changed = (
  { account, isActive }: Pick<UserRow, 'account' | 'isActive'>,
  change: 'created' | 'replaced' | 'patched' | 'deleted' | 'end_refused',
) => ({ event: 'directory_user_changed', user: `user:${account}`, change, active: isActive }) as const
