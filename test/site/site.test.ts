import { execFile } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, extname, join, normalize } from 'node:path'
import { promisify } from 'node:util'
import axe, { type AxeResults } from 'axe-core'
import { type DefaultTreeAdapterMap, parse } from 'parse5'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { problemsIn } from '../../scripts/site/config.ts'
import { renderMarkdown } from '../../scripts/site/markdown.ts'
import { pagePaths, readSite, root } from '../../scripts/site/pages.ts'
import { openChromium } from '../support/chromium.ts'
import { needsChromium } from '../support/native.ts'
import { sideways } from '../support/screen.ts'

const { pages, groups } = readSite()
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-site-'))
  await promisify(execFile)(
    process.execPath,
    [
      'node_modules/@11ty/eleventy/cmd.cjs',
      '--config=scripts/site/config.ts',
      '--quiet',
      `--output=${folder}`,
    ],
    { cwd: root },
  )
}, 180_000)
afterAll(async () => rm(folder, { recursive: true, force: true }))

describe('the built site', () => {
  test('holds every page of the documentation, each with its title and in the sidebar', () => {
    const home = readFileSync(join(folder, 'index.html'), 'utf8')
    expect(pages.size).toBeGreaterThan(130)
    expect(groups.map(({ title }) => title)).toEqual(
      expect.arrayContaining(['You write an agent', 'You run it', 'Decisions', 'Errors', 'Flows']),
    )
    for (const { output } of pages.values())
      expect(readFileSync(join(folder, output), 'utf8'), output).toContain('<h1')
    const missing = [...pages.values()].filter(
      ({ output }) => !home.includes(`href="./${output}"`) && !home.includes(`href="${output}"`),
    )
    expect(missing.map(({ path }) => path)).toEqual([])
  })

  test('has no link to a page, a heading or a picture that is not there, and none that needs a fixed address', () => {
    const pages = globSync('**/*.html', { cwd: folder })
    const links = pages.flatMap((page) => linksOf(page).map((url) => ({ page, url })))
    expect(links.length).toBeGreaterThan(5000)
    const ids = new Map(pages.map((page) => [page, idsOf(page)]))
    const files = new Set(globSync('**/*', { cwd: folder }))
    const broken = links.filter(({ page, url }) => {
      if (/^(https?:|data:|mailto:)/.test(url)) return false
      const [path = '', heading = ''] = url.split('#')
      const target = path === '' ? page : normalize(join(dirname(page), decodeURIComponent(path)))
      return !files.has(target) || (heading !== '' && !ids.get(target)?.has(heading))
    })
    expect(broken).toEqual([])
  })

  test('shows the whole contract, without a script of its own', () => {
    const page = readFileSync(join(folder, 'docs/api.html'), 'utf8')
    expect(page).toContain('<section id="post-retrieve">')
    expect(page.match(/<script/g)).toHaveLength(1)
    expect(page).not.toContain('<style')
  })
})

describe('in a browser', needsChromium, () => {
  test('a page is found by a word in it, below any path, with nothing loaded from another host', async () => {
    await using server = await serve(folder, '/some/where/')
    await using browser = await openChromium()
    const { page } = browser
    page.setDefaultTimeout(30_000)
    const asked: string[] = []
    const said: string[] = []
    page.on('request', (request) => asked.push(request.url()))
    page.on('console', (message) => said.push(message.text()))
    page.on('pageerror', (error) => said.push(error.message))
    await page.goto(`${server.url}docs/decisions/0020-bm25.html`)
    await page.getByLabel('Search').fill('Tickerwire')
    await page.locator('search a').first().click()
    await page.waitForURL(/assistant\.html/)
    expect(await page.locator('h1').textContent()).toContain('step by step')
    await page.getByLabel('Search').fill('ωψ')
    await page.getByText('Nothing found.').waitFor()
    await page.goto(`${server.url}docs/incident.html`)
    await expect.poll(() => page.evaluate<number>('document.images[0].naturalWidth')).toBeGreaterThan(100)
    expect(asked.filter((url) => !url.startsWith(server.url) && !url.startsWith('data:'))).toEqual([])
    expect(asked.length).toBeGreaterThan(10)
    expect(said).toEqual([])
  }, 90_000)

  test('its pages have no serious finding of axe, and are readable on a small screen', async () => {
    await using server = await serve(folder, '/')
    await using browser = await openChromium()
    const { page } = browser
    page.setDefaultTimeout(30_000)
    for (const path of ['index.html', 'docs/metrics.html']) {
      await page.goto(`${server.url}${path}`)
      await page.evaluate(axe.source)
      const { violations } = await page.evaluate<AxeResults>(
        `axe.run(document, { resultTypes: ['violations'] })`,
      )
      const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
      expect(
        serious.map(({ id, nodes }) => [id, nodes[0]?.html]),
        path,
      ).toEqual([])
      expect(await sideways(page), path).toEqual([])
    }
  }, 90_000)
})

