import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FolderLockedError, lockFolder } from '../../src/store/lock.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'remit-test-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

/** Another process that holds the folder until it is killed. */
async function holder(dir: string): Promise<ChildProcess> {
  const lock = new URL('../../src/store/lock.ts', import.meta.url).href
  const code = `const { lockFolder } = await import(${JSON.stringify(lock)})
    globalThis.held = await lockFolder(${JSON.stringify(dir)})
    process.stdout.write('held')
    setInterval(() => undefined, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (child.stdout === null) throw new Error('no output')
  await once(child.stdout, 'data')
  return child
}

test('a folder has one holder at a time, and is 0700', async () => {
  const dir = join(root, 'one')
  {
    await using _first = await lockFolder(dir)
    await expect(lockFolder(dir)).rejects.toBeInstanceOf(FolderLockedError)
    expect((await stat(dir)).mode & 0o777).toBe(0o700)
  }
  await using _second = await lockFolder(dir)
})

test('another process is kept out, and kill -9 leaves no stale lock', async () => {
  const dir = join(root, 'killed')
  const child = await holder(dir)
  await expect(lockFolder(dir)).rejects.toBeInstanceOf(FolderLockedError)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await using lock = await lockFolder(dir)
  expect(lock).toBeDefined()
})

test('of many takers at once after a crash exactly one wins', async () => {
  const dir = join(root, 'race')
  const child = await holder(dir)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const takers = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(dir)))
  const winners = takers.filter((taker) => taker.status === 'fulfilled')
  expect(winners).toHaveLength(1)
  await winners[0]?.value[Symbol.asyncDispose]()
})
