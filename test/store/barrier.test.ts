import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { openSnapshots, openWriteBarrier, runStatements } from '../../src/store/barrier.ts'
import { needsPostgresProgram, type OwnPostgres, startPostgres } from '../support/postgres.ts'

const times = { waitMs: 500, holdMs: 2_000 }

describe('the barrier of backups', { ...needsPostgresProgram, timeout: 30_000 }, () => {
  let server: OwnPostgres
  let other: OwnPostgres
  beforeAll(async () => {
    server = await startPostgres()
    other = await startPostgres()
  }, 60_000)
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]()
    await other?.[Symbol.asyncDispose]()
  })

  test('tells whoever writes that it was lost meanwhile: a backup may hold half of what they wrote', async () => {
    await using barrier = openWriteBarrier(server.url)
    const write = barrier.pass(async () => {
      const ended = await runStatements(
        server.url,
        `select pg_terminate_backend(pid) as ended from pg_locks where locktype = 'advisory' and mode = 'ShareLock'`,
      )
      expect(ended).toEqual([{ ended: true }])
    })
    await expect(write).rejects.toMatchObject({ code: 'authorization_unavailable', status: 503 })
    expect(await barrier.pass(async () => 'written')).toBe('written')
  })

  test('is held for as long as a write takes, whatever ends transactions of the role sooner', async () => {
    await using barrier = openWriteBarrier(`${server.url}?options=-ctransaction_timeout%3D200`)
    const write = async () => {
      await new Promise((resolve) => setTimeout(resolve, 600))
      return 'written'
    }
    expect(await barrier.pass(write)).toBe('written')
  })

  test('holds nobody on another server: where the primary changes just then, nothing is backed up', async () => {
    const ports = [other, server, server].map(({ url }) => Number(new URL(url).port))
    const balancer = createServer((here) => {
      const there = connect(ports.shift() ?? 0, '127.0.0.1')
      here.pipe(there).pipe(here)
      for (const socket of [here, there]) socket.on('error', () => undefined)
    })
    onTestFinished(() => void balancer.close())
    await once(balancer.listen(0, '127.0.0.1'), 'listening')
    const { port } = balancer.address() as AddressInfo
    const databaseUrl = `postgres://postgres@127.0.0.1:${port}/postgres`
    await expect(openSnapshots({ databaseUrl, openfgaUrl: undefined, ...times })).rejects.toThrow(
      /on another server/,
    )
    // And where it does not change it is held.
    await using _ = await openSnapshots({ databaseUrl: server.url, openfgaUrl: other.url, ...times })
  })

  test('opens no standby for OpenFGA: what that holds is older', async () => {
    const [found] = await runStatements(other.url, 'show data_directory')
    await writeFile(join(String(found?.['data_directory']), 'standby.signal'), '')
    other.signal('SIGKILL')
    await other.startAgain()
    expect(await runStatements(other.url, 'select pg_is_in_recovery() as is')).toEqual([{ is: true }])
    const opening = openSnapshots({ databaseUrl: server.url, openfgaUrl: other.url, ...times })
    await expect(opening).rejects.toThrow(/names a standby/)
  })
})
