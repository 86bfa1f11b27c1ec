import { type JsonObject, parseTimestamp } from '../../core/condition-values.ts'
import { FgaError, invalidRequest } from '../../core/errors.ts'
import { splitUser, typeOf } from '../../core/names.ts'
import { keyOf, type Tuple, type TupleKey } from '../../core/tuples.ts'
import { isUlid, ulidFloor, ulidTime } from '../../core/ulid.ts'
import type { StoreState } from '../state.ts'
import { badToken, type Call, decodeToken, encodeToken, ok, type Reply, storeOf } from './call.ts'
import {
  match,
  member,
  objectMember,
  objectPattern,
  pageSizeOf,
  relationPattern,
  textMember,
  tokenOf,
} from './input.ts'

const showKey = (key: TupleKey): JsonObject => ({
  user: key.user,
  relation: key.relation,
  object: key.object,
  condition:
    key.condition === undefined ? null : { name: key.condition.name, context: key.condition.context },
})

const timeOf = (ulid: string): string => new Date(ulidTime(ulid)).toISOString()

const userPattern = /^[^\s]{1,511}:[^\s]{1,511}$/

/** Read: stored tuples as they are, without evaluation. */
export function read(call: Call): Reply {
  const filter = readFilter(call.body)
  const size = pageSizeOf(member(call.body, 'page_size'), 'ReadRequest')
  const token = decodeToken(tokenOf(textMember(call.body, 'continuation_token'), 'ReadRequest'))
  if (token !== '' && !isUlid(token)) throw badToken()
  const store = storeOf(call)
  const page: Tuple[] = []
  for (const tuple of store === undefined ? [] : select(store, filter, token)) {
    if (page.push(tuple) > size) break
  }
  const lastTuple = page.length > size ? page[size - 1] : undefined
  return ok({
    tuples: page
      .slice(0, size)
      .map((tuple) => ({ key: showKey(keyOf(tuple)), timestamp: timeOf(tuple.ulid) })),
    continuation_token: lastTuple === undefined ? '' : encodeToken(lastTuple.ulid),
  })
}

interface ReadFilter {
  readonly user: string
  readonly relation: string
  readonly object: string
}

function readFilter(body: JsonObject): ReadFilter {
  const json = objectMember(body, 'tuple_key')
  const filter = {
    user: textMember(json ?? {}, 'user'),
    relation: textMember(json ?? {}, 'relation'),
    object: textMember(json ?? {}, 'object'),
  }
  if (json === undefined) return filter
  if (filter.user !== '') match(filter.user, userPattern, 'ReadRequestTupleKey.User')
  if (filter.relation !== '') match(filter.relation, relationPattern, 'ReadRequestTupleKey.Relation')
  if (filter.object !== '') match(filter.object, objectPattern, 'ReadRequestTupleKey.Object')
  const id = filter.object.slice(filter.object.indexOf(':') + 1)
  if (typeOf(filter.object) === '' || (id === '' && filter.user === '')) {
    throw invalidRequest(
      "the 'tuple_key' field was provided but the object type field is required and both the object id and user cannot be empty",
    )
  }
  return filter
}

/** Goes through the fewest tuples that the filter allows: one object's, one subject's, or all. */
function select(
  store: StoreState,
  filter: ReadFilter,
  afterUlid: string,
): readonly Tuple[] | Iterable<Tuple> {
  if (filter.object === '') return store.tuples.after(afterUlid)
  const user = splitUser(filter.user)
  const isWhole = !filter.object.endsWith(':')
  const object = store.tuples.node(filter.object)
  const near = isWhole
    ? [...(object?.out.values() ?? [])].flatMap((bucket) => [...bucket.concrete, ...bucket.usersets])
    : [...(store.tuples.node(user.object)?.in ?? [])]
  return near
    .filter(
      (tuple) =>
        tuple.ulid > afterUlid &&
        (isWhole || `${tuple.object.type}:` === filter.object) &&
        (filter.relation === '' || tuple.relation === filter.relation) &&
        (filter.user === '' || (tuple.user.name === user.object && tuple.userRelation === user.relation)),
    )
    .sort((a, b) => (a.ulid < b.ulid ? -1 : 1))
}

/** ReadChanges: at the tail, the same token again and an empty list. */
export async function readChanges(call: Call): Promise<Reply> {
  const size = pageSizeOf(call.query.get('page_size'), 'ReadChangesRequest')
  const type = call.query.get('type') ?? ''
  if (type !== '') match(type, /^[^:#\s]{1,254}$/, 'ReadChangesRequest.Type')
  const token = tokenOf(call.query.get('continuation_token') ?? '', 'ReadChangesRequest')
  const startTime = startOf(call)
  const afterUlid = token === '' ? fromTime(startTime) : fromToken(token, type)
  const query = { after: afterUlid, type: type === '' ? undefined : type, limit: size }
  const store = storeOf(call)
  const rows =
    store?.changes.read(query) ??
    (store === undefined ? [] : ((await call.journal?.readChanges?.(call.storeId, query)) ?? []))
  const lastRow = rows.at(-1)
  return ok({
    changes: rows.map((row) => ({
      tuple_key: showKey(row.key),
      operation: row.operation === 'write' ? 'TUPLE_OPERATION_WRITE' : 'TUPLE_OPERATION_DELETE',
      timestamp: timeOf(row.ulid),
    })),
    continuation_token: lastRow === undefined ? token : encodeToken(`${lastRow.ulid}|${type}`),
  })
}

/** Milliseconds since the epoch. undefined: from the beginning, as also for the first moment of year 1, Go's zero. */
function startOf(call: Call): number | undefined {
  const text = call.query.get('start_time')
  if (text === null) return undefined
  const startTime = parseTimestamp(text)
  if (startTime === undefined)
    throw invalidRequest(`parsing field "start_time": ${JSON.stringify(text)} is no time`)
  const { seconds, nanos } = startTime
  if (seconds < yearOne || seconds >= yearTenThousand)
    throw invalidRequest(`parsing field "start_time": ${text} before 0001-01-01`)
  const time = Number(seconds) * 1000 + Math.floor(nanos / 1_000_000)
  if (time >= call.now())
    throw invalidRequest('invalid ReadChangesRequest.StartTime: value must be less than now')
  return seconds === yearOne && nanos === 0 ? undefined : time
}

const yearOne = -62_135_596_800n
const yearTenThousand = 253_402_300_800n

function fromTime(startTime: number | undefined): string {
  if (startTime === undefined) return ''
  // A ULID begins in 1970.
  if (startTime < 0) throw new FgaError('invalid_start_time', 'Invalid start time')
  return ulidFloor(startTime)
}

function fromToken(token: string, type: string): string {
  const [ulid = '', tokenType, ...excess] = decodeToken(token).split('|')
  if (!isUlid(ulid) || tokenType === undefined || excess.length > 0) throw badToken()
  if (tokenType !== type)
    throw new FgaError(
      'query_string_type_continuation_token_mismatch',
      "The type in the querystring and the continuation token don't match",
    )
  return ulid
}
