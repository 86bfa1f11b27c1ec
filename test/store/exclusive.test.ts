import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { lockDatabase } from '../../src/store/exclusive.ts'
import { native, needsPostgres } from '../support/native.ts'

describe('the embedded engine on native Postgres', needsPostgres, () => {
  const url = native.databaseUrl ?? ''

  test('is used by one process at a time', async () => {
    await using first = await lockDatabase(url)
    await expect(lockDatabase(url)).rejects.toThrow('Another process')
    expect(await first.hold()).toEqual({ renewed: false })
  })

  test('is free again once that process is gone', async () => {
    const first = await lockDatabase(url)
    await first[Symbol.asyncDispose]()
    await using second = await lockDatabase(url)
    expect(await second.hold()).toEqual({ renewed: false })
  })

  test('says that it was lost and won back, and refuses where another has it by then', async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    const holders = `from pg_locks where locktype = 'advisory' and objid = 7364837 and pid <> pg_backend_pid()`
    const lose = async () => {
      await client.query(`select pg_terminate_backend(pid) ${holders}`)
      await expect.poll(async () => (await client.query(`select pid ${holders}`)).rows).toEqual([])
    }
    await using first = await lockDatabase(url)
    await lose()
    // It hears of that a moment later.
    await expect.poll(() => first.hold()).toEqual({ renewed: true })
    await lose()
    await using second = await lockDatabase(url)
    const refusal = () => first.hold().catch((error: unknown) => error)
    await expect.poll(refusal).toMatchObject({ code: 'authorization_unavailable' })
    expect(await second.hold()).toEqual({ renewed: false })
    await client.end()
  })
})
