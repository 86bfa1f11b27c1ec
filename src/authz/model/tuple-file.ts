import { parse } from 'yaml'

const columns = [
  'user_type',
  'user_id',
  'user_relation',
  'relation',
  'object_type',
  'object_id',
  'condition_name',
  'condition_context',
] as const
type Row = Readonly<Partial<Record<(typeof columns)[number], string>>>

/** The tuples of a file by its ending: yaml, json, jsonl, csv. Their members are the caller's to check. */
export function readTupleFile(name: string, text: string): unknown {
  if (/\.ya?ml$/i.test(name)) return parse(text)
  if (/\.json$/i.test(name)) return JSON.parse(text)
  if (/\.jsonl$/i.test(name)) {
    const lines = text.split('\n').filter((line) => line.trim() !== '')
    return lines.map((line): unknown => JSON.parse(line))
  }
  if (/\.csv$/i.test(name)) return readCsv(text)
  throw new Error('a file of tuples ends in .yaml, .json, .jsonl or .csv')
}

function readCsv(text: string): unknown[] {
  const [header = [], ...rows] = splitCsv(text)
  const stranger = header.find((name) => !columns.some((column) => column === name))
  if (stranger !== undefined) throw new Error(`the column ${stranger} is not known`)
  return rows.map((fields) => tupleOf(Object.fromEntries(header.map((name, index) => [name, fields[index]]))))
}

function tupleOf(row: Row): object {
  const { user_type, user_id, user_relation, relation, object_type, object_id } = row
  const { condition_name: name, condition_context: context } = row
  return {
    user: `${user_type ?? ''}:${user_id ?? ''}${user_relation ? `#${user_relation}` : ''}`,
    relation,
    object: `${object_type ?? ''}:${object_id ?? ''}`,
    ...(name && { condition: { name, context: context ? (JSON.parse(context) as unknown) : {} } }),
  }
}

/** RFC 4180: cells may be quoted, and a quoted one may hold commas, line ends and doubled quotes. */
function splitCsv(text: string): string[][] {
  const rows: string[][] = []
  let row: string[] = []
  let read = 0
  for (const match of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/gy)) {
    const [matched, quoted, unquoted = '', separator] = match
    read = match.index + matched.length
    row.push((quoted?.replaceAll('""', '"') ?? unquoted).trim())
    if (separator === ',') continue
    if (row.some((field) => field !== '')) rows.push(row)
    row = []
  }
  if (read < text.length)
    throw new Error(
      `line ${text.slice(0, read).split('\n').length} holds a quote that is not closed, or more after one`,
    )
  return rows
}
