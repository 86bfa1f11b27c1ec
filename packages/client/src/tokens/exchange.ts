import { NoPerson } from '../errors/kinds.ts'
import { cacheKey, createTokenCache, type TokenCache } from './cache.ts'
import { askedFor, createIssuerClient, type IssuerOptions } from './issuer-client.ts'
import { readTokenAnswer } from './read-answer.ts'
import type { Person, TokenRequest, TokenSource } from './token.ts'

/** Settings of `exchange`. */
export interface ExchangeOptions extends IssuerOptions {
  /**
   * A token of the person's that is addressed to this agent. Default: the `subjectToken` of the person
   * itself. Whatever it gives, a token for somebody else is refused.
   */
  readonly subjectToken?: (person: Person, signal?: AbortSignal) => Promise<string>
  /** Default: a cache of its own. One may be shared by several agents and APIs. */
  readonly cache?: TokenCache
}

const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'

/**
 * Tokens by exchange (RFC 8693): what a person handed to the agent becomes a token for one API that names
 * both. Held by person, agent and API until shortly before it ends.
 */
export function exchange(options: ExchangeOptions): TokenSource {
  const client = createIssuerClient(options)
  const cache = options.cache ?? createTokenCache({ now: client.platform.now })
  const subjectToken = options.subjectToken ?? ((person: Person) => handedOver(person))

  async function obtain(request: TokenRequest) {
    const { person, audience, scopes, details } = request
    const subject = await subjectToken(person)
    const answer = await client.post(
      'token',
      {
        grant_type: grantType,
        subject_token: subject,
        subject_token_type: accessTokenType,
        ...askedFor(request),
      },
      [subject],
    )
    return readTokenAnswer(answer, { subject: person.subject, audience, scopes, details }, client)
  }

  return {
    agent: client.agent,
    get: async (request) => cache.get(await cacheKey(client, request), request.signal, () => obtain(request)),
    async drop(request, token) {
      cache.drop(await cacheKey(client, request), token)
    },
  }
}

async function handedOver({ subject, subjectToken }: Person): Promise<string> {
  if (subjectToken === undefined)
    throw new NoPerson('no_person', { message: `Nothing was handed to the agent for ${subject}.` }, {})
  return subjectToken()
}
