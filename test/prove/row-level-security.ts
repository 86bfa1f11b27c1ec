import { randomBytes } from 'node:crypto'
import pg from 'pg'
import type { Adapter, Answer } from '../../packages/prove/src/adapter.ts'
import { administer } from '../support/administer.ts'
import { personOf } from './small.ts'

export interface RowLevelSecurityOptions {
  /** A superuser's, of a server where a database may be made. */
  readonly url: string
  /** So many are taken from the search, and filtered then. Left out: Postgres' own policy filters. */
  readonly filteredAfter?: number
}

const schema = `
  create table documents (
    id text primary key,
    text text not null,
    words tsvector generated always as (to_tsvector('simple', text)) stored
  );
  create index on documents using gin (words);
  create table readers (document text references documents on delete cascade, person text, primary key (document, person));
  alter table documents enable row level security;
  create policy reads on documents for select using (
    exists (select from readers where document = id and person = current_setting('app.person'))
  );
  grant usage on schema public to ASKER;
  grant select on documents, readers to ASKER;`

/**
 * What many build first: documents in Postgres with a policy on their rows, and its own search by words.
 */
export async function openRowLevelSecurity(
  options: RowLevelSecurityOptions,
): Promise<Adapter & AsyncDisposable> {
  const { url, filteredAfter } = options
  await using stack = new AsyncDisposableStack()
  const name = `remit_test_${randomBytes(6).toString('hex')}`
  await administer(url, `create database ${name}`)
  stack.defer(() => administer(url, `drop database if exists ${name} with (force)`))
  await administer(url, `create role ${name} nologin`)
  stack.defer(() => administer(url, `drop role ${name}`))
  const own = Object.assign(new URL(url), { pathname: `/${name}` }).href
  const pool = new pg.Pool({ connectionString: own, max: 8 })
  stack.defer(() => administer(own, `drop owned by ${name}`))
  stack.defer(() => pool.end())
  await pool.query(schema.replaceAll('ASKER', name))

  async function as(token: string, text: string, values: readonly unknown[]): Promise<Answer> {
    const person = personOf(token)
    if (person === undefined) return { status: 401, bytes: 2, raw: '{}', passages: [] }
    const client = await pool.connect()
    try {
      await client.query('begin')
      // Of whoever filters afterwards, the search sees all.
      if (filteredAfter === undefined) await client.query(`set local role ${name}`)
      await client.query(`select set_config('app.person', $1, true)`, [person])
      const { rows } = await client.query<{ id: string; text: string }>(text, [...values])
      const kept = filteredAfter === undefined ? rows : await readableOf(client, person, rows)
      const passages = kept.map((row) => ({ id: row.id, document: row.id, text: row.text }))
      const raw = JSON.stringify({ passages })
      return { status: 200, bytes: raw.length, raw, passages }
    } finally {
      await client.query('rollback')
      client.release()
    }
  }

  const write = async (id: string, readers: readonly string[], text?: string): Promise<void> => {
    const client = await pool.connect()
    try {
      await client.query('begin')
      if (text !== undefined)
        await client.query(
          'insert into documents (id, text) values ($1, $2) on conflict (id) do update set text = excluded.text',
          [id, text],
        )
      await client.query('delete from readers where document = $1', [id])
      await client.query('insert into readers select $1, unnest($2::text[])', [id, readers])
      await client.query('commit')
    } finally {
      client.release()
    }
  }

  const owned = stack.move()
  return {
    name: filteredAfter === undefined ? 'row-level security' : 'a filter after the search',
    retrieve: ({ token, query, k }) =>
      k < 0
        ? Promise.resolve({ status: 422, bytes: 2, raw: '{}', passages: [] })
        : as(
            token,
            `select id, text from documents, plainto_tsquery('simple', $1) asked where words @@ asked
             order by ts_rank(words, asked) desc, id limit $2`,
            [query, Math.min(k, filteredAfter ?? k)],
          ),
    read: ({ token, document }) => as(token, 'select id, text from documents where id = $1', [document]),
    canary: {
      put: ({ id, text, readers }) => write(id, readers, text),
      setReaders: (id, readers) => write(id, readers),
      remove: async (id) => void (await pool.query('delete from documents where id = $1', [id])),
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function readableOf<Row extends { readonly id: string }>(
  client: pg.PoolClient,
  person: string,
  rows: readonly Row[],
): Promise<readonly Row[]> {
  const { rows: readable } = await client.query<{ document: string }>(
    'select document from readers where person = $1 and document = any($2)',
    [person, rows.map(({ id }) => id)],
  )
  const ids = new Set(readable.map(({ document }) => document))
  return rows.filter(({ id }) => ids.has(id))
}
