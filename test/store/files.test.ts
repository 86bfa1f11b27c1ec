import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openPglite } from '../../src/store/pglite.ts'
import { loadSecret } from '../../src/store/secret.ts'
import { socketPath } from '../../src/store/socket.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'remit-test-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777

describe('a secret', () => {
  test('is 32 random bytes in a file that only its owner reads, in a folder that only its owner enters', async () => {
    const home = join(dir, 'keys')
    const secret = await loadSecret(home, 'digest.key')
    expect(secret).toHaveLength(32)
    expect(await modeOf(join(home, 'digest.key'))).toBe(0o600)
    expect(await modeOf(home)).toBe(0o700)
    expect(await readdir(home)).toEqual(['digest.key'])
  })

  test('stays the same from start to start, and differs by name', async () => {
    const first = await loadSecret(dir, 'a.key')
    expect(await loadSecret(dir, 'a.key')).toEqual(first)
    expect(await loadSecret(dir, 'b.key')).not.toEqual(first)
  })

  test('is one, however many make it at the same time', async () => {
    const secrets = await Promise.all(Array.from({ length: 8 }, () => loadSecret(dir, 'a.key')))
    expect(new Set(secrets.map((secret) => Buffer.from(secret).toString('hex'))).size).toBe(1)
    expect(await readdir(dir)).toEqual(['a.key'])
  })

  test('that was damaged is refused, not replaced: all that was made under it would be orphaned', async () => {
    await writeFile(join(dir, 'a.key'), 'short')
    await expect(loadSecret(dir, 'a.key')).rejects.toThrow('does not hold 32 bytes')
  })

  test('closes a folder that was open to others', async () => {
    const open = join(dir, 'open')
    await mkdir(open, { mode: 0o755 })
    await loadSecret(open, 'a.key')
    expect(await modeOf(open)).toBe(0o700)
  })
})

describe('a socket path', () => {
  test('is inside the folder, which it closes to others, where it is short enough', async () => {
    const socket = await socketPath(dir, 'admin.sock')
    expect(socket.path).toBe(join(dir, 'admin.sock'))
    expect(await modeOf(dir)).toBe(0o700)
  })

  test('of over 100 bytes moves to a fresh closed folder under the temporary one, and goes with it', async () => {
    // 100 characters, but 101 bytes.
    const deep = join(dir, 'd'.repeat(101 - join(dir, 'd/ß').length))
    expect((await socketPath(deep, 's')).path).toBe(join(deep, 's'))
    const socket = await socketPath(deep, 'ß')
    const folder = dirname(socket.path)
    expect(Buffer.byteLength(socket.path)).toBeLessThanOrEqual(100)
    expect(dirname(folder)).toBe(tmpdir())
    expect(await modeOf(folder)).toBe(0o700)
    await socket.remove()
    await expect(stat(folder)).rejects.toThrow('ENOENT')
    expect((await stat(deep)).isDirectory()).toBe(true)
  })

  test('takes away what a crash left there', async () => {
    await writeFile(join(dir, 'admin.sock'), '')
    const socket = await socketPath(dir, 'admin.sock')
    await expect(stat(socket.path)).rejects.toThrow('ENOENT')
  })

  test('carries a whole database in a folder that is too deep for a socket', async () => {
    const deep = join(dir, 'd'.repeat(90))
    await using database = await openPglite({ socketDir: deep })
    expect(await database.query('select 1 as n')).toEqual([{ n: 1 }])
  })
})
