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

test('each command that gives the record its owner runs the file of the clone', () => {
  const commands = commandBlocks().flatMap(({ text }) => text.replaceAll(/\\\n\s*/g, '').split('\n'))
  const owner = commands.filter((line) => line.includes('record-owner.sql'))
  expect(owner.length).toBeGreaterThan(4)
  // The container of Postgres may still hold that of an earlier version.
  const wrong = owner.filter((line) => !/psql .*(?:<|-f|--file) docker\/record-owner\.sql/.test(line))
  expect(wrong).toEqual([])
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
