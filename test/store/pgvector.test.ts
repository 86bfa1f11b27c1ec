import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openPostgres } from '../../src/store/postgres.ts'
import { native, needsPostgres } from '../support/native.ts'

describe('pgvector', needsPostgres, () => {
  const name = `remit_test_${randomBytes(6).toString('hex')}`
  const url = new URL(native.databaseUrl ?? 'postgres://localhost')
  const at = (database: string) => Object.assign(new URL(url), { pathname: `/${database}` }).href
  const send = async (database: string, text: string): Promise<void> => {
    const client = new pg.Client({ connectionString: at(database) })
    await client.connect()
    await client.query(text)
    await client.end()
  }
  beforeAll(async () => {
    await send(url.pathname.slice(1), `create database ${name}`)
    await send(name, 'create extension vector')
  })
  afterAll(() => send(url.pathname.slice(1), `drop database if exists ${name} with (force)`))

  // Older ones lose nodes of HNSW at vacuum.
  test.each(['0.7.4', '0.8.3'])('%s is refused at start', async (version) => {
    await send(name, `update pg_extension set extversion = '${version}' where extname = 'vector'`)
    await expect(openPostgres({ url: at(name) })).rejects.toThrow(
      `pgvector ${version} is too old: 0.8.4 or newer is needed.`,
    )
  })

  test('where only a superuser can make it, the start says who has to run what, and then it is taken', async () => {
    const user = `${name}_service`
    const database = `${name}_bare`
    const bare = Object.assign(new URL(at(database)), { username: user, password: 'tests' }).href
    await send(name, `create role ${user} login password 'tests'`)
    await send(name, `create database ${database} owner ${user}`)
    try {
      await expect(openPostgres({ url: bare })).rejects.toMatchObject({
        name: 'OperatorError',
        message: expect.stringMatching(
          /^DATABASE_URL: permission denied .*run `create extension vector` in this/,
        ),
      })
      await send(database, 'create extension vector')
      await (await openPostgres({ url: bare })).close()
    } finally {
      await send(name, `drop database ${database} with (force)`)
      await send(name, `drop role ${user}`)
    }
  })

  test.each(['0.8.4', '0.10.0', '1.0.0'])('%s is taken', async (version) => {
    await send(name, `update pg_extension set extversion = '${version}' where extname = 'vector'`)
    const database = await openPostgres({ url: at(name) })
    expect(await database.query('select 1 as one')).toEqual([{ one: 1 }])
    await database.close()
  })
})
