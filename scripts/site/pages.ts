import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import remarkGfm from 'remark-gfm'
import remarkParse from 'remark-parse'
import { unified } from 'unified'

/** One page of the site, and of the repository. */
export interface Page {
  /** From the root of the repository: `docs/client.md`. */
  readonly path: string
  /** From the root of the site: `docs/client.html`. */
  readonly output: string
  readonly title: string
}

export interface Group {
  readonly title: string
  readonly pages: readonly Page[]
}

/** Every page by its path, and the groups of the sidebar, which hold each page but the home once. */
export interface Site {
  readonly pages: ReadonlyMap<string, Page>
  readonly groups: readonly Group[]
}

export interface MarkdownNode {
  readonly type: string
  readonly children?: readonly MarkdownNode[]
  readonly value?: string
  readonly url?: string
  readonly depth?: number
  readonly lang?: string | null | undefined
  readonly position?: { readonly start: { readonly line: number } } | undefined
}

export const root = fileURLToPath(new URL('../../', import.meta.url))
const parser = unified().use(remarkParse).use(remarkGfm)
const sources = '{*.md,docs/**/*.md,packages/*/README.md,{python,examples,sample,benchmarks}/README.md}'

/** The paths of all pages: the documentation, and what stands beside the code. */
export const pagePaths = (): readonly string[] =>
  globSync(sources, { cwd: root, exclude: (name) => /node_modules/.test(name) }).sort()

export const readPage = (path: string): string => readFileSync(join(root, path), 'utf8')

export const parseMarkdown = (text: string): MarkdownNode => parser.parse(text)

/**
 * The site by its pages. The tables of docs/README.md are the sidebar, so that readers find one order in
 * both: a page belongs to the heading that leads to it first. A folder of docs is a group by itself.
 */
export function readSite(paths = pagePaths(), read: (path: string) => string = readPage): Site {
  const pages = new Map(paths.map((path) => [path, pageOf(path, read(path))]))
  for (const folder of foldersOf(paths)) {
    const path = `${folder}/README.md`
    if (!pages.has(path)) pages.set(path, { path, output: outputOf(path), title: titleOfFolder(folder) })
  }
  const grouped = groupsIn(parseMarkdown(read(indexPage)), pages)
  const isGrouped = new Set([...grouped.flatMap((group) => group.pages.map(({ path }) => path)), ...homes])
  const rest = [...pages.values()].filter(({ path }) => !isGrouped.has(path))
  const folders = [...foldersOf(paths)].map((folder) => ({
    title: titleOfFolder(folder),
    pages: rest.filter(({ path }) => dirname(path) === folder),
  }))
  const lost = rest.filter(({ path }) => dirname(path) === 'docs')
  if (lost.length > 0)
    throw new Error(
      `The sidebar has no place for ${lost.map(({ path }) => path).join(', ')}: add a row to docs/README.md.`,
    )
  const beside = rest.filter(({ path }) => !path.startsWith('docs/'))
  const groups = [...grouped, ...folders, { title: 'Beside the code', pages: beside }]
  return { pages, groups: groups.filter((group) => group.pages.length > 0) }
}

/** The folder's list of pages, as Markdown: GitHub lists a folder by itself, a site does not. */
export const folderIndex = (folder: string, pages: Site['pages']): string =>
  [
    `# ${titleOfFolder(folder)}\n`,
    ...[...pages.values()]
      .filter(({ path }) => dirname(path) === folder && path !== `${folder}/README.md`)
      .map(({ path, title }) => `- [${title}](${relative(folder, path)})`),
  ].join('\n')

/** Folders of docs that hold pages. */
export const foldersOf = (paths: readonly string[]): ReadonlySet<string> =>
  new Set(paths.map((path) => dirname(path)).filter((folder) => folder.startsWith('docs/')))

export type Target =
  /** Of the site, from its root; with a heading's id where one is named. */
  | { readonly kind: 'page'; readonly page: Page; readonly heading: string }
  | { readonly kind: 'copied'; readonly path: string }
  /** A file or folder of the repository that is no page. */
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'elsewhere' }
  | { readonly kind: 'missing' }

/** What a link of a page leads to. Does NOT check that the page has the heading. */
export function resolveLink(
  from: string,
  url: string,
  pages: Site['pages'],
  isThere: (path: string) => boolean = (path) => existsSync(join(root, path)),
): Target {
  if (/^[a-z][a-z+.-]*:/i.test(url)) return { kind: 'elsewhere' }
  const [rawPath = '', heading = ''] = url.split('#')
  const asked = decodeURIComponent(rawPath)
  const path = asked === '' ? from : normalize(join(dirname(from), asked)).replace(/\/$/, '')
  const page = pages.get(path) ?? pages.get(join(path, 'README.md'))
  if (page !== undefined) return { kind: 'page', page, heading }
  if (path.startsWith('..') || !isThere(path)) return { kind: 'missing' }
  return { kind: isCopied(path) ? 'copied' : 'file', path }
}

const isCopied = (path: string): boolean => /^docs\/.*\.(png|svg|json)$/.test(path)

/** From one page's place on the site to another place. */
export const between = (from: Page, output: string): string => relative(dirname(from.output), output)

const indexPage = 'docs/README.md'
const homes = ['README.md', indexPage]

function groupsIn(index: MarkdownNode, pages: ReadonlyMap<string, Page>): readonly Group[] {
  const groups: { title: string; pages: Page[] }[] = []
  const seen = new Set(homes)
  for (const node of index.children ?? []) {
    if (node.type === 'heading' && node.depth === 2) groups.push({ title: textOf(node), pages: [] })
    for (const { url = '' } of linksIn(node)) {
      const target = resolveLink(indexPage, url, pages, () => false)
      if (target.kind !== 'page' || seen.has(target.page.path)) continue
      seen.add(target.page.path)
      groups.at(-1)?.pages.push(target.page)
    }
  }
  return groups
}

const linksIn = (node: MarkdownNode): readonly MarkdownNode[] =>
  node.type === 'link' ? [node] : (node.children ?? []).flatMap(linksIn)

function pageOf(path: string, text: string): Page {
  const [, title] = /^# (.+)\n/.exec(text) ?? []
  if (title === undefined) throw new Error(`${path} has no title: begin it with "# ".`)
  return { path, output: outputOf(path), title: title.replaceAll('`', '') }
}

const outputOf = (path: string): string => path.replace(/README\.md$/, 'index.html').replace(/\.md$/, '.html')

const titleOfFolder = (folder: string): string => {
  const name = folder.replace(/^docs\//, '').replaceAll(/[-/]/g, ' ')
  return name.charAt(0).toUpperCase() + name.slice(1)
}

const textOf = (node: MarkdownNode): string => node.value ?? (node.children ?? []).map(textOf).join('')
