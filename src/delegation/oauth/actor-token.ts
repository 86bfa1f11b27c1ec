import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose'
import { z } from 'zod'
import { splitObject } from '../../kernel/ids.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Agent, Agents } from '../registry/agents.ts'
import type { Client } from '../registry/clients.ts'
import type { ReplayGuard } from '../tokens/replay-guard.ts'
import type { Verifier } from '../tokens/verify.ts'

/** A token by which an agent says itself that it acts, through the client that shows it (RFC 8693 §2.1). */
export interface ActorToken {
  readonly token: string
  readonly type: string | undefined
  /** Who shows it; was authenticated before. */
  readonly client: Client
  /** Thumbprint of the key that the client proved with the request. */
  readonly provenKey: string | undefined
}

/** The agent that it names; undefined for whatever is not accepted. */
export type ReadActorToken = (actor: ActorToken) => Promise<Agent | undefined>

export interface ActorTokensDeps extends Pick<Runtime, 'clock' | 'issuer'> {
  readonly agents: Agents
  readonly verifier: Verifier
  readonly spent: ReplayGuard
}

const tokenType = 'urn:ietf:params:oauth:token-type:'
const secondsMax = 300
const leewaySeconds = 5
const algorithms = ['ES256', 'PS256', 'RS256', 'EdDSA', 'Ed25519']

/**
 * Two forms: an agent's own access token (`…:access_token`), or a JWT signed by a key of the agent's
 * (`…:jwt`) with the type `actor-token+jwt`, so that no other signature of that key passes; `iss` and `sub`
 * its id, `aud` our issuer, `exp` at most 300 s after `iat`, and a `jti` that is good once. Either names the
 * client that shows it (`client_id`): one that got lost is worth nothing to another. NOT checked: whether
 * that client may speak for the agent at all.
 */
export function createActorTokens({
  agents,
  verifier,
  spent: replayGuard,
  clock,
  issuer,
}: ActorTokensDeps): ReadActorToken {
  async function byAccessToken({ token, client, provenKey }: ActorToken): Promise<Agent | undefined> {
    const examined = await verifier.examine(token)
    if (!examined.ok) return undefined
    const { claims, principal } = examined.value
    const [outermost] = principal.actors
    const isOurs = claims.client_id === client.clientId && principal.kind === 'agent'
    if (!isOurs || outermost === undefined) return undefined
    if (principal.boundTo !== undefined && principal.boundTo !== provenKey) return undefined
    return agents.get(splitObject(outermost).id)
  }

  async function byKey({ token, client }: ActorToken): Promise<Agent | undefined> {
    const agent = await named(token)
    if (agent?.jwks === undefined) return undefined
    const claims = await signedBy(agent, token)
    if (claims === undefined || claims.client_id !== client.clientId) return undefined
    const { iat, exp, jti } = claims
    if (iat > clock.now() / 1_000 + leewaySeconds || exp <= iat || exp - iat > secondsMax) return undefined
    const isFirst = await replayGuard.spend(`actor ${agent.id} ${jti}`, (secondsMax + leewaySeconds) * 1_000)
    return isFirst ? agent : undefined
  }

  /** Whose token it says it is, only to choose whose keys it is held to. */
  async function named(token: string): Promise<Agent | undefined> {
    try {
      const { sub } = decodeJwt(token)
      return sub === undefined ? undefined : await agents.get(sub)
    } catch (error) {
      if (error instanceof Error && error.name === 'JWTInvalid') return undefined
      throw error
    }
  }

  async function signedBy({ id, jwks }: Agent, token: string): Promise<ActorClaims | undefined> {
    const keys = createLocalJWKSet({
      keys: (jwks?.keys ?? []).map(({ kid, ...key }) => ({ ...key, ...(kid !== undefined && { kid }) })),
    })
    const options = { algorithms, typ: 'actor-token+jwt', issuer: id, subject: id, audience: issuer }
    // jose throws errors of its own and WebCrypto's for what does not hold.
    const verified = await jwtVerify(token, keys, { ...options, currentDate: new Date(clock.now()) }).catch(
      () => undefined,
    )
    const claims = actorClaims.safeParse(verified?.payload)
    return claims.success ? claims.data : undefined
  }

  return async (actor) => {
    if (actor.token.length > charactersMax) return undefined
    const agent =
      actor.type === `${tokenType}access_token`
        ? await byAccessToken(actor)
        : actor.type === `${tokenType}jwt`
          ? await byKey(actor)
          : undefined
    return agent?.disabledAt === undefined ? agent : undefined
  }
}

const charactersMax = 16_384

const actorClaims = z.looseObject({
  // One audience: a list would make it good elsewhere too.
  aud: z.string(),
  client_id: z.string(),
  iat: z.number(),
  exp: z.number(),
  jti: z.string().min(1).max(256),
})
type ActorClaims = z.output<typeof actorClaims>
