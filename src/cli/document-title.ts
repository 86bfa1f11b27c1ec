import { type DefaultTreeAdapterTypes, parse } from 'parse5'
import { parse as parseYaml } from 'yaml'

const charactersMax = 1_000

/**
 * The title that a document gives itself: of Markdown its front matter's `title`, else its first heading; of HTML its `<title>`,
 * else its first `<h1>`. Undefined where it has none, or is of another kind.
 */
export function ownTitle(mimeType: string, bytes: Uint8Array): string | undefined {
  const text = Buffer.from(bytes).toString('utf8')
  const title = mimeType === 'text/markdown' ? ofMarkdown(text) : mimeType === 'text/html' ? ofHtml(text) : ''
  return title?.replaceAll(/\s+/g, ' ').trim().slice(0, charactersMax) || undefined
}

function ofMarkdown(text: string): string | undefined {
  const [whole = '', front = ''] = /^---[ \t]*\r?\n([\s\S]{0,20000}?)^---[ \t]*\r?$/m.exec(text) ?? []
  if (whole !== '' && text.startsWith(whole)) {
    const title = titleIn(front)
    if (title !== undefined) return title
  }
  const heading = /^#[ \t]+(\S.*)$/m.exec(text.slice(text.startsWith(whole) ? whole.length : 0))?.[1] ?? ''
  let end = heading.length
  while (end > 1 && ' \t#\r'.includes(heading.charAt(end - 1))) end -= 1
  return heading.slice(0, end)
}

function titleIn(front: string): string | undefined {
  try {
    const { title } = Object(parseYaml(front, { maxAliasCount: 0, logLevel: 'silent' })) as {
      readonly title?: unknown
    }
    return typeof title === 'string' || typeof title === 'number' ? String(title) : undefined
  } catch {
    // Not YAML: then it is no title either.
    return undefined
  }
}

type Node = DefaultTreeAdapterTypes.ChildNode

function ofHtml(html: string): string | undefined {
  const page = parse(html).childNodes
  return textOf(find(page, 'title')).trim() || textOf(find(page, 'h1'))
}

/** The first such element, without recursion: a page may be nested as deep as it likes. */
function find(nodes: readonly Node[], tagName: string): Node | undefined {
  const open = [...nodes].reverse()
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if ('tagName' in node && node.tagName === tagName) return node
    // An image's title is not the page's.
    if ('childNodes' in node && node.nodeName !== 'svg')
      for (const child of node.childNodes.toReversed()) open.push(child)
  }
  return undefined
}

function textOf(node: Node | undefined): string {
  const open = node === undefined ? [] : [node]
  let text = ''
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    if (one.nodeName === '#text' && 'value' in one) text += one.value
    if ('childNodes' in one) for (const child of one.childNodes.toReversed()) open.push(child)
  }
  return text
}
