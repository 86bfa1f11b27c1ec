import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runRemit } from '../cli/remit.ts'
import { commandBlocks } from '../site/command-blocks.ts'
import { openWorld, type World } from '../support/world.ts'

let world: World
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-overloaded-'))
  world = await openWorld()
  await world.put({ plan: { text: 'Otters build.', access: { viewers: ['user:anne', 'user:bob'] } } })
  await world.service.administrators.add('user:dan', ['security.read'])
  await world.lend('anne', 'research-bot', 'collection:handbook')
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

/** Runs the command of docs/runbooks.md, with another last pattern where one is given. */
async function mostAnswered(pattern?: string): Promise<readonly (readonly [count: number, who: string])[]> {
  const shown = commandBlocks().find(({ page, text }) => page === 'docs/runbooks.md' && text.includes('uniq'))
  const [asked = '', ...piped] = shown?.text.split(' |\n') ?? []
  const [, args = ''] = /^npm run -s remit -- (audit list .*)$/.exec(asked) ?? []
  // The time of the page is one that was.
  const since = args.replace(/(?<=--since )\S+/, new Date(Date.now() - 600_000).toISOString())
  const { code, out } = await runRemit(world, [...since.split(' '), '--as', 'dan'])
  expect(code).toBe(0)
  const file = join(folder, 'record.ndjson')
  await writeFile(file, out)
  const script = piped.join(' |\n')
  const changed = pattern === undefined ? script : script.replace(/(?<=grep -oE )'[^']*'/, pattern)
  const { stdout } = await promisify(execFile)('bash', [
    '-eo',
    'pipefail',
    '-c',
    `cat '${file}' | ${changed}`,
  ])
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => [Number.parseInt(line, 10), line.trim().replace(/^\d+ /, '')])
}

test('the command of docs/runbooks.md says who was answered most, and the page’s other patterns by which agent and client', async () => {
  const asAgent = await world.token({ user: 'anne', agent: 'research-bot' })
  for (let n = 0; n < 3; n += 1) await world.retrieve(asAgent, { query: 'otters' })
  await world.call('GET', '/documents/plan', { token: asAgent })
  const asBob = await world.token({ user: 'bob' })
  await world.retrieve(asBob, { query: 'otters' })
  await world.call('GET', '/collections', { token: asBob })
  const found = await mostAnswered()
  expect(found).toEqual([
    [4, expect.stringMatching(/^"subject":"user:anne","actors":\["agent:research-bot"\],"client":"[^"]+"$/)],
    [2, expect.stringMatching(/^"subject":"user:bob","actors":\[\],"client":"[^"]+"$/)],
  ])
  expect(await mostAnswered(`'"actors":\\[[^]]*\\]'`)).toEqual([
    [4, '"actors":["agent:research-bot"]'],
    [2, '"actors":[]'],
  ])
  expect(await mostAnswered(`'"client":"[^"]*"'`)).toEqual(
    found.map(([count, who]) => [count, /"client":.*$/.exec(who)?.[0]]),
  )
})
