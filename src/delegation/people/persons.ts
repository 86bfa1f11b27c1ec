import type { Sql } from '../../store/sql.ts'
import { accountKey, subjectKey, subjectOf } from '../registry/subject.ts'
import type { ExternalAccount } from './links.ts'
import { isLocal } from './people.ts'

/** Which names, `user:…`, are one human: a local account and every account elsewhere that is linked to it. */
export interface Persons {
  /**
   * All names of whoever has this one, itself among them. `since`: by links too that ended at that time or
   * later, from whichever to whichever. None of an account at an issuer that is not trusted: nobody can come
   * by it.
   */
  namesOf(sql: Sql, subject: string, options?: { readonly since?: Date }): Promise<ReadonlySet<string>>
  /** The account elsewhere that a name is; undefined: a local one's, or of an issuer that is not trusted. */
  accountOf(sql: Sql, subject: string): Promise<ExternalAccount | undefined>
  /** Key of the local account that this name is linked to, if any. */
  linkedTo(sql: Sql, subject: string): Promise<string | undefined>
}

interface LinkRow extends ExternalAccount {
  readonly person: string
}

/** Reads every name that one person has, here and at trusted issuers. */
export function createPersons({
  trustedIssuers,
}: {
  readonly trustedIssuers: readonly { readonly issuer: string; readonly namespace: string }[]
}): Persons {
  const namespaces = new Map(trustedIssuers.map(({ issuer, namespace }) => [issuer, namespace]))
  const issuers = new Map(trustedIssuers.map(({ issuer, namespace }) => [namespace, issuer]))

  // A long `sub` has become a digest and is found among the links by that.
  async function accountOf(sql: Sql, subject: string): Promise<ExternalAccount | undefined> {
    const [namespace = '', key] = subject.slice('user:'.length).split('/')
    const issuer = issuers.get(namespace)
    if (key === undefined || issuer === undefined) return undefined
    const sub = subjectOf(key)
    if (sub !== undefined) return { issuer, sub }
    const rows = await sql.query<ExternalAccount>(
      `select issuer, sub from account_links where issuer = $1 union
       select issuer, sub from account_links_ended where issuer = $1`,
      [issuer],
    )
    return rows.find((row) => key === subjectKey(row.sub))
  }

  const nameOf = ({ issuer, sub }: ExternalAccount): string | undefined => {
    const namespace = namespaces.get(issuer)
    const key = namespace === undefined ? undefined : accountKey(namespace, sub, undefined)
    return key === undefined ? undefined : `user:${key}`
  }

  return {
    accountOf,
    async namesOf(sql, subject, { since: linkedSince } = {}) {
      const account = await accountOf(sql, subject)
      if (account === undefined && !isLocal(subject)) return new Set()
      const people = new Set<string>(account === undefined ? [subject.slice('user:'.length)] : [])
      const accounts = new Map<string, ExternalAccount>(
        account === undefined ? [] : [[JSON.stringify(account), account]],
      )
      for (let knownCount = 0; knownCount < people.size + accounts.size; ) {
        knownCount = people.size + accounts.size
        for (const { person, issuer, sub } of await linksOf(
          sql,
          people,
          [...accounts.values()],
          linkedSince,
        )) {
          people.add(person)
          accounts.set(JSON.stringify({ issuer, sub }), { issuer, sub })
        }
      }
      const names = [...accounts.values()].flatMap((knownAccount) => nameOf(knownAccount) ?? [])
      return new Set([subject, ...Array.from(people, (key) => `user:${key}`), ...names])
    },
    async linkedTo(sql, subject) {
      const account = await accountOf(sql, subject)
      if (account === undefined) return undefined
      const [link] = await linksOf(sql, new Set(), [account], undefined)
      return link?.person
    },
  }
}

function linksOf(
  sql: Sql,
  people: ReadonlySet<string>,
  accounts: readonly ExternalAccount[],
  linkedSince: Date | undefined,
): Promise<LinkRow[]> {
  return sql.query<LinkRow>(
    `with accounts as (select * from unnest($2::text[], $3::text[]) as a (issuer, sub))
     select issuer, sub, person from account_links where person = any($1::text[])
     union select issuer, sub, person from account_links join accounts using (issuer, sub)
     union select issuer, sub, person from account_links_ended where person = any($1::text[]) and ended_at >= $4
     union select issuer, sub, person from account_links_ended join accounts using (issuer, sub) where ended_at >= $4`,
    [[...people], accounts.map(({ issuer }) => issuer), accounts.map(({ sub }) => sub), linkedSince ?? null],
  )
}
