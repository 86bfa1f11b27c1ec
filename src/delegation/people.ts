import { AppError } from '../kernel/errors.ts'
import type { Sql } from '../store/sql.ts'
import { isKey } from './subject.ts'

/** A local account: `key` stands after `user:`. */
export interface Person {
  readonly key: string
  readonly name: string
}

export interface People {
  save(person: Person): Promise<void>
  has(key: string): Promise<boolean>
  list(): Promise<Person[]>
}

/** Local accounts. People of trusted issuers are known by their tokens and have no row. */
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
    async has(key) {
      return (await sql.query('select 1 from people where key = $1', [key])).length > 0
    },
    async list() {
      return sql.query<{ key: string; name: string }>('select key, name from people order by key')
    },
  }
}
