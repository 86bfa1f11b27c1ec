import type { MiddlewareHandler } from 'hono'
import { scopesOfKind } from '../../delegation/claims.ts'
import { AppError, type Challenge, type ErrorCode } from '../../kernel/errors.ts'
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
  /** All of them. */
  readonly scopes: readonly Scope[]
  /** And at least one of these. */
  readonly anyOf?: readonly Scope[]
}

export type RequireBearer = (requirement: Requirement) => MiddlewareHandler<AppEnv>

/**
 * Demands a bearer token (RFC 6750) of one of the kinds with the scopes. Whoever lacks one is told by a challenge
 * what token would do; who may not act at all (`actor_unauthorized`) is not told why. Does NOT check what the
 * principal may read (the gate does), nor roles and recent sign-ins of administrators (`assertAdministrator`).
 */
export function createRequireBearer({ verify, admit }: BearerDeps): RequireBearer {
  return (requirement) =>
    async function bearer(c, next) {
      const header = c.req.header('authorization') ?? ''
      const [scheme, token, ...rest] = header.split(' ')
      if (scheme?.toLowerCase() !== 'bearer' || token === undefined || token === '' || rest.length > 0)
        throw refusal('invalid_token', { scopes: neededBy(requirement), isBare: header === '' })
      const verified = await verify(token)
      if (!verified.ok) throw refusal(verified.reason, { scopes: neededBy(requirement) })
      const principal = verified.value
      c.set('txn', principal.txn)
      c.set('principal', principal)
      admit(principal)
      if (!requirement.kinds.includes(principal.kind))
        throw new AppError('forbidden', { public: 'This route is for other clients.' })
      if (!isMet(requirement, principal))
        throw refusal('insufficient_scope', { scopes: neededBy(requirement, principal.kind) })
      await next()
    }
}

const isMet = ({ scopes, anyOf }: Requirement, principal: Principal): boolean =>
  scopes.every((scope) => principal.scopes.has(scope)) &&
  (anyOf === undefined || anyOf.some((scope) => principal.scopes.has(scope)))

/** All that may be asked for; of what is a choice, only what this kind of client can have. */
const neededBy = ({ scopes, anyOf = [] }: Requirement, kind?: PrincipalKind): Scope[] => [
  ...scopes,
  ...anyOf.filter((scope) => kind === undefined || scopesOfKind[kind].includes(scope)),
]

function refusal(code: ErrorCode, challenge: Challenge): AppError {
  if (code === 'actor_unauthorized') return new AppError(code, { challenge: {} })
  if (code === 'invalid_token' || code === 'insufficient_scope') return new AppError(code, { challenge })
  return new AppError(code)
}
