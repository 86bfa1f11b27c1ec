import type { MiddlewareHandler } from 'hono'
import { AppError, type ErrorCode } from '../../kernel/errors.ts'
import type { Principal, PrincipalKind, Scope } from '../../kernel/principal.ts'
import type { Result } from '../../kernel/result.ts'
import type { AppEnv } from '../env.ts'

export interface BearerDeps {
  /** Turns a token for this resource into its principal, or the outer code of its refusal. */
  readonly verify: (token: string) => Promise<Result<Principal, ErrorCode>>
  /** Called once the principal is known, before any work: throws 429. */
  readonly admit: (principal: Principal) => void
}

export interface Requirement {
  readonly kinds: readonly PrincipalKind[]
  readonly scopes: readonly Scope[]
}

export type RequireBearer = (requirement: Requirement) => MiddlewareHandler<AppEnv>

/**
 * Demands a bearer token (RFC 6750) of one of the kinds with all of the scopes. The challenge of RFC 9728
 * comes with the authorization server. Does NOT check what the principal may read: the gate does.
 */
export function createRequireBearer({ verify, admit }: BearerDeps): RequireBearer {
  return ({ kinds, scopes }) =>
    async function bearer(c, next) {
      const [scheme, token, ...rest] = (c.req.header('authorization') ?? '').split(' ')
      if (scheme?.toLowerCase() !== 'bearer' || token === undefined || token === '' || rest.length > 0) {
        throw challenge('invalid_token', scopes)
      }
      const verified = await verify(token)
      if (!verified.ok) throw challenge(verified.reason, scopes)
      const principal = verified.value
      c.set('txn', principal.txn)
      c.set('principal', principal)
      admit(principal)
      if (!kinds.includes(principal.kind))
        throw new AppError('forbidden', { public: 'This route is for other clients.' })
      if (!scopes.every((scope) => principal.scopes.has(scope))) throw challenge('insufficient_scope', scopes)
      await next()
    }
}

function challenge(code: ErrorCode, scopes: readonly Scope[]): AppError {
  if (code !== 'invalid_token' && code !== 'insufficient_scope') return new AppError(code)
  const scope = scopes.length > 0 ? `, scope="${scopes.join(' ')}"` : ''
  return new AppError(code, { headers: { 'www-authenticate': `Bearer error="${code}"${scope}` } })
}
