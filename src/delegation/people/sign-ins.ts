import { type RecordActor, record } from '../../audit/record.ts'
import type { Sql } from '../../store/sql.ts'
import { isKey } from '../registry/subject.ts'
import type { ExternalAccount } from './links.ts'
import type { People } from './people.ts'
import type { Proof, SignInBasis, SignInValidity } from './sign-in-validity.ts'

/** Who has just proved who they are, and how. */
export interface SignedIn {
  /** Account key: `anne`, or `namespace/key` of who came through a trusted issuer. */
  readonly person: string
  /** RFC 8176: `pwd` for a password. */
  readonly amr: readonly string[]
  /** Who they are at the trusted issuer through which they came, whoever they are here. */
  readonly upstream?: ExternalAccount
  /** What they showed here. Once it is over, nothing comes of this sign-in. */
  readonly proof?: Proof
  /** When they themself were verified by more than what they know; left out: not by this sign-in. */
  readonly verifiedAt?: Date
}

/** Who may sign in at all, and what goes on record before anything comes of it. */
export interface SignIns {
  /**
   * Whoever has proven who they are and is revoked, here or by their name elsewhere, or by what is over
   * since, gets in nowhere. On record where it is so.
   */
  isBarred(signedIn: SignedIn, txn: string): Promise<boolean>
  /**
   * Whether a sign-in of a while ago still counts: a person is revoked, or a link ends, while a request is
   * open.
   */
  stillCounts(signedIn: Pick<SignedIn, 'person'> & SignInBasis & { readonly at: Date }): Promise<boolean>
  /** Before the authorization server is told. */
  atAuthorizationServer(signedIn: SignedIn, txn: string): Promise<void>
  /**
   * `typed`: what stood in the account's field. Kept only where it is an account: people type passwords
   * there.
   */
  failed(attempt: { readonly typed: string; readonly method: string }, txn: string): Promise<void>
  consentRefused(refusal: { readonly person: string; readonly client: string }, txn: string): Promise<void>
}

export interface SignInsDeps {
  readonly sql: Sql
  readonly people: People
  readonly signInValidity: SignInValidity
}

/** Finds who signs in by what a page or a provider established. Does NOT check passwords. */
export function createSignIns({ sql, people, signInValidity }: SignInsDeps): SignIns {
  return {
    async isBarred({ person, upstream, proof }, txn) {
      const method = await signInValidity.of({ person, upstream, proof }, sql)
      if (method !== 'stands') await record(sql, atPages(person, txn), { event: 'sign_in_failed', method })
      return method !== 'stands'
    },
    stillCounts: async (signedIn) => (await signInValidity.of(signedIn, sql)) === 'stands',
    atAuthorizationServer: ({ person, amr, upstream }, txn) =>
      record(sql, atPages(person, txn), {
        event: 'signed_in',
        at: 'authorization_server',
        amr,
        ...(upstream && { through: upstream.issuer }),
      }),
    async failed({ typed, method }, txn) {
      const person = isKey(typed) && (await people.has(typed)) ? typed : undefined
      await record(sql, person === undefined ? nobody(txn) : atPages(person, txn), {
        event: 'sign_in_failed',
        method,
      })
    },
    consentRefused: ({ person, client }, txn) =>
      record(sql, atPages(person, txn), { event: 'consent_refused', client }),
  }
}

const pages = 'remit-pages'

/** A person in their own browser on our pages. */
export const atPages = (person: string, txn: string, overSignal?: AbortSignal): RecordActor => ({
  subject: `user:${person}`,
  actors: [],
  client: pages,
  txn,
  over: overSignal,
})

/** Somebody in a browser of whom nothing is known. */
const nobody = (txn: string): RecordActor => ({ subject: 'nobody:unknown', actors: [], client: pages, txn })
