import { expect, test } from 'vitest'
import { pagePaths, readPage } from '../../scripts/site/pages.ts'
import { blocksOf, commandBlocks, problemOf } from './command-blocks.ts'

test('every block of commands on a page is run by a test that reads the page, or says why it is not', () => {
  const blocks = commandBlocks()
  expect(blocks.length).toBeGreaterThan(100)
  expect(blocks.map(problemOf).filter((problem) => problem !== undefined)).toEqual([])
})

test('no page has npx take a program’s flag for its own', () => {
  const eaten = pagePaths().filter((path) => /npx --no [\w-]+ -/.test(readPage(path)))
  expect(eaten).toEqual([])
})

test('a block without such a line, and one that names a test which does not read the page, are told', () => {
  const told = (text: string) => blocksOf('docs/audit.md', text).map(problemOf)
  const block = '```sh\nnpm start\n```'
  const none = expect.stringContaining('docs/audit.md:1 has commands without')
  expect(told(block)).toEqual([none])
  expect(told('    npm run -s remit -- login\n')).toEqual([none])
  expect(told('    TOKEN=$(npm run -s remit -- token)\n')).toEqual([none])
  expect(told(`<!-- not run: it waits -->\n${block}`)).toEqual([undefined])
  expect(told(`<!-- run: test/none.test.ts -->\n${block}`)).toEqual([expect.stringContaining('is not there')])
  expect(told(`<!-- run: test/cli/lock.test.ts -->\n${block}`)).toEqual([
    expect.stringContaining('test/cli/lock.test.ts, which does not read audit.md'),
  ])
  expect(told('```json\n{}\n```\n\n```\n  agent ── token ──▶ POST\n```')).toEqual([])
})
