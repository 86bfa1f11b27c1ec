import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type MarkdownNode, pagePaths, parseMarkdown, readPage, root } from '../../scripts/site/pages.ts'

/** A block of commands on a page, and what the comment above it says of it. */
export interface CommandBlock {
  readonly page: string
  readonly line: number
  readonly text: string
  /** The test that runs it. */
  readonly runBy?: string
  /** Why none does. */
  readonly notRun?: string
}

const shells = ['sh', 'console', 'bash', 'shell']
/** How a command begins, in a block that names no language. */
const command =
  /^(?:\$ )?(?:(?:npm|npx|node|curl|docker|git|bash|eval|psql|pip|fga|kubectl|helm|remit) |[A-Z_]+=\$\()/m
/** `terminal` is of docs/assistant.md alone, whose test renews those blocks by their names. */
const marker = /^<!-- (?:run: (?<runBy>\S+)|not run: (?<notRun>.+)|terminal: .+) -->$/

/** Every block of commands of the pages, in order; decisions, which say what was, have none that count. */
export function commandBlocks(): readonly CommandBlock[] {
  return pagePaths()
    .filter((page) => !page.startsWith('docs/decisions/'))
    .flatMap((page) => blocksOf(page, readPage(page)))
}

export function blocksOf(page: string, text: string): readonly CommandBlock[] {
  const visit = (node: MarkdownNode, before: MarkdownNode | undefined): readonly CommandBlock[] => {
    const { type, lang, value = '', children = [] } = node
    if (type !== 'code') return children.flatMap((child, index) => visit(child, children[index - 1]))
    const isCommands = lang ? shells.includes(lang) : command.test(value)
    if (!isCommands) return []
    const { groups } = marker.exec((before?.type === 'html' && before.value) || '') ?? {}
    const runBy = groups?.runBy ?? (groups && !groups.notRun ? 'test/e2e/assistant.test.ts' : undefined)
    return [
      {
        page,
        line: node.position?.start.line ?? 1,
        text: value,
        ...(runBy !== undefined && { runBy }),
        ...(groups?.notRun !== undefined && { notRun: groups.notRun }),
      },
    ]
  }
  return visit(parseMarkdown(text), undefined)
}

/** What is wrong with a block's comment, in words. */
export function problemOf({ page, line, runBy, notRun }: CommandBlock): string | undefined {
  const at = `${page}:${line}`
  if (runBy === undefined && notRun === undefined)
    return `${at} has commands without <!-- run: TEST --> or <!-- not run: WHY --> in the line above.`
  if (runBy === undefined) return undefined
  if (!existsSync(join(root, runBy))) return `${at} names ${runBy}, which is not there.`
  const name = page.split('/').at(-1) ?? page
  if (runBy !== runner && !readPage(runBy).includes(name))
    return `${at} names ${runBy}, which does not read ${name}.`
  return undefined
}

/** The test that runs whatever names it. */
export const runner = 'test/site/run-commands.test.ts'
