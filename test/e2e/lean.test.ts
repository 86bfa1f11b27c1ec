import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const runFile = promisify(execFile)
const service = '--import ./packages/console/prepare.ts src/main.ts'

/** What a program prints that `npm start` runs in place of the service. */
async function underNpmStart(program: string): Promise<string> {
  const { scripts } = JSON.parse(await readFile('package.json', 'utf8')) as {
    readonly scripts: { readonly start: string }
  }
  expect(scripts.start).toContain(service)
  const { stdout } = await runFile('sh', ['-c', scripts.start.replace(service, '--print "$PROGRAM"')], {
    env: { ...process.env, PROGRAM: program },
  })
  return stdout.trim()
}

test('npm start holds at most 12 MB for a thread’s young objects, however many are made', async () => {
  const megabytes = await underNpmStart(`
    let kept = []
    for (let made = 0; made < 3e6; made++) {
      kept.push({ made })
      if (kept.length > 3e5) kept = []
    }
    const spaces = require('node:v8').getHeapSpaceStatistics()
    spaces.find((space) => space.space_name === 'new_space').physical_space_size / 2 ** 20
  `)
  expect(Number(megabytes)).toBeGreaterThan(0)
  expect(Number(megabytes)).toBeLessThan(12)
})

test('npm start keeps what it compiled in node_modules, where whoever can write can change the code itself', async () => {
  const folder = await underNpmStart(`require('node:module').getCompileCacheDir()`)
  expect(folder.startsWith(resolve('node_modules', '.cache', 'remit'))).toBe(true)
})
