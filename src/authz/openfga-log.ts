import { ConsistencyPreference, FgaApiValidationError, TupleOperation } from '@openfga/sdk'
import { type ChangePage, type ChangePosition, PositionRefused, type StoredTuple } from './fga.ts'
import type { FgaApi } from './fga-api.ts'
import { asUnavailable } from './fga-errors.ts'

const pageSize = 100

/** Every stored tuple, a page at a time. */
export async function* readAll(
  api: FgaApi,
  storeId: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly StoredTuple[]> {
  let token = ''
  do {
    const body = {
      page_size: pageSize,
      ...(token !== '' && { continuation_token: token }),
      consistency: ConsistencyPreference.HigherConsistency,
    }
    const page = await asUnavailable(() => api.read(storeId, body, signal ? { signal } : {}))
    yield page.tuples.map(({ key, timestamp }) => toStored(key, timestamp))
    token = page.continuation_token
  } while (token !== '')
}

/** One page of the change log after a place of it. */
export async function readChanges(
  api: FgaApi,
  storeId: string,
  position: ChangePosition,
  options: { readonly signal?: AbortSignal; readonly limit?: number },
): Promise<ChangePage> {
  const { signal, limit = pageSize } = options
  const { after: afterToken, startTime } = position
  const startIso =
    afterToken === undefined && startTime !== undefined ? new Date(startTime).toISOString() : undefined
  const page = await asUnavailable(async () => {
    try {
      return await api.readChanges(storeId, undefined, limit, afterToken, startIso, signal ? { signal } : {})
    } catch (error) {
      // Not a failure to wait out: the same question would be refused for ever.
      if (error instanceof FgaApiValidationError && error.statusCode === 400)
        throw new PositionRefused(error.apiErrorCode)
      throw error
    }
  })
  const token = page.continuation_token
  return {
    changes: page.changes.map(({ tuple_key, operation, timestamp }) => ({
      operation: operation === TupleOperation.Delete ? 'delete' : 'write',
      tuple: toStored(tuple_key, timestamp),
    })),
    position: token === undefined || token === '' ? position : { after: token },
    isEnd: page.changes.length < limit,
  }
}

function toStored(
  key: {
    user: string
    relation: string
    object: string
    condition?: { name: string; context?: object } | null
  },
  timestamp: string,
): StoredTuple {
  const { user, relation, object, condition } = key
  return {
    user,
    relation,
    object,
    ...(condition && { condition: { name: condition.name, context: { ...condition.context } } }),
    writtenAt: Date.parse(timestamp),
  }
}
