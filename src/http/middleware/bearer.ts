import { isDeepStrictEqual } from 'node:util'
import type { ErrorCode } from '@remit/contract/errors'
import type { MiddlewareHandler } from 'hono'
import { scopesOfKind } from '../../delegation/registry/claims.ts'
import type { PresentedProof } from '../../delegation/tokens/dpop.ts'
import type { Presented } from '../../delegation/tokens/verify.ts'
import { assertNotAborted } from '../../kernel/assert-not-aborted.ts'
import { AppError, type Challenge, overloaded } from '../../kernel/errors.ts'
import type { Principal, PrincipalKind, Scope } from '../../kernel/principal.ts'
import type { Result } from '../../kernel/result.ts'
import type { AppContext, AppEnv } from '../env.ts'

/** What {@link createRequireBearer} works with. */
export interface BearerDeps {
  /**
   * Turns a token for this resource into its principal, or the outer code of its refusal, with the inner one
   * as `detail`. `proof`: what came with it under the scheme `DPoP`; undefined under `Bearer`; else what the
   * same request is looked at again for.
   */
  readonly verify: (token: string, proof: Presented | undefined) => Promise<Result<Principal, ErrorCode>>
  /** Called once the principal is known, before any work: throws 429. */
  readonly admit: (principal: Principal) => void
  /** What a proof is made for begins with it, whatever `Host` says. */
  readonly publicUrl: string
  /** The audience of the tokens, as challenges describe it. Default: the API. */
  readonly resource?: string
  /** For `DPoP-Nonce`. */
  readonly nonce: () => string
}

/** Who may call a route: kinds of principal, and scopes. */
export interface Requirement {
  readonly kinds: readonly PrincipalKind[]
  /** All of them. */
  readonly scopes: readonly Scope[]
  /** And at least one of these. */
  readonly anyOf?: readonly Scope[]
  /** Named to whoever has no token yet, where nothing is required before it is known what is asked. */
  readonly atFirst?: readonly Scope[]
}

export type RequireBearer = (requirement: Requirement) => MiddlewareHandler<AppEnv>

/**
 * Demands an access token of one of the kinds with the scopes: under the scheme `Bearer` (RFC 6750), or under
 * `DPoP` with a proof where it is bound to a key (RFC 9449 §7). Whoever lacks one is told by a challenge what
 * token would do; who may not act at all (`actor_unauthorized`) is not told why. Does NOT check what the
 * principal may read (the gate does), nor roles and recent sign-ins of administrators
 * (`assertAdministrator`).
 */
export function createRequireBearer(dependencies: BearerDeps): RequireBearer {
  const { verify, admit, publicUrl, resource = publicUrl, nonce } = dependencies
  const refusal = (code: ErrorCode, challenge: Challenge) => challengeError(code, { ...challenge, resource })
  return (requirement) =>
    async function bearer(c, next) {
      const header = c.req.header('authorization') ?? ''
      const presentedToken = credentials(c, header, publicUrl)
      if (presentedToken === undefined)
        throw refusal('invalid_token', { scopes: neededBy(requirement), isBare: header === '' })
      // On every answer: the next request needs no round trip for it.
      if (presentedToken.presented !== undefined) c.header('dpop-nonce', nonce())
      const verifiedBy = async (proof: Presented | undefined): Promise<Principal> => {
        const verified = await verify(presentedToken.token, proof)
        if (verified.ok) return verified.value
        throw refusal(verified.reason, {
          scopes: neededBy(requirement),
          isBound: verified.detail === 'proof_missing',
        })
      }
      const principal = await verifiedBy(presentedToken.presented)
      c.set('txn', principal.txn)
      c.set('principal', principal)
      admit(principal)
      if (!requirement.kinds.includes(principal.kind))
        throw new AppError('forbidden', {
          public: `This route is for ${requirement.kinds.map((kind) => callers[kind]).join(' and ')} only.`,
        })
      if (!isMet(requirement, principal))
        throw refusal('insufficient_scope', { scopes: neededBy(requirement, principal.kind) })
      assertNotAborted(c.get('over'))
      const assertStands = async (as: 'proven' | 'under_way' = 'proven'): Promise<void> => {
        const { txn } = principal
        // Narrowed meanwhile: it comes again, as what it is now.
        if (!isDeepStrictEqual({ ...(await verifiedBy(as)), txn }, principal)) throw overloaded()
      }
      c.set('deadline', { ...c.get('deadline'), assertStands })
      await next()
    }
}

const callers: Readonly<Record<PrincipalKind, string>> = {
  person: 'people',
  agent: 'agents',
  service: 'services',
}

interface Credentials {
  readonly token: string
  readonly presented: PresentedProof | undefined
}

function credentials(c: AppContext, header: string, publicUrl: string): Credentials | undefined {
  const [scheme, token, ...excess] = header.split(' ')
  if (token === undefined || token === '' || excess.length > 0) return undefined
  switch (scheme?.toLowerCase()) {
    case 'bearer':
      return { token, presented: undefined }
    case 'dpop': {
      const { method } = c.req
      const url = `${publicUrl}${new URL(c.req.url).pathname}`
      return { token, presented: { proof: c.req.header('dpop') ?? '', method, url } }
    }
    default:
      return undefined
  }
}

const isMet = ({ scopes, anyOf }: Requirement, principal: Principal): boolean =>
  scopes.every((scope) => principal.scopes.has(scope)) &&
  (anyOf === undefined || anyOf.some((scope) => principal.scopes.has(scope)))

/** All that may be asked for; of what is a choice, only what this kind of client can have. */
const neededBy = ({ scopes, anyOf = [], atFirst = [] }: Requirement, kind?: PrincipalKind): Scope[] => [
  ...scopes,
  ...(kind === undefined ? atFirst : []),
  ...anyOf.filter((scope) => kind === undefined || scopesOfKind[kind].includes(scope)),
]

const challenged: ReadonlySet<ErrorCode> = new Set([
  'invalid_token',
  'insufficient_scope',
  'invalid_dpop_proof',
  'use_dpop_nonce',
])

function challengeError(code: ErrorCode, challenge: Challenge & { readonly resource: string }): AppError {
  if (code === 'actor_unauthorized')
    return new AppError(code, { challenge: { resource: challenge.resource } })
  return challenged.has(code) ? new AppError(code, { challenge }) : new AppError(code)
}
