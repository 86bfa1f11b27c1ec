import { record, type Who } from '../audit/record.ts'
import type { Sql } from '../store/sql.ts'
import type { People } from './people.ts'
import { isKey } from './subject.ts'

/** Who has just proved who they are, and how. */
export interface SignedIn {
  /** Account key: `anne`, or `namespace/key` of who came through a trusted issuer. */
  readonly person: string
  /** RFC 8176: `pwd` for a password. */
  readonly amr: readonly string[]
}

/** Puts on record what people do at the authorization server's pages before anything comes of it. */
export interface SignIns {
  /** Before the authorization server is told. */
  atAuthorizationServer(signedIn: SignedIn, txn: string): Promise<void>
  /** `typed`: what stood in the account's field. Kept only where it is an account: people type passwords there. */
  failed(attempt: { readonly typed: string; readonly method: string }, txn: string): Promise<void>
  consentRefused(refusal: { readonly person: string; readonly client: string }, txn: string): Promise<void>
}

export function createSignIns({ sql, people }: { readonly sql: Sql; readonly people: People }): SignIns {
  return {
    atAuthorizationServer: ({ person, amr }, txn) =>
      record(sql, atPages(person, txn), { event: 'signed_in', at: 'authorization_server', amr }),
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
export const atPages = (person: string, txn: string): Who => ({
  subject: `user:${person}`,
  actors: [],
  client: pages,
  txn,
})

/** Somebody in a browser of whom nothing is known. */
const nobody = (txn: string): Who => ({ subject: 'nobody:unknown', actors: [], client: pages, txn })
