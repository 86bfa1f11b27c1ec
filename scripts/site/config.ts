import { readFile } from 'node:fs/promises'
import { relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { close, createIndex } from 'pagefind'
import { docsRoutes } from '../../src/http/routes/service/docs.ts'
import { type Rendered, renderMarkdown } from './markdown.ts'
import { between, folderIndex, foldersOf, type Page, pagePaths, readSite, root } from './pages.ts'

/** The part of Eleventy's configuration that is used; it ships no types. */
interface Eleventy {
  addGlobalData(name: string, value: unknown): void
  addPassthroughCopy(from: string | Readonly<Record<string, string>>): void
  addPreprocessor(name: string, extensions: string, check: (data: TemplateData) => false | undefined): void
  addTemplate(path: string, content: string): void
  setLibrary(
    extension: string,
    library: { disable(): void; render(text: string, data: TemplateData): string },
  ): void
  setLiquidOptions(options: object): void
  on(
    event: string,
    handler: (event: { readonly directories: { readonly output: string } }) => Promise<void>,
  ): void
}

interface TemplateData {
  readonly page: { readonly inputPath: string }
}

/** Where the repository can be read, for links to its files: `https://host/owner/name/blob/main`. */
const repository = process.env.DOCS_REPOSITORY
const contract: Page = { path: 'docs/api.html', output: 'docs/api.html', title: 'The HTTP API' }

/** `npm run docs`: the pages as they stand, with a sidebar and a search, for any server of files. */
export default async function config(eleventy: Eleventy): Promise<object> {
  const site = readSite()
  const pages = new Map(site.pages).set(contract.path, contract)
  const pageOf = ({ page }: TemplateData): Page | undefined => pages.get(relative('.', page.inputPath))
  const rendered = new Map<string, Rendered>()

  eleventy.addPreprocessor('pages', '*', (data) => (pageOf(data) === undefined ? false : undefined))
  eleventy.setLibrary('md', {
    disable: () => undefined,
    render(text, data) {
      const page = pageOf(data)
      if (page === undefined) return ''
      const one = renderMarkdown(text, page, pages, repository)
      rendered.set(page.path, one)
      return one.html
    },
  })
  for (const folder of foldersOf(pagePaths()))
    if (!pagePaths().includes(`${folder}/README.md`))
      eleventy.addTemplate(`${folder}/README.md`, folderIndex(folder, site.pages))
  eleventy.addTemplate(contract.path, await contractBody())

  eleventy.setLiquidOptions({ outputEscape: 'escape' })
  eleventy.addGlobalData('layout', 'page.liquid')
  eleventy.addGlobalData('permalink', () => (data: TemplateData) => pageOf(data)?.output)
  eleventy.addGlobalData('eleventyComputed', () => ({
    title: (data: TemplateData) => pageOf(data)?.title,
    base: (data: TemplateData) => {
      const page = pageOf(data)
      return page === undefined ? '' : between(page, '.') || '.'
    },
    groups: (data: TemplateData) => groupsFor(pageOf(data)),
  }))
  const groupsFor = (page: Page | undefined): object =>
    site.groups.map((group) => ({
      title: group.title,
      isOpen: page !== undefined && group.pages.includes(page),
      pages: group.pages.map((one) => ({
        title: one.title,
        href: page === undefined ? '' : between(page, one.output),
        isCurrent: one === page,
      })),
    }))

  eleventy.addPassthroughCopy('docs/**/*.{png,svg,json}')
  eleventy.addPassthroughCopy({
    'scripts/site/style.css': 'style.css',
    'scripts/site/search.js': 'search.js',
  })
  eleventy.on('eleventy.after', async ({ directories }) => {
    const problems = problemsIn(rendered)
    if (problems.length > 0) throw new Error(`\n${problems.join('\n')}`)
    await index(directories.output)
  })
  return {
    dir: { input: '.', includes: 'scripts/site', output: 'site' },
    templateFormats: ['md', 'html'],
    markdownTemplateEngine: false,
    htmlTemplateEngine: false,
  }
}

/** Links that lead nowhere, of all pages: to what is not there, or to a heading that no page has. */
export function problemsIn(rendered: ReadonlyMap<string, Rendered>): readonly string[] {
  return [...rendered].flatMap(([from, { problems, named }]) => [
    ...problems,
    ...named
      .filter(({ path, heading }) => rendered.has(path) && !rendered.get(path)?.headings.has(heading))
      .map(({ url }) => `${from} leads to ${url}: that page has no such heading.`),
  ])
}

/** Pagefind says what failed in its answers, and goes on. */
async function index(folder: string): Promise<void> {
  const { index: pagefind, errors } = await createIndex()
  if (pagefind === undefined) throw new Error(errors.join('\n'))
  const added = await pagefind.addDirectory({ path: folder })
  const written = await pagefind.writeFiles({ outputPath: `${folder}pagefind` })
  await close()
  const problems = [...added.errors, ...written.errors]
  if (problems.length > 0) throw new Error(problems.join('\n'))
}

/** The contract as the service itself shows it, at the place of a page. */
async function contractBody(): Promise<string> {
  const openApi = JSON.parse(await readFile(`${root}docs/openapi.json`, 'utf8')) as object
  const errorPages = pathToFileURL(`${root}docs/errors/`)
  const answer = await docsRoutes({ openApi: () => openApi, errorPages }).request('/docs')
  const [, body = ''] = /<body>(.*)<\/body>/s.exec(await answer.text()) ?? []
  return body
    .replaceAll(/<(\/?)(?:header|main)>/g, '<$1div>')
    .replaceAll('<nav aria-label="Routes">', '<div class="routes">')
    .replaceAll('</nav>', '</div>')
    .replaceAll('href="/openapi.json"', 'href="openapi.json"')
}
