import {
  type CallToolResult,
  ProtocolError,
  ProtocolErrorCode,
  ResourceNotFoundError,
} from '@modelcontextprotocol/server'
import { errorCodes } from '@remit/contract/errors'
import { type AppError, asAppError, stackOf } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'

/** Where a failure is logged, and under which transaction. */
export interface FailureDeps {
  readonly log: Log
  readonly txn: string
}

/**
 * What went wrong, as the result of a tool: the model reads it, and code and txn are the same as over HTTP. Nothing leaves
 * but the public half of an expected failure.
 */
export function toolFailure(thrown: unknown, dependencies: FailureDeps): CallToolResult {
  const error = logged(thrown, dependencies)
  return { isError: true, content: [{ type: 'text', text: JSON.stringify(toWire(error, dependencies.txn)) }] }
}

/** The same where a resource is read: forbidden and missing are one answer. */
export function resourceFailure(thrown: unknown, uri: string, dependencies: FailureDeps): Error {
  const error = logged(thrown, dependencies)
  if (error.code === 'not_found') return new ResourceNotFoundError(uri)
  const { title, ...about } = toWire(error, dependencies.txn)
  const code = error.status < 500 ? ProtocolErrorCode.InvalidParams : ProtocolErrorCode.InternalError
  return new ProtocolError(code, title, about)
}

function logged(thrown: unknown, { log, txn }: FailureDeps): AppError {
  const error = asAppError(thrown)
  if (error.status >= 500)
    log('request_failed', { txn, code: error.code, reason: error.message, stack: stackOf(thrown) })
  return error
}

const toWire = ({ code, public: detail, field, members }: AppError, txn: string) => ({
  code,
  title: errorCodes[code].title,
  ...(detail !== undefined && { detail: inTools(detail) }),
  ...(field !== undefined && { field }),
  txn,
  ...members,
})

const tools: Readonly<Record<string, string>> = {
  'POST /retrieve': 'retrieve',
  'GET /documents/{id}': 'read_document',
  'GET /collections': 'list_collections',
  'POST /approvals': 'request_approval',
  'POST /vault/fetch': 'vault_fetch',
}

/** The features name routes where they say how to go on: who asks here has tools. */
const inTools = (text: string): string =>
  Object.entries(tools).reduce((rewritten, [route, tool]) => rewritten.replaceAll(route, tool), text)
