import { globSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { errorCodes } from '@remit/contract/errors'
import { eventNames } from '@remit/contract/events'
import { describe, expect, test } from 'vitest'
import { envExample } from '../scripts/env-example.ts'

const root = new URL('../', import.meta.url)
const text = (path: string): string => readFileSync(new URL(path, root), 'utf8')
const codes = Object.keys(errorCodes).sort()

describe('docs/errors', () => {
  test('has a page for every code, and no page without a code', () => {
    const pages = readdirSync(new URL('docs/errors/', root)).filter((name) => name !== 'README.md')
    expect(pages.sort()).toEqual(codes.map((code) => `${code}.md`))
  })

  test.each(Object.entries(errorCodes))(
    '%s.md names its code, status and title',
    (code, { status, title }) => {
      expect(text(`docs/errors/${code}.md`)).toMatch(`# ${code}\n\n**${status}** · ${title}\n`)
    },
  )

  test.each(codes)('%s.md says what it means, what the caller can do, and what it does not tell', (code) => {
    const headings = [...text(`docs/errors/${code}.md`).matchAll(/^## (.*)$/gm)].map(([, heading]) => heading)
    expect(headings).toEqual(['What it means', 'What you can do', 'What it does not tell'])
  })
})

test('docs/incident.md shows small pictures', () => {
  const page = new URL('docs/incident.md', root)
  const pictures = [...text('docs/incident.md').matchAll(/\]\(([^)#:]+\.png)\)/g)].map(([, to]) => to ?? '')
  expect(pictures.length).toBeGreaterThan(2)
  expect(pictures.filter((to) => readFileSync(new URL(to, page)).length > 150_000)).toEqual([])
})

test('a command at the head of an example can be copied: all of its lines stand in from the text', () => {
  const files = globSync('examples/**/*.ts', { cwd: fileURLToPath(root) })
  const lost = files.flatMap((file) =>
    [...text(file).matchAll(/^ \* ((?:npm |--|[A-Z]+=).*)$/gm)].map(([, line]) => [file, line]),
  )
  expect(files.length).toBeGreaterThan(20)
  expect(lost).toEqual([])
})

test('docs/client-options.md shows every option of the client’s functions', () => {
  const sources = globSync('packages/client/src/{service,tokens,tools,writer}/*.ts', {
    cwd: fileURLToPath(root),
  })
  const shown = text('docs/client-options.md')
  const interfaces = sources.flatMap((file) => [
    ...text(file).matchAll(/^export interface (\w+Options|ClientProof|Person)\b[^{]*\{\n(.*?)^\}/gms),
  ])
  const options = interfaces.flatMap(([, of = '', members = '']) =>
    [...members.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, name = '']) => [of, name]),
  )
  expect(options.length).toBeGreaterThan(40)
  expect(options.filter(([, name]) => !new RegExp(`\\b${name}\\b`).test(shown))).toEqual([])
})

test('README.md stays under 600 words', () => {
  // Comments are for the tests.
  const read = text('README.md').replaceAll(/<!--.*?-->/g, '')
  expect(read.split(/\s+/).length).toBeLessThanOrEqual(600)
})

test('docs/glossary.md explains at most forty words, each with its file', () => {
  const rows = [...text('docs/glossary.md').matchAll(/^\| (?!Word|-)(.*?) \|.*\]\(([^)]+)\) \|$/gm)]
  expect(rows.length).toBeGreaterThan(30)
  expect(rows.length).toBeLessThanOrEqual(40)
})

test('docs/architecture.md names files and folders that exist', () => {
  const named = [...text('docs/architecture.md').matchAll(/`((?:src|packages|docs)\/[\w./-]+)`/g)].map(
    ([, to]) => to ?? '',
  )
  expect(named.length).toBeGreaterThan(30)
  expect(named.filter((to) => !isThere(new URL(to, root)))).toEqual([])
})

test('docs/renamed.md leads from each old file to one that exists', () => {
  const files = text('docs/renamed.md').split('\n## Files\n')[1]?.split('\n## ')[0] ?? ''
  const targets = [...files.matchAll(/^\| `[^`]+` \| `([^`]+)` \|$/gm)].map(([, to]) => to ?? '')
  expect(targets.length).toBeGreaterThan(50)
  expect(targets.filter((to) => !isThere(new URL(to, root)))).toEqual([])
})

describe('a promise that points to its test', () => {
  test.each(['docs/threats.md', 'README.md', 'CONTRIBUTING.md'])('%s names tests that exist', (page) => {
    const named = testsNamedIn(text(page))
    expect(named).not.toEqual([])
    expect(named.filter((path) => !isThere(new URL(path, root)))).toEqual([])
  })

  test('docs/threats.md names for every threat a test, a command, or that it is not built yet', () => {
    const rows = [...text('docs/threats.md').matchAll(/^\| (?!threat|-)(.*) \|$/gm)].map(
      ([, row = '']) => row,
    )
    expect(rows.length).toBeGreaterThan(40)
    const proof =
      /`((?:packages\/[\w-]+\/)?test\/[^`]+\.test(-d)?\.ts|npm run check|package\.json)`$|^(not built yet|by deployment)$/
    expect(rows.filter((row) => !proof.test(row.split(' | ').at(-1) ?? ''))).toEqual([])
  })

  test('docs/openapi.json names no member of an answer that could hold a vector', () => {
    const { components } = JSON.parse(text('docs/openapi.json')) as {
      components: { schemas: Readonly<Record<string, object>> }
    }
    const answers = Object.entries(components.schemas).filter(
      ([name]) => !/Request$|Input$|Change$/.test(name),
    )
    expect(answers.map(([name]) => name)).toEqual(expect.arrayContaining(['RetrieveAnswer', 'Document']))
    expect(JSON.stringify(components.schemas.RetrieveRequest)).toContain('"embedding"')
    expect(JSON.stringify(answers)).not.toMatch(/"(embeddings?|vectors?|scores?)":/)
  })
})

test('docs/audit.md lists every kind of event once, and no other', () => {
  const [, section = ''] = text('docs/audit.md').split('### Kinds of events\n')
  const [table = ''] = section.split('\n## ')
  const listed = [...table.matchAll(/`(\w+)`/g)].map(([, name]) => name).filter((name) => name !== 'event')
  expect(listed.sort()).toEqual([...eventNames].sort())
})

test('docs/runbooks.md names every command that works without the service', () => {
  const [, section = ''] = text('docs/runbooks.md').split('**Without the service**')
  const [named = ''] = section.split('`model test`')
  const words = [...named.matchAll(/`(\w+)`/g)].map(([, word]) => word)
  const files = ['commands', 'commands/people', 'commands/registry'].map((file) => text(`src/cli/${file}.ts`))
  const own = files.flatMap((file) =>
    [...file.matchAll(/^ {2}([a-z]+)\w*: command\(/gm)].map(([, word]) => word),
  )
  // These two are asked of the service, and `remit` and the subcommands of `audit` are named beside them.
  const asked = ['demo', 'writer']
  const beside = ['remit', 'audit', 'verify', 'heads', 'erase']
  expect(own.length).toBeGreaterThan(30)
  expect(new Set(words.filter((word) => !beside.includes(word ?? '')))).toEqual(
    new Set(own.filter((word) => ![...asked, 'audit'].includes(word ?? ''))),
  )
})

test('.env.example is what src/config say (else: npx node scripts/env-example.ts > .env.example)', () => {
  expect(text('.env.example')).toBe(envExample())
})

function isThere(url: URL): boolean {
  try {
    readFileSync(url)
    return true
  } catch (error) {
    // A folder is there as well.
    return error instanceof Error && 'code' in error && error.code === 'EISDIR'
  }
}

/** Paths of test files, each as written. `x` and `NAME` stand for a name of the reader's own. */
function testsNamedIn(page: string): readonly string[] {
  const paths = [...page.matchAll(/\b(?:packages\/[\w-]+\/)?test\/[\w/.-]+?\.ts\b/g)].map(([path]) => path)
  return [...new Set(paths)].filter((path) => !/x\.test|NAME/.test(path))
}
