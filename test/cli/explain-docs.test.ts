import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadSample } from '../../src/sample/load.ts'
import { seedSample } from '../../src/sample/seed.ts'
import { openWorld, type World } from '../support/world.ts'
import { runRemit } from './remit.ts'

const root = new URL('../../', import.meta.url)
const page = await readFile(new URL('docs/explain.md', root), 'utf8')
/** Each command that the page shows, with what it says that it prints. */
const shown = [...page.matchAll(/```console\n\$ npm run -s remit -- (.*)\n([\s\S]*?)```/g)].map(
  ([, command = '', printed = '']) => ({ command, printed }),
)

// The sample's ends are counted from its first start: when the page was written.
const start = Date.parse('2026-11-24T22:46:52Z') - performance.now()
const now = (): number => Math.floor(start + performance.now())

let world: World
let lent: string | undefined
beforeAll(async () => {
  world = await openWorld({ embedder: null, now })
  const sample = await loadSample(new URL('sample', root).pathname, new Date(now()))
  const { service, database } = world
  await seedSample(sample, { ...service, database, issuer: service.ownIssuer })
  await service.index.catchUp()
  const live = await service.delegations.listLive()
  lent = live.find(({ subject, agent }) => subject === 'user:ida' && agent === 'research-bot')?.id
}, 180_000)
afterAll(() => world?.[Symbol.asyncDispose]())

test('the page shows all that there is to ask', () => {
  expect(shown.map(({ command }) => command.split(' ')[0])).toEqual([
    'explain',
    'explain',
    'explain',
    'explain',
    'who-can',
    'who-can',
  ])
})

test.each(shown)('$command prints what docs/explain.md says', async ({ command, printed }) => {
  const argv = command.replace(/(?<= )d_\w+/, lent ?? '').split(' ')
  const { printed: out } = await runRemit(world, [...argv, '--as', 'lena'])
  expect(sameTimes(out)).toMatch(patternOf(sameTimes(printed)))
})

/** When something was written is of each run's own; whether something ended is not. */
const sameTimes = (text: string): string =>
  text.replaceAll(/(written|until|ended) \d{4}-\d\d-\d\dT[\d:.]+Z/g, '$1 TIME').trimEnd()

/** Everything, with any number of lines where the page says `…`. */
const patternOf = (text: string): RegExp =>
  new RegExp(
    `^${text
      .split('\n')
      .map((line) => (line.trim().startsWith('…') ? '(?:.*\\n)*.*' : escaped(line)))
      .join('\n')}$`,
  )

const escaped = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')
