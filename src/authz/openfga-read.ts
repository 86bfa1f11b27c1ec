import {
  ConsistencyPreference,
  FgaApiValidationError,
  type Tuple as OpenFgaTuple,
  type ReadRequestTupleKey,
  TupleOperation,
} from '@openfga/sdk'
import { AppError } from '../kernel/errors.ts'
import type { FgaObject } from '../kernel/ids.ts'
import { type ChangePage, type ChangePosition, PositionRefused, type StoredTuple } from './fga.ts'
import type { FgaApi } from './fga-api.ts'
import { asUnavailable } from './fga-errors.ts'

const pageSize = 100

/** Stored tuples that match, a page at a time: all of them where `key` is left out. */
export async function* readPages(
  api: FgaApi,
  storeId: string,
  key?: ReadRequestTupleKey,
  signal?: AbortSignal,
): AsyncGenerator<readonly OpenFgaTuple[]> {
  let token = ''
  do {
    const body = {
      ...(key !== undefined && { tuple_key: key }),
      page_size: pageSize,
      ...(token !== '' && { continuation_token: token }),
      consistency: ConsistencyPreference.HigherConsistency,
    }
    const page = await asUnavailable(() => api.read(storeId, body, signal ? { signal } : {}))
    yield page.tuples
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
      tuple: toStored({ key: tuple_key, timestamp }),
    })),
    position: token === undefined || token === '' ? position : { after: token },
    isEnd: page.changes.length < limit,
  }
}

/** A tuple as OpenFGA gives it. */
export function toStored({ key, timestamp }: OpenFgaTuple): StoredTuple {
  const { user, relation, object, condition } = key
  return {
    user,
    relation,
    object,
    ...(condition && { condition: { name: condition.name, context: { ...condition.context } } }),
    writtenAt: Date.parse(timestamp),
  }
}

/** Newline-delimited JSON, as the streamed answer comes from the wire. An error inside it fails the whole. */
export async function* objectsOf(stream: AsyncIterable<Uint8Array | string>): AsyncGenerator<FgaObject> {
  const decoder = new TextDecoder()
  let remainder = ''
  try {
    for await (const chunk of stream) {
      remainder += typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true })
      const lines = remainder.split('\n')
      remainder = lines.pop() ?? ''
      for (const line of lines) if (line.trim() !== '') yield objectOf(line)
    }
  } catch (error) {
    if (error instanceof AppError) throw error
    throw new AppError('authorization_unavailable', { internal: 'OpenFGA cut its list short', cause: error })
  }
  if (remainder.trim() !== '') yield objectOf(remainder)
}

function objectOf(line: string): FgaObject {
  const { result, error } = messageOf(line)
  if (typeof result?.object !== 'string' || (error !== undefined && error !== null)) {
    throw new AppError('authorization_unavailable', { internal: 'OpenFGA failed within a list' })
  }
  return result.object as FgaObject
}

function messageOf(line: string): {
  readonly result?: { readonly object?: unknown }
  readonly error?: unknown
} {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new AppError('authorization_unavailable', {
      internal: 'OpenFGA cut a line of its list',
      cause: error,
    })
  }
}
