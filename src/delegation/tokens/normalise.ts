import { z } from 'zod'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import { agentFacet, facets, type Payload, type Preset } from './presets.ts'
import type { VerifyReason } from './reasons.ts'

/** A token of another issuer in our own words. */
export interface NormalisedToken {
  /**
   * In the words of RFC 9068 and the actor profile, as our own tokens are. Nothing else of the payload is
   * left.
   */
  readonly payload: Payload
  /** Every link of the actor chain names its issuer itself; where not, we say so here and in no token. */
  readonly actorsNamed: boolean
}

interface Source {
  readonly issuer: string
  readonly preset: Preset
}

/**
 * Reads the payload of another issuer's signed token by its preset. The one place that knows of products:
 * whatever comes after it reads one form. A shape that the preset does not know is refused, never guessed.
 * NOT checked: signature, audience, time, registries.
 */
export function normalise(
  payload: Payload,
  typ: string,
  { issuer, preset }: Source,
): Result<NormalisedToken, VerifyReason> {
  const isNamed = accessTokenTypes.has(typ)
  if (idTokenMarks.some((mark) => Object.hasOwn(payload, mark)) || !preset.isAccessToken(payload, isNamed))
    return refuse('wrong_type')
  const client = agreed(payload, preset.client, (value) => text.safeParse(value).data)
  if (!client.ok) return client
  const scope = scopeOf(payload, preset)
  if (!scope.ok) return scope
  const acting =
    preset.actor === 'facet' ? facetActor(payload, issuer, client.value) : actClaim(payload, issuer, preset)
  if (!acting.ok) return acting
  const mayAct = mayActOf(payload, issuer)
  if (!mayAct.ok) return mayAct
  const { sub_profile } = payload
  const isPerson = preset.isPerson(payload) && (sub_profile === undefined || sub_profile === 'user')
  const claims = {
    ...Object.fromEntries(
      copiedClaims.filter((name) => Object.hasOwn(payload, name)).map((name) => [name, payload[name]]),
    ),
    sub: preset.sub(payload, issuer),
    jti: payload[preset.jti],
    client_id: client.value,
    scope: scope.value,
    sub_profile: isPerson ? 'user' : 'other',
    ...(acting.value !== undefined && { act: acting.value.act }),
    ...(mayAct.value !== undefined && { may_act: mayAct.value }),
  }
  return ok({
    payload: Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined)),
    actorsNamed: acting.value?.isNamed ?? true,
  })
}

/** RFC 9068 §2.1, the short form and the long. */
export const accessTokenTypes: ReadonlySet<string> = new Set(['at+jwt', 'application/at+jwt'])

/** Members of ID tokens and of security events; in an access token they have no meaning. */
const idTokenMarks = ['at_hash', 'c_hash', 's_hash', 'nonce', 'events']

/** What has one meaning everywhere. `upstream` is not among them: only we say who somebody is elsewhere. */
const copiedClaims = [
  'iss',
  'aud',
  'exp',
  'iat',
  'nbf',
  'auth_time',
  'amr',
  'authorization_details',
  'delegation',
  'grant_id',
  'txn',
  'cnf',
  'demo',
]

const text = z.string().min(1).max(1_024)

/** What all claims of these names say; one of them has to be there. */
function agreed(
  payload: Payload,
  names: readonly string[],
  read: (value: unknown) => string | undefined,
): Result<string, VerifyReason> {
  const present = names.filter((name) => Object.hasOwn(payload, name))
  const [firstValue] = present
  if (firstValue === undefined) return refuse('missing_claim', names[0])
  const value = read(payload[firstValue])
  const odd = present.find((name) => value === undefined || read(payload[name]) !== value)
  return value === undefined || odd !== undefined ? refuse('bad_claim', odd ?? firstValue) : ok(value)
}

const scopeList = z.array(z.string().regex(/^[\x21-\x7e]*$/)).max(500)

/** A string with spaces or an array, as words in order; undefined for anything else. */
function scopeWords(value: unknown): string | undefined {
  const parsed = scopeList.safeParse(typeof value === 'string' ? value.split(' ') : value)
  if (!parsed.success) return undefined
  return [...new Set(parsed.data.filter((scopeName) => scopeName !== ''))].sort().join(' ')
}

function scopeOf(payload: Payload, preset: Preset): Result<string, VerifyReason> {
  const names = preset.scopes(payload)
  if (!names.some((name) => Object.hasOwn(payload, name))) return ok('')
  const scopeValue = agreed(payload, names, scopeWords)
  if (!scopeValue.ok || preset.permissions === undefined || !Object.hasOwn(payload, preset.permissions))
    return scopeValue
  const permitted = scopeWords(payload[preset.permissions])?.split(' ')
  if (permitted === undefined) return refuse('bad_claim', preset.permissions)
  return ok(
    scopeValue.value
      .split(' ')
      .filter((scope) => permitted.includes(scope))
      .join(' '),
  )
}

interface Acting {
  readonly act: Payload
  readonly isNamed: boolean
}
type MaybeActing = Result<Acting | undefined, VerifyReason>

/** The client is the actor iff the issuer calls it an agent; `azp` alone never makes one. */
function facetActor(payload: Payload, issuer: string, client: string): MaybeActing {
  if (Object.hasOwn(payload, 'act')) return refuse('bad_actor')
  const found = facets(payload['xms_act_fct'])
  if (found === undefined) return refuse('bad_claim', 'xms_act_fct')
  if (!found.has(agentFacet)) return ok(undefined)
  return ok({ act: { iss: issuer, sub: client, sub_profile: 'ai_agent' }, isNamed: true })
}

const link = z.looseObject({
  iss: text.optional(),
  sub: text,
  sub_profile: z.string().optional(),
  act: z.unknown().optional(),
})
// Deeper than any chain that passes, and a bound on what a token can make us walk.
const depthMax = 16

function actClaim(holder: Payload, issuer: string, preset: Preset, depth = 0): MaybeActing {
  if (!Object.hasOwn(holder, 'act')) return ok(undefined)
  const parsed = link.safeParse(holder['act'])
  if (!parsed.success || depth === depthMax) return refuse('bad_actor')
  const { iss, sub, sub_profile } = parsed.data
  if (iss === undefined && preset.actor !== 'claim_of_issuer') return refuse('bad_actor')
  // A user who acts as another one is an administrator's impersonation; of what a profile that we do not know
  // is, nobody knows.
  if (sub_profile !== undefined && sub_profile !== 'ai_agent') return refuse('actor_no_agent')
  const inner = actClaim(parsed.data, issuer, preset, depth + 1)
  if (!inner.ok) return inner
  return ok({
    act: {
      iss: iss ?? issuer,
      sub,
      ...(sub_profile !== undefined && { sub_profile }),
      ...(inner.value !== undefined && { act: inner.value.act }),
    },
    isNamed: iss !== undefined && (inner.value?.isNamed ?? true),
  })
}

const mayAct = z.looseObject({ iss: text.optional(), sub: text })

/** RFC 8693 §4.4. Who is named without an issuer is of this one, not whoever has that name here. */
function mayActOf(payload: Payload, issuer: string): Result<Payload | undefined, VerifyReason> {
  if (!Object.hasOwn(payload, 'may_act')) return ok(undefined)
  const parsed = mayAct.safeParse(payload['may_act'])
  if (!parsed.success) return refuse('bad_claim', 'may_act')
  return ok({ ...parsed.data, iss: parsed.data.iss ?? issuer })
}
