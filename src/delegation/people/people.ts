import { AppError } from '../../kernel/errors.ts'
import { countRows, readRows, type Sql } from '../../store/sql.ts'
import { isKey } from '../registry/subject.ts'
import { type ExternalAccount, upstreamAccount } from './links.ts'

/** Somebody who can sign in here; `key` stands after `user:`. */
export interface Person {
  /** `anne` for a local account, `namespace/key` for who signs in through a trusted issuer. */
  readonly key: string
  readonly name: string
}

interface KnownPerson extends Person {
  readonly upstream: ExternalAccount | undefined
}

/** Accounts of people by their keys. */
export interface People {
  /** Adds a local account, or changes its name. */
  save(person: Person): Promise<void>
  /**
   * Notes who signed in through a trusted issuer, by `namespace/key`. False where that key belongs to another
   * account: a namespace that was given to another issuer must not hand over its people.
   */
  arrive(person: Person, account: ExternalAccount): Promise<boolean>
  has(key: string): Promise<boolean>
  get(key: string): Promise<KnownPerson | undefined>
  /** Local accounts. */
  list(): Promise<Person[]>
}

/** Whether an account key is one of our own, which alone have passwords, passkeys and links. */
export const isLocal = (key: string): boolean => !key.includes('/')

/** Local accounts, and people who signed in through a trusted issuer. Others of those issuers have no row. */
export function createPeople({ sql }: { readonly sql: Sql }): People {
  return {
    async save({ key, name }) {
      if (!isKey(key))
        throw new AppError('invalid_request', { field: 'key', public: 'The account key is not valid.' })
      await sql.query(
        'insert into people (key, name) values ($1, $2) on conflict (key) do update set name = excluded.name',
        [key, name],
      )
    },
    async arrive({ key, name }, { issuer, sub }) {
      const count = await countRows(
        sql,
        `insert into people (key, name, upstream_issuer, upstream_sub) values ($1, $2, $3, $4)
         on conflict (key) do update set name = excluded.name
           where people.upstream_issuer = excluded.upstream_issuer and people.upstream_sub = excluded.upstream_sub
         returning key`,
        [key, name, issuer, sub],
      )
      return count > 0
    },
    async get(key) {
      const text = `select key, name, ${upstreamAccount} as upstream from people where key = $1`
      return (await readRows<KnownPerson>(sql, text, [key]))[0]
    },
    has: async (key) => (await countRows(sql, 'select 1 from people where key = $1', [key])) > 0,
    list: () => sql.query<Person>('select key, name from people where upstream_issuer is null order by key'),
  }
}
