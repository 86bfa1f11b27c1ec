import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** A process that stores rows, on a disk that is full while the file is there. */
function store(folder: string) {
  const child = spawn(
    process.execPath,
    ['--import', script('full-disk.ts'), script('full-disk-process.ts'), join(folder, 'data'), folder],
    { env: { ...process.env, DISK_FULL: join(folder, 'full') }, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  return {
    ended: once(child, 'close'),
    of: (word: string): string[] =>
      [...said.matchAll(new RegExp(`^${word}: (.*)\n`, 'gm'))].map(([, rest = '']) => rest),
    kill: () => child.kill('SIGKILL'),
  }
}

test('a full disk is told, ends the process, and loses no row that was acknowledged', {
  timeout: 240_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  const first = store(folder)
  let second: ReturnType<typeof store> | undefined
  try {
    await expect.poll(() => first.of('kept').length, { timeout: 60_000 }).toBeGreaterThan(10)
    await writeFile(join(folder, 'full'), '')
    expect(await first.ended).toEqual([1, null])
    expect(first.of('lost')).toHaveLength(1)
    await rm(join(folder, 'full'))
    second = store(folder)
    await expect.poll(() => second?.of('found').length, { timeout: 60_000 }).toBe(1)
    const kept = first.of('kept')
    const found = second.of('found')[0]?.split(' ') ?? []
    // One may have been committed whose acknowledgement did not arrive; none is there in part.
    expect(found.slice(0, kept.length)).toEqual(kept)
    expect(found.length - kept.length).toBeLessThanOrEqual(1)
    await expect.poll(() => second?.of('kept').length, { timeout: 60_000 }).toBeGreaterThan(0)
  } finally {
    for (const process of [first, second]) process?.kill()
    await Promise.all([first.ended, second?.ended])
    await rm(folder, { recursive: true, force: true })
  }
})
