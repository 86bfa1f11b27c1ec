import { AppError, asAppError } from '../../kernel/errors.ts'
import type { Database } from '../../store/sql.ts'
import { isObject } from './attributes.ts'
import { errorBody, notFound, ScimError, statusOf } from './errors.ts'
import type { GroupRow, ScimGroups } from './groups.ts'
import { bulkOperationsMax } from './limits.ts'
import { type Found, find, isLongWanted, type Listed, type ListedRow } from './listing.ts'
import {
  etagOf,
  namesVersion,
  project,
  readQuery,
  type ScimAnswer,
  type ScimCaller,
  type ScimQuery,
} from './request.ts'
import {
  filterable,
  type ResourceType,
  resourceTypeOf,
  resourceTypes,
  schemaResourceOf,
  serviceProviderConfig,
  typeCalled,
} from './schemas.ts'
import type { ScimUsers, UserRow } from './users.ts'

/** SCIM 2.0 (RFC 7643, 7644) for one directory at a time. */
export interface Scim {
  /** A document that describes this server; undefined: there is no such one. */
  describe(caller: ScimCaller, what: Description, name?: string): object | undefined
  create(caller: ScimCaller, type: ResourceType, body: unknown): Promise<ScimAnswer>
  /** Undefined: `ifNoneMatch` names the version that there is. */
  read(
    caller: ScimCaller,
    type: ResourceType,
    id: string,
    options: { readonly given: Readonly<Record<string, unknown>>; readonly ifNoneMatch: string | undefined },
  ): Promise<ScimAnswer | undefined>
  change(caller: ScimCaller, type: ResourceType, id: string, change: Change): Promise<ScimAnswer>
  /** A ListResponse of one kind; of both where none is named. */
  list(
    caller: ScimCaller,
    type: ResourceType | undefined,
    given: Readonly<Record<string, unknown>>,
  ): Promise<object>
  /** A BulkResponse (RFC 7644 §3.7): one operation after the other, each whole or not at all. */
  bulk(caller: ScimCaller, body: unknown): Promise<object>
}

type Description = 'ServiceProviderConfig' | 'ResourceTypes' | 'Schemas'

/** What becomes of one resource. */
export interface Change {
  readonly method: 'PUT' | 'PATCH' | 'DELETE'
  readonly body: unknown
  readonly ifMatch: string | undefined
}

export interface ScimDeps {
  readonly database: Database
  readonly users: ScimUsers
  readonly groups: ScimGroups
  /** Address of `/scim/v2`. */
  readonly baseUrl: string
}

const listSchema = 'urn:ietf:params:scim:api:messages:2.0:ListResponse'

/** Does NOT check who asks: the caller's directory comes from its token. */
export function createScim({ database, users, groups, baseUrl }: ScimDeps): Scim {
  const change: Scim['change'] = async (caller, type, id, { method, body, ifMatch }) => {
    assertId(id)
    const kind = type === 'Users' ? users : groups
    if (method === 'DELETE') return kind.remove(caller, id, ifMatch)
    return method === 'PUT' ? kind.replace(caller, id, body, ifMatch) : kind.patch(caller, id, body, ifMatch)
  }
  const create: Scim['create'] = (caller, type, body) =>
    (type === 'Users' ? users : groups).create(caller, body)

  const findIn = (type: ResourceType, { directory }: ScimCaller, query: ScimQuery): Promise<Found> =>
    type === 'Users'
      ? find(database, users.listed(directory), directory, query)
      : find(database, groups.listed(directory), directory, query)

  async function rowOf({ directory }: ScimCaller, type: ResourceType, id: string, isWhole: boolean) {
    assertId(id)
    const leaving = async <Row extends ListedRow & (UserRow | GroupRow)>(
      row: Row | undefined,
      listed: Listed<Row>,
    ) => {
      if (row === undefined) throw notFound()
      const [resource] = await listed.resources(database, [row], isWhole)
      if (resource === undefined) throw notFound()
      return { resource, version: row.version }
    }
    return type === 'Users'
      ? leaving(await users.get(directory, id), users.listed(directory))
      : leaving(await groups.get(directory, id), groups.listed(directory))
  }

  return {
    create,
    change,
    describe({ directory }, what, name) {
      if (what === 'ServiceProviderConfig') return serviceProviderConfig(baseUrl)
      const describeType = (type: ResourceType) =>
        what === 'Schemas' ? schemaResourceOf(type, directory, baseUrl) : resourceTypeOf(type, baseUrl)
      if (name === undefined) return listResponse(resourceTypes.map(describeType))
      const type = typeCalled(name)
      return type && describeType(type)
    },
    async read(caller, type, id, { given, ifNoneMatch }) {
      const query = readQuery(given)
      const { resource, version } = await rowOf(caller, type, id, isLongWanted(query))
      if (ifNoneMatch !== undefined && namesVersion(ifNoneMatch, version)) return undefined
      return {
        status: 200,
        resource: project(resource, filterable(type, caller.directory), query),
        version: etagOf(version),
        location: `${baseUrl}/${type}/${id}`,
      }
    },
    async list(caller, type, given) {
      const query = readQuery(given)
      if (type !== undefined) return listResponse(...pageOf(await findIn(type, caller, query), query))
      // Users before groups: where the page begins behind the users, it begins among the groups.
      const first = await findIn('Users', caller, query)
      const second = await findIn('Groups', caller, {
        ...query,
        startIndex: Math.max(1, query.startIndex - first.total),
        count: query.count - first.resources.length,
      })
      const both = {
        total: first.total + second.total,
        resources: [...first.resources, ...second.resources],
      }
      return listResponse(...pageOf(both, query))
    },
    async bulk(caller, body) {
      const { operations, failOnErrors } = readBulk(body)
      const bulkIds = new Map<string, string>()
      const answers: object[] = []
      let errors = 0
      for (const operation of operations) {
        if (failOnErrors !== undefined && errors >= failOnErrors) break
        const answer = await bulkAnswer({ ...caller, bulkIds }, operation, { create, change, baseUrl })
        if (answer.isError) errors += 1
        answers.push(answer.told)
      }
      return { schemas: ['urn:ietf:params:scim:api:messages:2.0:BulkResponse'], Operations: answers }
    },
  }
}

