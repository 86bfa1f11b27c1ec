import { WrongPerson } from '../errors/kinds.ts'
import type { Detail } from '../shared/detail.ts'
import type { Prover } from './prover.ts'

/** Somebody for whom an agent works, as the app knows them after their sign-in. */
export interface Person {
  /** Their subject at the issuer, `anne`: exactly what their tokens say in `sub`. */
  readonly subject: string
  /**
   * A token of theirs that is addressed to the agent, for `exchange`: fresh at each call. It is bound to this
   * object, so that an app never has to look for it by name.
   */
  readonly subjectToken?: (signal?: AbortSignal) => Promise<string>
}

/** The token that a call needs. */
export interface TokenRequest {
  readonly person: Person
  /** Exact audience: the URL of the API. */
  readonly audience: string
  readonly scopes: readonly string[]
  readonly details?: readonly Detail[] | undefined
  readonly signal?: AbortSignal | undefined
}

/** Where tokens come from. One source is one agent. */
export interface TokenSource {
  /** The agent's client at the issuer. */
  readonly agent: string
  /** A token for exactly this person and API; never one of somebody else's. */
  get(request: TokenRequest): Promise<AccessToken>
  /** The API did not take this one: it is not given again. */
  drop(request: TokenRequest, token: AccessToken): Promise<void>
}

/** What the issuer said of a token that it gave. */
export interface TokenFacts {
  /** `sub`: whom it is for. */
  readonly subject: string
  readonly audience: string
  readonly scopes: readonly string[]
  /** As granted, which may be less than what was asked for. */
  readonly details: readonly Detail[]
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** An access token that prints as what it is good for: its value comes out of `reveal` alone. */
export class AccessToken {
  readonly #value: string
  readonly facts: TokenFacts
  /** Makes the proofs that it needs; undefined for a bearer token. */
  readonly prover: Prover | undefined

  constructor(value: string, tokenFacts: TokenFacts, prover?: Prover) {
    this.#value = value
    this.facts = tokenFacts
    this.prover = prover
  }

  /** The token itself. Whoever has it is the agent, for the person. */
  reveal(): string {
    return this.#value
  }

  toJSON(): TokenFacts {
    return this.facts
  }
}

/** Settings of `staticToken`: one token of one person. */
export interface StaticTokenOptions {
  /** Whose it is: for anybody else there is none. */
  readonly subject: string
  readonly token: string
  /** What the agent is called in errors and logs of yours. Default `static`. */
  readonly agent?: string
}

/**
 * A token from elsewhere, for one person, used as it is until it is refused: for scripts and trials. Bearer
 * only.
 */
export function staticToken({ subject, token, agent = 'static' }: StaticTokenOptions): TokenSource {
  return {
    agent,
    async get({ person, audience, scopes }) {
      if (person.subject !== subject)
        throw new WrongPerson('wrong_person', { message: 'The token is for somebody else.' }, {})
      return new AccessToken(token, {
        subject,
        audience,
        scopes,
        details: [],
        expiresAt: Number.MAX_SAFE_INTEGER,
      })
    },
    // There is no other one to give.
    drop: async () => undefined,
  }
}