describe('the build refuses', () => {
  const from = pages.get('docs/client.md')
  if (from === undefined) throw new Error('docs/client.md has moved.')
  const problemsOf = (text: string): readonly string[] =>
    problemsIn(
      new Map([
        [from.path, renderMarkdown(text, from, pages)],
        ['docs/audit.md', renderMarkdown('# Audit\n\n## Kept\n\n## Kept\n', from, pages)],
      ]),
    )

  test('a link to a file, a page or a heading that is not there, and a picture of another host', () => {
    expect(
      problemsOf('[a](../src/none.ts) [b](none.md) [c](audit.md#none) ![d](https://a.example/d.png)'),
    ).toMatchInlineSnapshot(`
        [
          "docs/client.md leads to ../src/none.ts, which is not there.",
          "docs/client.md leads to none.md, which is not there.",
          "docs/client.md shows https://a.example/d.png, a picture of another host.",
          "docs/client.md leads to audit.md#none: that page has no such heading.",
        ]
      `)
    expect(problemsOf('[out](../../../etc/passwd)')).toHaveLength(1)
    expect(
      problemsOf(
        '# Here\n\n[a](../src/main.ts) [b](audit.md#kept-1) [c](#here) [d](errors) [e](../examples)',
      ),
    ).toEqual([])
  })

  test('a page that no table of docs/README.md leads to, by its name', () => {
    const read = (path: string): string =>
      path === 'docs/README.md' ? '# Documentation\n\n## Everybody\n' : '# One\n'
    expect(() => readSite(['README.md', 'docs/README.md', 'docs/new.md'], read)).toThrow(
      'The sidebar has no place for docs/new.md: add a row to docs/README.md.',
    )
  })

  test('no page in a new folder of docs: it is a group by itself', () => {
    const paths = [...pagePaths(), 'docs/runbooks/slow-answers.md']
    const read = (path: string): string =>
      path.startsWith('docs/runbooks') ? '# Slow answers\n' : readFileSync(join(root, path), 'utf8')
    expect(readSite(paths, read).groups).toContainEqual({
      title: 'Runbooks',
      pages: [
        expect.objectContaining({ title: 'Slow answers', output: 'docs/runbooks/slow-answers.html' }),
        expect.objectContaining({ output: 'docs/runbooks/index.html' }),
      ],
    })
  })
})

test('a file of the repository is a link where the repository has an address, else words with its path', () => {
  const page = pages.get('docs/client.md')
  if (page === undefined) throw new Error('docs/client.md has moved.')
  const html = (repository?: string): string =>
    renderMarkdown('[the start](../src/main.ts)', page, pages, repository).html
  expect(html()).toBe('<p><span class="file" title="src/main.ts">the start</span></p>')
  expect(html('https://code.example/blob/main')).toBe(
    '<p><a href="https://code.example/blob/main/src/main.ts">the start</a></p>',
  )
})

type Node = DefaultTreeAdapterMap['node']

const attributesOf = (page: string, names: readonly string[]): readonly string[] => {
  const found: string[] = []
  const visit = (node: Node): void => {
    if ('attrs' in node) for (const { name, value } of node.attrs) if (names.includes(name)) found.push(value)
    if ('childNodes' in node) node.childNodes.forEach(visit)
  }
  visit(parse(readFileSync(join(folder, page), 'utf8')))
  return found
}
const linksOf = (page: string): readonly string[] => attributesOf(page, ['href', 'src'])
const idsOf = (page: string): ReadonlySet<string> => new Set(attributesOf(page, ['id']))

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.png': 'image/png',
}

/** A server of files and of nothing else, below a path. */
async function serve(files: string, base: string): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    try {
      if (!pathname.startsWith(base)) throw new Error(`${pathname} is outside`)
      const body = readFileSync(join(files, pathname.slice(base.length)))
      response
        .writeHead(200, { 'content-type': types[extname(pathname)] ?? 'application/octet-stream' })
        .end(body)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}${base}`,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  }
}