/** The database takes no text with a NUL: no resource has such an id. */
function assertId(id: string): void {
  if (id.includes('\0')) throw notFound()
}

const pageOf = ({ total, resources }: Found, { startIndex }: ScimQuery) =>
  [resources, { total, startIndex }] as const

const listResponse = (
  resources: readonly object[],
  {
    total = resources.length,
    startIndex = 1,
  }: { readonly total?: number; readonly startIndex?: number } = {},
): object => ({
  schemas: [listSchema],
  totalResults: total,
  startIndex,
  itemsPerPage: resources.length,
  Resources: resources,
})

interface BulkOperation {
  readonly method: 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly type: ResourceType
  readonly id: string | undefined
  readonly bulkId: string | undefined
  readonly version: string | undefined
  readonly data: unknown
}

function readBulk(body: unknown): {
  readonly operations: readonly unknown[]
  readonly failOnErrors: number | undefined
} {
  const operations = isObject(body) ? body['Operations'] : undefined
  if (!isObject(body) || !Array.isArray(operations))
    throw new ScimError(400, 'Operations is a list.', 'invalidSyntax')
  if (operations.length > bulkOperationsMax)
    throw new ScimError(413, `A bulk has at most ${bulkOperationsMax} operations.`)
  const { failOnErrors } = body
  if (failOnErrors === undefined) return { operations, failOnErrors: undefined }
  if (typeof failOnErrors !== 'number' || !Number.isSafeInteger(failOnErrors) || failOnErrors < 1)
    throw new ScimError(400, 'failOnErrors is a whole number from 1 on.', 'invalidValue')
  return { operations, failOnErrors }
}

const bulkPath = /^\/(Users|Groups)(?:\/([^/]+))?$/

function readBulkOperation(operation: unknown, bulkIds: ReadonlyMap<string, string>): BulkOperation {
  if (!isObject(operation)) throw new ScimError(400, 'An operation is an object.', 'invalidSyntax')
  const { method, path, bulkId, version, data } = operation
  const verb = typeof method === 'string' ? method.toUpperCase() : undefined
  if (verb !== 'POST' && verb !== 'PUT' && verb !== 'PATCH' && verb !== 'DELETE')
    throw new ScimError(400, 'method is POST, PUT, PATCH or DELETE.', 'invalidSyntax')
  const [, segment, named] = typeof path === 'string' ? (bulkPath.exec(path) ?? []) : []
  const type = resourceTypes.find((candidate) => candidate === segment)
  if (type === undefined || (named === undefined) !== (verb === 'POST'))
    throw new ScimError(400, 'path is /Users or /Groups, and an id where one is changed.', 'invalidPath')
  if (verb === 'POST' && (typeof bulkId !== 'string' || bulkId === ''))
    throw new ScimError(400, 'bulkId is needed for what is made.', 'invalidValue')
  const id = named?.startsWith('bulkId:') === true ? bulkIds.get(named.slice('bulkId:'.length)) : named
  if (verb !== 'POST' && id === undefined) throw notFound()
  return {
    method: verb,
    type,
    id,
    bulkId: typeof bulkId === 'string' ? bulkId : undefined,
    version: typeof version === 'string' ? version : undefined,
    data,
  }
}

async function bulkAnswer(
  caller: ScimCaller & { readonly bulkIds: Map<string, string> },
  operation: unknown,
  { create, change, baseUrl }: Pick<Scim, 'create' | 'change'> & Pick<ScimDeps, 'baseUrl'>,
): Promise<{ readonly told: object; readonly isError: boolean }> {
  const given = isObject(operation) ? operation : {}
  const about = {
    ...(typeof given['method'] === 'string' && { method: given['method'] }),
    ...(typeof given['bulkId'] === 'string' && { bulkId: given['bulkId'] }),
  }
  try {
    const { method, type, id, bulkId, version, data } = readBulkOperation(operation, caller.bulkIds)
    const answer =
      method === 'POST' || id === undefined
        ? await create(caller, type, data)
        : await change(caller, type, id, { method, body: data, ifMatch: version })
    const location = answer.location ?? `${baseUrl}/${type}/${id ?? ''}`
    if (method === 'POST' && bulkId !== undefined)
      caller.bulkIds.set(bulkId, location.slice(location.lastIndexOf('/') + 1))
    return {
      isError: false,
      told: {
        ...about,
        location,
        ...(answer.version !== undefined && { version: answer.version }),
        status: String(answer.status),
      },
    }
  } catch (error) {
    const failure = asAppError(error)
    // Of what is over nothing more is begun: the request has been answered already.
    if (failure.code === 'deadline_exceeded' || !(error instanceof AppError)) throw error
    return {
      isError: true,
      told: { ...about, status: String(statusOf(failure)), response: errorBody(failure) },
    }
  }
}
