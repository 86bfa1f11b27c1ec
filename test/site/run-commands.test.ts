import { execFile } from 'node:child_process'
import { cp } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../../scripts/site/pages.ts'
import { freshSettings, listens, type Running, type Settings, startService } from '../e2e/process.ts'
import { programEnv } from '../support/program-env.ts'
import { commandBlocks, runner } from './command-blocks.ts'

// Other tests run beside these, on few cores.
const slow = 300_000
const blocks = commandBlocks().filter(({ runBy }) => runBy === runner)
/** All of them take a minute of processor, so `npm run full` runs them. README's always run. */
const isFull = process.env.PAGE_COMMANDS === '1'
const pages = isFull ? [...new Set(blocks.map(({ page }) => page))] : ['README.md']

let settings: Settings
let service: Running
beforeAll(async () => {
  settings = await freshSettings(undefined)
  service = startService(settings.env)
  await listens(service)
  // What readers have in the folder of the clone.
  for (const name of ['model.fga', 'model.fga.yaml', 'model.allow-list.yaml'])
    await cp(join(root, name), join(dirname(settings.home), name))
}, slow)
afterAll(async () => {
  await service?.[Symbol.asyncDispose]()
  await settings?.[Symbol.asyncDispose]()
})

test.each(pages)(
  '%s: its commands work in the demo, in their order, and print what it shows',
  async (page) => {
    const own = blocks.filter((block) => block.page === page)
    const { stdout } = await promisify(execFile)(
      'bash',
      ['-eo', 'pipefail', '-c', own.map(scriptOf).join('\n')],
      {
        cwd: dirname(settings.home),
        env: { ...settings.env, ...programEnv },
      },
    )
    const missing = own.flatMap(shownBy).filter((one) => !stdout.includes(one))
    expect(missing).toEqual([])
  },
  slow,
)

/** Its commands without what they print, by the programs of this tree. */
function scriptOf({ text }: { readonly text: string }): string {
  const typed = text.includes('$ ') && /^\$ /m.test(text) ? typedIn(text) : text
  return typed
    .replaceAll(/npm run (?:-s )?example --/g, `'${process.execPath}' ${root}examples/run.ts`)
    .replaceAll(/npm run (?:-s )?remit --/g, `'${process.execPath}' ${root}src/cli/main.ts`)
    .replaceAll('http://localhost:8787', settings.url)
}

/** The lines behind a `$`, with those that go on after a backslash. */
const typedIn = (text: string): string =>
  [...text.matchAll(/^\$ ((?:.*\\\n)*.*)$/gm)].map(([, typed = '']) => typed).join('\n')

/** The members of JSON that a block shows whole. */
const shownBy = ({ text }: { readonly text: string }): readonly string[] =>
  text
    .split('\n')
    .filter((line) => /^[ ]?[{"]/.test(line))
    .flatMap((line) => [...line.matchAll(/"\w+":(?:"[^"…\\]*"|\[\])/g)].map(([member]) => member))
