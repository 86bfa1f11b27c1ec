import type { Clock } from '../../kernel/clock.ts'
import type { Sql } from '../../store/sql.ts'
import { accountKey } from '../registry/subject.ts'
import type { ExternalAccount } from './links.ts'

/** `link_over`: the account elsewhere is not this person, or not any more. */
export type SignInVerdict = 'stands' | 'revoked' | 'link_over'

/** The sign-in to judge. */
export interface SignInReference {
  readonly person: string
  /** Who they are at the trusted issuer through which they came. */
  readonly upstream?: ExternalAccount | undefined
  /** When they signed in; a link that was made since is another one. Left out: now. */
  readonly at?: Date
}

/** Judges sign-ins, in the caller's transaction where it has one. */
export interface SignInValidity {
  /**
   * Whether a sign-in counts now: nobody of either name is revoked, and the account elsewhere is this person.
   */
  of(signIn: SignInReference, sql: Sql): Promise<SignInVerdict>
  /**
   * Account key of an account elsewhere as long as it has no link. Undefined: its issuer is not trusted (any
   * more).
   */
  upstreamPerson(account: ExternalAccount): string | undefined
}

export interface SignInValidityDeps {
  readonly trustedIssuers: readonly { readonly issuer: string; readonly namespace: string }[]
  readonly clock: Clock
}

/** The one rule by which a sign-in goes on counting, for the sign-in itself and for what came of it. */
export function createSignInValidity({ trustedIssuers, clock }: SignInValidityDeps): SignInValidity {
  const namespaces = new Map(trustedIssuers.map(({ issuer, namespace }) => [issuer, namespace]))
  const upstreamPerson: SignInValidity['upstreamPerson'] = ({ issuer, sub }) => {
    const namespace = namespaces.get(issuer)
    return namespace === undefined ? undefined : accountKey(namespace, sub, undefined)
  }
  return {
    upstreamPerson,
    async of({ person, upstream, at: signedInAt }, sql) {
      const elsewhere = upstream && upstreamPerson(upstream)
      if (upstream !== undefined && elsewhere === undefined) return 'link_over'
      const names = [person, ...(elsewhere === undefined ? [] : [elsewhere])]
      const [row] = await sql.query<ValidityRow>(statement, [
        names.map((name) => `user:${name}`),
        new Date(clock.now()),
        upstream?.issuer ?? null,
        upstream?.sub ?? null,
      ])
      if (row === undefined || row.revoked) return 'revoked'
      if (elsewhere === undefined) return 'stands'
      if ((row.linked ?? elsewhere) !== person) return 'link_over'
      // The library notes a sign-in by the second.
      const isLater =
        signedInAt !== undefined && row.linked_at !== null && +row.linked_at >= +signedInAt + 1_000
      return isLater ? 'link_over' : 'stands'
    },
  }
}

interface ValidityRow {
  readonly revoked: boolean
  readonly linked: string | null
  readonly linked_at: Date | null
}

const statement = `
with link as (select person, linked_at from account_links where issuer = $3 and sub = $4)
select
  exists (
    select from revocations where kind = 'subject' and key = any($1::text[]) and (until is null or until > $2)
  ) as revoked,
  (select person from link) as linked,
  (select linked_at from link) as linked_at`
