import type { Clock } from '../../kernel/clock.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Sql } from '../../store/sql.ts'
import { accountKey } from '../registry/subject.ts'
import type { ExternalAccount } from './links.ts'

/**
 * `link_over`: the account elsewhere is not this person, or not any more. `proof_over`: the password was
 * changed since, or the passkey removed.
 */
export type SignInVerdict = 'stands' | 'revoked' | 'link_over' | 'proof_over'

/** What was shown here: a password, by the milliseconds at which it was set, or a passkey, by its id. */
export type Proof = { readonly password: number } | { readonly passkey: string }

/** On what a sign-in stands. It may end while the sign-in, or what comes of it, is under way. */
export interface SignInBasis {
  /** Who they are at the trusted issuer through which they came. */
  readonly upstream: ExternalAccount | undefined
  /** Undefined: they showed nothing here. */
  readonly proof: Proof | undefined
}

/** The sign-in to judge. */
export interface SignInReference extends Partial<SignInBasis> {
  readonly person: string
  /** When they signed in; a link that was made since is another one. Left out: now. */
  readonly at?: Date
}

/** Judges sign-ins, in the caller's transaction where it has one. */
export interface SignInValidity {
  /**
   * Whether a sign-in counts now: nobody of either name is revoked, the account elsewhere is this person, and
   * what they showed is theirs still.
   */
  of(signIn: SignInReference, sql: Sql): Promise<SignInVerdict>
  /**
   * The same for what is begun by it in this transaction: whoever ends the link, the password or the passkey
   * now waits for it, and then finds what was begun; what was ended by then is seen.
   *
   * @throws AppError 403 where it does not count.
   */
  assertWithin(sql: Sql, signIn: SignInReference): Promise<void>
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
  const of: SignInValidity['of'] = async ({ person, upstream, proof, at: signedInAt }, sql) => {
    const elsewhere = upstream && upstreamPerson(upstream)
    if (upstream !== undefined && elsewhere === undefined) return 'link_over'
    const names = [person, ...(elsewhere === undefined ? [] : [elsewhere])]
    const [row] = await sql.query<ValidityRow>(statement, [
      names.map((name) => `user:${name}`),
      new Date(clock.now()),
      upstream?.issuer ?? null,
      upstream?.sub ?? null,
      person,
      proof !== undefined && 'password' in proof ? new Date(proof.password) : null,
      proof !== undefined && 'passkey' in proof ? proof.passkey : null,
    ])
    if (row === undefined || row.revoked) return 'revoked'
    if (row.proof_over) return 'proof_over'
    if (elsewhere === undefined) return 'stands'
    if ((row.linked ?? elsewhere) !== person) return 'link_over'
    // The library notes a sign-in by the second.
    const isLater =
      signedInAt !== undefined && row.linked_at !== null && +row.linked_at >= +signedInAt + 1_000
    return isLater ? 'link_over' : 'stands'
  }
  return {
    upstreamPerson,
    of,
    async assertWithin(sql, signIn) {
      const { person, upstream, proof } = signIn
      if (upstream !== undefined)
        await sql.query('select from account_links where issuer = $1 and sub = $2 for share', [
          upstream.issuer,
          upstream.sub,
        ])
      if (proof !== undefined && 'password' in proof)
        await sql.query('select from passwords where person = $1 for share', [person])
      if (proof !== undefined && 'passkey' in proof)
        await sql.query('select from passkeys where id = $1 for share', [proof.passkey])
      if ((await of(signIn, sql)) !== 'stands') throw new AppError('forbidden')
    },
  }
}

interface ValidityRow {
  readonly revoked: boolean
  readonly proof_over: boolean
  readonly linked: string | null
  readonly linked_at: Date | null
}

const statement = `
with link as (select person, linked_at from account_links where issuer = $3 and sub = $4)
select
  exists (
    select from revocations where kind = 'subject' and key = any($1::text[]) and (until is null or until > $2)
  ) as revoked,
  ($6::timestamptz is not null and not exists (
    select from passwords where person = $5 and date_trunc('milliseconds', changed_at) = $6))
  or ($7::text is not null and not exists (select from passkeys where id = $7 and person = $5)) as proof_over,
  (select person from link) as linked,
  (select linked_at from link) as linked_at`
