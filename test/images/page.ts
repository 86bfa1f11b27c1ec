import { expect } from 'vitest'
import { commandBlocks } from '../site/command-blocks.ts'

/** The one block of commands of a page that holds this text. */
export function onPage(page: string, text: string): string {
  const blocks = commandBlocks().filter((one) => one.page === page && one.text.includes(text))
  expect(blocks).toHaveLength(1)
  return blocks[0]?.text ?? ''
}
