import rehypeSlug from 'rehype-slug'
import rehypeStringify from 'rehype-stringify'
import remarkGfm from 'remark-gfm'
import remarkParse from 'remark-parse'
import remarkRehype from 'remark-rehype'
import { unified } from 'unified'
import { between, type Page, resolveLink, type Site } from './pages.ts'

export interface Rendered {
  readonly html: string
  /** The ids of its headings, as GitHub makes them. */
  readonly headings: ReadonlySet<string>
  /** Links that lead nowhere, in words. */
  readonly problems: readonly string[]
  /** Headings of other pages that it leads to. */
  readonly named: readonly { readonly path: string; readonly heading: string; readonly url: string }[]
}

interface Element {
  type: string
  tagName?: string
  properties?: Record<string, unknown>
  children?: Element[]
}

/**
 * A page as HTML, its links turned to the site's own places. A file that is no page is a link only where the
 * repository has an address. Leaves out HTML that stands in the Markdown, comments included.
 */
export function renderMarkdown(
  text: string,
  page: Page,
  pages: Site['pages'],
  repository?: string,
): Rendered {
  const headings = new Set<string>()
  const problems: string[] = []
  const named: { path: string; heading: string; url: string }[] = []
  const turn = (element: Element): void => {
    const { properties = {}, tagName = '' } = element
    if (/^h[1-6]$/.test(tagName)) headings.add(String(properties.id))
    // What is wider than the screen scrolls by itself, by keyboard too.
    if (tagName === 'pre') properties.tabIndex = 0
    const attribute = { a: 'href', img: 'src' }[tagName]
    if (attribute !== undefined) turnLink(element, attribute)
    for (const child of element.children ?? []) turn(child)
    if (element.children !== undefined)
      element.children = element.children.map((child) => (child.tagName === 'table' ? framed(child) : child))
  }
  const turnLink = (element: Element, attribute: string): void => {
    const properties = element.properties ?? {}
    const url = String(properties[attribute])
    const target = resolveLink(page.path, url, pages)
    if (target.kind === 'missing') problems.push(`${page.path} leads to ${url}, which is not there.`)
    if (target.kind === 'elsewhere' && attribute === 'src')
      problems.push(`${page.path} shows ${url}, a picture of another host.`)
    if (target.kind === 'copied') properties[attribute] = between(page, target.path)
    if (target.kind === 'page') {
      const { heading } = target
      if (heading !== '') named.push({ path: target.page.path, heading, url })
      const place = target.page === page ? '' : between(page, target.page.output)
      properties[attribute] = heading === '' ? place || '#' : `${place}#${heading}`
    }
    if (target.kind === 'file') {
      if (repository !== undefined) properties[attribute] = `${repository}/${target.path}`
      else {
        element.tagName = 'span'
        element.properties = { className: 'file', title: target.path }
      }
    }
  }
  const html = unified()
    .use(remarkParse)
    .use(remarkGfm)
    .use(remarkRehype)
    .use(rehypeSlug)
    .use(() => (tree: unknown) => turn(tree as Element))
    .use(rehypeStringify)
    .processSync(text)
  return { html: String(html), headings, problems, named }
}

const framed = (table: Element): Element => ({
  type: 'element',
  tagName: 'div',
  properties: { className: 'table', tabIndex: 0 },
  children: [table],
})
