import type { Terminal } from './terminal.ts'

type Row = Readonly<Record<string, unknown>>

/** What lists print: with `json` one line of JSON each, else what people read, or that there is nothing. */
export function printList(
  terminal: Terminal,
  rows: unknown,
  { json, none, name }: { readonly json: boolean; readonly none: string; readonly name: string },
): void {
  const all = rows as readonly Row[]
  for (const row of all) terminal.out(json ? JSON.stringify(row) : readable(row, name))
  // On stderr: to a program an empty answer is one.
  if (all.length === 0) terminal.say(none)
}

/** Of an answer: what was asked about and never was here, and what is spelled nearly alike. */
export interface NotHere {
  readonly never_here: readonly string[]
  /** Not of an older service. */
  readonly did_you_mean?: Readonly<Record<string, readonly string[]>>
}

/** What a question is answered with where nothing was found: an id that never was is no all-clear. */
export const noneOr = (none: string, answer: NotHere): string => neverHereWords(answer) ?? none

/** Undefined where all of it is, or was, here. */
export const neverHereWords = ({ never_here, did_you_mean }: NotHere): string | undefined =>
  never_here.length === 0
    ? undefined
    : never_here
        .map((id) => {
          const others = did_you_mean?.[id] ?? []
          const hint = others.length === 0 ? 'Check the spelling.' : `Did you mean ${others.join(' or ')}?`
          return printable(`${id} was never here. ${hint}`)
        })
        .join(' ')

/** One answer: with `json` as it is, else a line for each of its members. */
export function printFacts(terminal: Terminal, facts: Row, json: boolean): void {
  if (json) return terminal.out(JSON.stringify(facts))
  for (const [key, value] of Object.entries(facts)) terminal.out(`${words(key)}: ${said(value)}`)
}

/** `name` is the member that stands first and unlabelled; what is not there is left out. */
function readable(row: Row, name: string): string {
  const rest = Object.entries(row).filter(([key, value]) => key !== name && value !== null)
  return [said(row[name]), ...rest.map(([key, value]) => `  ${words(key)}: ${said(value)}`)].join('\n')
}

/** A member's name as people read it. */
export const words = (key: string): string => key.replaceAll('_', ' ')

function said(value: unknown): string {
  if (Array.isArray(value) && value.every((one) => typeof one === 'string'))
    return printable(value.join(', ')) || 'none'
  if (isFlat(value))
    return printable(
      Object.entries(value)
        .map(([key, one]) => `${words(key)} ${String(one)}`)
        .join(', '),
    )
  return printable(typeof value === 'string' ? value : JSON.stringify(value))
}

const isFlat = (value: unknown): value is Readonly<Record<string, string | number>> =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  Object.values(value).every((one) => typeof one === 'string' || typeof one === 'number')

// Titles and purposes are others' text, which a terminal would obey.
export const printable = (text: string): string => text.replaceAll(/\p{C}/gu, '?')
