import type { Command } from 'commander'
import { z } from 'zod'
import { printable } from '../kernel/printable.ts'
import type { AdminClient } from './admin-client.ts'
import type { Terminal } from './terminal.ts'

type Row = Readonly<Record<string, unknown>>

const rowsForm = z.array(z.looseObject({}))

/** What lists print: with `json` one line of JSON each, else what people read, or that there is nothing. */
export function printList(
  terminal: Terminal,
  rows: unknown,
  { json, whenEmpty, name }: { readonly json: boolean; readonly whenEmpty: string; readonly name: string },
): void {
  const records = rowsForm.parse(rows)
  for (const row of records) terminal.out(json ? JSON.stringify(row) : readable(row, name))
  // On stderr: to a program an empty answer is one.
  if (records.length === 0) terminal.say(whenEmpty)
}

/** The machine's own commands, and where they print. */
export interface MachineDeps {
  readonly admin: AdminClient
  readonly terminal: Terminal
}

/** What a list is of, by the names of its command and of its members. */
type Listed = 'administrator' | 'agent' | 'client' | 'collection' | 'host' | 'resource' | 'service'

/** `list`: every row that the command of this name answers. */
export function addList(
  group: Command,
  { admin, terminal }: MachineDeps,
  name: Listed,
  says: { readonly description: string; readonly whenEmpty: string; readonly json?: string },
): void {
  const { description, whenEmpty, json: jsonHelp = 'one line of JSON each' } = says
  group
    .command('list')
    .description(description)
    .option('--json', jsonHelp, false)
    .action(async ({ json }: { readonly json: boolean }) => {
      const answer = await admin.run(name === 'administrator' ? 'admin_list' : `${name}_list`, {})
      printList(terminal, answer[`${name}s`], { json, whenEmpty, name })
    })
}

/** Of an answer: what was asked about and never was here, and what is spelled nearly alike. */
export interface NotHere {
  readonly never_here: readonly string[]
  /** Not of an older service. */
  readonly did_you_mean?: Readonly<Record<string, readonly string[]>>
}

/** What a question is answered with where nothing was found: an id that never was is no all-clear. */
export const noneOr = (whenEmpty: string, answer: NotHere): string => neverHereWords(answer) ?? whenEmpty

/** Undefined where all of it is, or was, here. */
export const neverHereWords = ({ never_here, did_you_mean }: NotHere): string | undefined =>
  never_here.length === 0
    ? undefined
    : never_here
        .map((id) => {
          const alternatives = did_you_mean?.[id] ?? []
          const hint =
            alternatives.length === 0 ? 'Check the spelling.' : `Did you mean ${alternatives.join(' or ')}?`
          return printable(`${id} was never here. ${hint}`)
        })
        .join(' ')

/** One answer: with `json` as it is, else a line for each of its members. */
export function printFacts(terminal: Terminal, fields: Row, json: boolean): void {
  if (json) return terminal.out(JSON.stringify(fields))
  for (const [key, value] of Object.entries(fields)) {
    terminal.out(`${spaced(key)}:${isListOfPhrases(value) ? itemLines(value) : ` ${valueText(value)}`}`)
  }
}

// Phrases have commas of their own: in one line nobody sees where one ends.
const isListOfPhrases = (value: unknown): value is readonly string[] =>
  Array.isArray(value) &&
  value.length > 1 &&
  value.every((element) => typeof element === 'string') &&
  value.some((element) => element.includes(' '))

const itemLines = (items: readonly string[]): string => items.map((item) => `\n  ${printable(item)}`).join('')

/** `name` is the member that stands first and unlabelled; what is not there is left out. */
function readable(row: Row, name: string): string {
  const otherFields = Object.entries(row).filter(([key, value]) => key !== name && value !== null)
  return [
    valueText(row[name]),
    ...otherFields.map(([key, value]) => `  ${spaced(key)}: ${valueText(value)}`),
  ].join('\n')
}

/** A member's name as people read it. */
export const spaced = (key: string): string => key.replaceAll('_', ' ')

function valueText(value: unknown): string {
  if (Array.isArray(value) && value.every((element) => typeof element === 'string'))
    return printable(value.join(', ')) || 'none'
  if (isFlat(value))
    return printable(
      Object.entries(value)
        .map(([key, element]) => `${spaced(key)} ${String(element)}`)
        .join(', '),
    )
  return printable(typeof value === 'string' ? value : JSON.stringify(value))
}

const isFlat = (value: unknown): value is Readonly<Record<string, string | number>> =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  Object.values(value).every((member) => typeof member === 'string' || typeof member === 'number')
