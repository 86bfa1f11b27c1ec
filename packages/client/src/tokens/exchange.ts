import { NoPerson } from '../errors/kinds.ts'
import { abandonable } from '../shared/abandon.ts'
import { digest } from '../shared/digest.ts'
import { canonicalJson } from '../shared/json.ts'
import { cacheKey, createTokenCache, type TokenCache } from './cache.ts'
import { askedFor, createIssuerClient, type IssuerOptions } from './issuer-client.ts'
import { readTokenAnswer } from './read-answer.ts'
import type { AccessToken, Person, TokenRequest, TokenSource } from './token.ts'

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
 * both. Held by person, agent, API and what was handed over, until shortly before it ends.
 */
export function exchange(options: ExchangeOptions): TokenSource {
  const client = createIssuerClient(options)
  const cache = options.cache ?? createTokenCache({ now: client.platform.now })
  const subjectToken = options.subjectToken ?? ((person: Person) => handedOver(person))

  // Under what the token for each request of a person object is held, and the first one: by what was handed
  // over as well, once the issuer has said whose that is. By the name alone, whoever is named would get what
  // is held for it.
  const looked = new WeakMap<Person, Map<string, Promise<Looked>>>()

  async function obtain(request: TokenRequest, subject: string) {
    const { person, audience, scopes, details } = request
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

  async function look(request: TokenRequest, wanted: string): Promise<Looked> {
    const subject = await subjectToken(request.person)
    const key = canonicalJson([wanted, await digest(subject)])
    return { key, token: await cache.get(key, undefined, () => obtain(request, subject)) }
  }

  /** Once for each person object and kind of token, however many wait; what failed is looked at anew. */
  function lookOnce(request: TokenRequest, wanted: string, instead?: Promise<Looked>): Promise<Looked> {
    const entries = looked.get(request.person) ?? new Map<string, Promise<Looked>>()
    looked.set(request.person, entries)
    const known = entries.get(wanted)
    if (known !== undefined && known !== instead) return known
    const entry = look(request, wanted)
    entries.set(wanted, entry)
    entry.catch(() => entries.get(wanted) === entry && entries.delete(wanted))
    return entry
  }

  return {
    agent: client.agent,
    async get(request) {
      const { signal } = request
      signal?.throwIfAborted()
      const wanted = await cacheKey(client, request)
      const entry = lookOnce(request, wanted)
      const held = cache.held((await abandonable(entry, signal)).key)
      if (held !== undefined) return held
      // What is handed over by now may be another token: the issuer has not said yet whose that is, and it is
      // held by its own digest, not by that of one which the issuer may refuse by now.
      return (await abandonable(lookOnce(request, wanted, entry), signal)).token
    },
    async drop(request, token) {
      const entry = looked.get(request.person)?.get(await cacheKey(client, request))
      if (entry !== undefined) cache.drop((await entry).key, token)
    },
  }
}

interface Looked {
  readonly key: string
  readonly token: AccessToken
}

async function handedOver({ subject, subjectToken }: Person): Promise<string> {
  if (subjectToken === undefined)
    throw new NoPerson('no_person', { message: `Nothing was handed to the agent for ${subject}.` }, {})
  return subjectToken()
}
