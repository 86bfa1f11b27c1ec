import { decodeJwt } from 'jose'
import { GrantedDiffers, WrongPerson } from '../errors/kinds.ts'
import { detailsOf } from '../shared/detail.ts'
import { isObject } from '../shared/json.ts'
import type { IssuerClient } from './issuer-client.ts'
import { AccessToken, type TokenRequest } from './token.ts'
import { areWithin, type Within } from './within.ts'

/** What is expected of an answer; `person` is left out where whoever signs in says who they are. */
export interface Expected extends Pick<TokenRequest, 'audience' | 'scopes' | 'details'> {
  readonly subject: string | undefined
  /** Default: `isWithin`. */
  readonly within?: Within | undefined
}

/**
 * The token of an answer (RFC 6749 §5.1), if it is what was asked for: of the kind that was, for this person,
 * this API. What an access token says is the API's to verify; here it is only held against what was asked
 * for, so that no mix-up, of the app's or on the way, ends in one person's session with another's token. A
 * token that does not say whom it is for is refused.
 *
 * @throws WrongPerson, GrantedDiffers
 */
export function readTokenAnswer(
  answer: Readonly<Record<string, unknown>>,
  expected: Expected,
  { issuer, prover, platform }: Pick<IssuerClient, 'issuer' | 'prover' | 'platform'>,
): AccessToken {
  const { access_token: value, token_type: type, expires_in: seconds, scope } = answer
  const expectedType = prover === undefined ? 'bearer' : 'dpop'
  if (typeof value !== 'string' || value === '' || String(type).toLowerCase() !== expectedType)
    throw differs(`The issuer gave no ${expectedType} token.`)
  const claims = claimsOf(value)
  if (claims?.['iss'] !== issuer || claims['aud'] !== expected.audience)
    throw differs('The token is not for this API.')
  const subject = claims['sub']
  if (typeof subject !== 'string' || (expected.subject !== undefined && subject !== expected.subject))
    throw new WrongPerson('wrong_person', { message: 'The token that came is for somebody else.' }, {})
  const details = detailsOf(answer['authorization_details'])
  if (details === undefined) throw differs('The details of the answer are none.')
  if (!areWithin(details, expected.details ?? [], expected.within))
    throw differs('What was granted is not what was asked for.')
  const lifetime = typeof seconds === 'number' && seconds > 0 ? seconds : defaultSeconds
  return new AccessToken(
    value,
    {
      subject,
      audience: expected.audience,
      // OpenID's own names nothing of the API.
      scopes:
        typeof scope === 'string'
          ? scope.split(' ').filter((name) => name !== '' && name !== 'openid')
          : expected.scopes,
      details,
      expiresAt: platform.now() + lifetime * 1_000,
    },
    prover,
  )
}

const defaultSeconds = 60

const differs = (message: string) => new GrantedDiffers('granted_differs', { message }, {})

function claimsOf(token: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const claims: unknown = decodeJwt(token)
    return isObject(claims) ? claims : undefined
  } catch {
    // An opaque token says nothing.
    return undefined
  }
}
