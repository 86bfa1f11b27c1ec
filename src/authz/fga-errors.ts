import { FgaApiError } from '@openfga/sdk'
import { AppError } from '../kernel/errors.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { PositionRefused, WriteRefused } from './fga.ts'

interface Asked {
  readonly apiUrl: string
  readonly apiToken: string | undefined
}

/** OpenFGA was not reached, or answered with another status than 200: by code or status alone. */
export class NoAnswer extends Error {
  constructor(reason: string) {
    super(`OpenFGA ${reason}`)
    this.name = 'NoAnswer'
  }
}

/**
 * Turns everything that keeps OpenFGA from answering into one 503; what it refuses as wrong stays an error of
 * ours.
 */
export async function asUnavailable<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (error instanceof PositionRefused || error instanceof WriteRefused) throw error
    throw new AppError('authorization_unavailable', { internal: describe(error), cause: scrubbed(error) })
  }
}

// The SDK's errors carry the whole request; only code and status may reach a log.
function describe(error: unknown): string {
  if (error instanceof NoAnswer) return error.message
  if (error instanceof FgaApiError) return `OpenFGA ${error.statusCode ?? ''} ${error.name}${codeOf(error)}`
  return error instanceof Error ? `OpenFGA: ${error.name}` : 'OpenFGA failed'
}

// `internal_error` and `deadline_exceeded` are both a 500. Whatever else stands in front may say anything.
function codeOf(error: FgaApiError): string {
  const code = 'apiErrorCode' in error ? String(error.apiErrorCode) : ''
  return /^[a-z_]{1,60}$/.test(code) ? `: ${code}` : ''
}

const scrubbed = (error: unknown): unknown => (error instanceof FgaApiError ? undefined : error)

/**
 * What whoever starts the service can mend of OpenFGA: its address, and what came back from there. Never the
 * token. Undefined for an error that is not of a call to OpenFGA.
 */
export function unusableOpenFga(error: unknown, { apiUrl, apiToken }: Asked): OperatorError | undefined {
  const failure =
    error instanceof AppError && error.code === 'authorization_unavailable' ? error.cause : error
  if (!isOfCall(failure)) return undefined
  const { origin, pathname } = new URL(apiUrl)
  const address = `${origin}${pathname.replace(/\/$/, '')}`
  const explanation = failure instanceof FgaApiError ? answered(failure, apiToken) : unanswered(failure)
  return new OperatorError(`OpenFGA at ${address} cannot be used: ${explanation}`, error)
}

const isOfCall = (error: unknown): error is Error =>
  error instanceof Error && ('isAxiosError' in error || error.name.startsWith('Fga'))

function answered(error: FgaApiError, apiToken: string | undefined): string {
  const { statusCode = 0, statusText = '', apiErrorMessage } = error
  if (statusCode === 401 || statusCode === 403)
    return apiToken === undefined
      ? `it demands a key, and OPENFGA_API_TOKEN is not set (${statusCode}).`
      : `it refuses the key of OPENFGA_API_TOKEN (${statusCode}).`
  const code = 'apiErrorCode' in error ? error.apiErrorCode : undefined
  const store = /\/stores\/([^/?]+)/.exec(error.requestURL ?? '')?.[1] ?? ''
  const hint = 'Is it another server than before, or OPENFGA_STORE_ID mistyped?'
  if (code === 'store_id_not_found') return `it has no store ${store}. ${hint}`
  if (code === 'authorization_model_not_found')
    return `its store ${store} lacks the model that is in force. ${hint}`
  // Without words of OpenFGA's: a proxy, or another program.
  return `it answers ${statusCode}: ${apiErrorMessage ?? statusText}`
}

function unanswered({ message }: Error): string {
  return /^(FGA Error: )?(canceled|timeout)/.test(message)
    ? 'it does not answer in time.'
    : `${message.replace(/^FGA Error: /, '')}.`
}
