import { type ErrorCode, errorCodes } from '@remit/contract/errors'
import { HTTPException } from 'hono/http-exception'
import { proofAlgorithms } from '../delegation/tokens/dpop.ts'
import { errorBody, statusOf } from '../directory/scim/errors.ts'
import { AppError, asAppError, type Challenge, isLogged, stackOf } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import type { AppContext } from './env.ts'

/**
 * Turns whatever was thrown into problem+json. Only an AppError's public half leaves; the rest is a bare 500.
 */
export function createErrorHandler({ publicUrl, log }: { readonly publicUrl: string; readonly log: Log }) {
  return (thrown: unknown, c: AppContext): Response => {
    const error = thrown instanceof HTTPException ? fromHttp(thrown) : asAppError(thrown)
    const txn = c.get('txn') ?? ''
    if (isLogged(error))
      log('request_failed', { txn, code: error.code, reason: error.message, stack: stackOf(thrown) })
    if (isScim(c.req.path)) return scimError(c, error)
    // RFC 9457, with our code, the field that is wrong and the thread of the request.
    const problem = {
      type: `${publicUrl}/docs/errors/${error.code}`,
      title: errorCodes[error.code].title,
      status: error.status,
      ...detailOf(error),
      code: error.code,
      ...(error.field !== undefined && { field: error.field }),
      txn,
      ...error.members,
    }
    // `c.body`, so that headers set by middleware before the error are kept.
    return c.body(JSON.stringify(problem), {
      status: error.status as 400,
      headers: {
        ...error.headers,
        ...(error.challenge && {
          'www-authenticate': wwwAuthenticate(
            error.code,
            error.challenge,
            error.challenge.resource ?? publicUrl,
            c.req.header('authorization'),
          ),
        }),
        'content-type': 'application/problem+json',
      },
    })
  }
}

const isScim = (path: string): boolean => path === '/scim' || path.startsWith('/scim/')

/** Directories read SCIM's own form (RFC 7644 §3.12), whatever refused them. */
const scimError = (c: AppContext, error: AppError): Response =>
  c.body(JSON.stringify(errorBody(error)), {
    status: statusOf(error) as 400,
    headers: { ...error.headers, 'content-type': 'application/scim+json' },
  })

/** A scope that is lacking is said in the body too: a challenge is a header, which few look at. */
function detailOf({ code, public: publicText, challenge }: AppError): { readonly detail?: string } {
  if (publicText !== undefined) return { detail: publicText }
  const { scopes = [] } = challenge ?? {}
  return code === 'insufficient_scope' && scopes.length > 0 ? { detail: `It takes ${scopes.join(' ')}.` } : {}
}

function fromHttp({ status, message }: HTTPException): AppError {
  if (status === 413) return new AppError('payload_too_large')
  if (status === 415) return new AppError('unsupported_media_type')
  if (status < 500) return new AppError('malformed_body', { public: message })
  return new AppError('internal_error', { internal: message })
}

/**
 * The one form of `WWW-Authenticate` at our APIs (RFC 6750 §3): what was wrong with the token, the complete
 * set of scopes that the operation needs, how recent the sign-in must be (RFC 9470), and where the API says
 * which servers issue its tokens (RFC 9728 §5.1). Under the scheme `DPoP` for whoever came with it, and whose
 * token is bound to a key (RFC 9449 §7). Values are ours alone, so that nothing of a caller's is quoted back.
 */
export function wwwAuthenticate(
  code: ErrorCode,
  { isBare = false, isBound = false, scopes = [], maxAgeSeconds }: Challenge,
  resource: string,
  /** The request's `Authorization`. */
  authorization = '',
): string {
  const isProof = isBound || /^dpop /i.test(authorization) || code === 'invalid_dpop_proof'
  const parameters = {
    ...(!isBare && { error: code }),
    ...(scopes.length > 0 && { scope: scopes.join(' ') }),
    ...(maxAgeSeconds !== undefined && { max_age: String(maxAgeSeconds) }),
    resource_metadata: metadataUrl(resource),
    ...(isProof && { algs: proofAlgorithms.join(' ') }),
  }
  return `${isProof ? 'DPoP' : 'Bearer'} ${Object.entries(parameters)
    .map(([name, value]) => `${name}="${value}"`)
    .join(', ')}`
}

/**
 * Where a resource says which tokens it takes: the well-known part stands before its path (RFC 9728 §3.1).
 */
export function metadataUrl(resource: string): string {
  const { origin, pathname } = new URL(resource)
  return `${origin}/.well-known/oauth-protected-resource${pathname === '/' ? '' : pathname}`
}
