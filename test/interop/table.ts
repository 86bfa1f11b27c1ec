import { readFileSync } from 'node:fs'
import type { Said } from './person.ts'

const page = new URL('../../docs/flows/consent-and-exchange.md', import.meta.url)

/**
 * What the table of the docs says that a library was seen to do: step → `yes`, or `by hand` where it lacks a
 * function.
 */
export function rowOf(library: string): Readonly<Record<string, string>> {
  const [header, ...rows] = tableOf(readFileSync(page, 'utf8'))
  const row = rows.find(([name]) => name === library)
  if (header === undefined || row === undefined) throw new Error(`The docs have no row for ${library}.`)
  return Object.fromEntries(header.flatMap((step, at) => (at > 0 && row[at] ? [[step, row[at]]] : [])))
}

/** The same of what a program said. */
export function shown(said: readonly Said[]): Readonly<Record<string, string>> {
  const steps = said.flatMap(({ shows }) => String(shows).split(', '))
  const byHand = ' by hand'
  return Object.fromEntries(
    steps.map((step) => (step.endsWith(byHand) ? [step.slice(0, -byHand.length), 'by hand'] : [step, 'yes'])),
  )
}

/** The names of all rows. */
export const libraries = (): readonly string[] =>
  tableOf(readFileSync(page, 'utf8'))
    .slice(1)
    .map(([name = '']) => name)

function tableOf(text: string): readonly (readonly string[])[] {
  const [, section = ''] = text.split('## With libraries of others\n')
  const lines = section.split(/^## /m)[0]?.match(/^\|.*\|$/gm) ?? []
  const rows = lines.map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  )
  return rows.filter((_, at) => at !== 1)
}
