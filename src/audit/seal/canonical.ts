import { createHash, createHmac } from 'node:crypto'
import type { Sql } from '../../store/sql.ts'

/** One record as it is sealed: every column, what is JSON as Postgres writes it. */
export interface SealedRow {
  readonly record_no: number
  /** ISO 8601, microseconds. */
  readonly time: string
  readonly txn: string
  readonly event: string
  readonly decision: string
  readonly subject: string
  readonly actors: readonly string[]
  readonly client: string
  readonly delegation: string | null
  readonly tool: string | null
  readonly trace_id: string | null
  readonly objects: readonly string[]
  readonly detail: string
}

/** Its columns, of `decision_records`. */
export const sealedColumns = `record_no, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time,
  txn, event, decision, subject, actors, client, delegation, tool, trace_id, objects, detail::text as detail`

/** Those of these records that are there. */
export const readRows = (sql: Sql, numbers: readonly number[]): Promise<SealedRow[]> =>
  numbers.length === 0
    ? Promise.resolve([])
    : sql.query<SealedRow>(
        `select ${sealedColumns} from decision_records where record_no = any($1::bigint[])`,
        [numbers],
      )

/** Somebody who has a key, and what it makes of their id. */
export interface KeyedPerson {
  readonly key: Uint8Array
  readonly alias: string
}

/** Undefined: nobody has a key for them. */
export type PersonOf = (subject: string) => KeyedPerson | undefined

const schema = 1
const prefix = 'erased:'

/**
 * SHA-256 of the record as it is when everybody in it is erased: so it is the same before and after. The
 * number is part of it: no two rows can change places. Throws {@link KeyMissing} for a person without a key.
 */
export function digestOf(row: SealedRow, personOf: PersonOf, recordNo: number = row.record_no): Buffer {
  const { subject: alias, detail } = masked(row, (subject) => {
    const alias = personOf(subject)
    if (alias === undefined) throw new KeyMissing(subject)
    return alias
  })
  const text = JSON.stringify([
    schema,
    recordNo,
    row.time,
    row.txn,
    row.event,
    row.decision,
    alias,
    row.actors,
    row.client,
    row.delegation,
    row.tool,
    row.trace_id,
    row.objects,
    detail,
  ])
  return createHash('sha256').update(text).digest()
}

/** A person whom a record names has no key, so that their alias cannot be computed. */
export class KeyMissing extends Error {
  readonly subject: string

  constructor(subject: string) {
    super(`There is no key of ${subject}.`)
    this.name = 'KeyMissing'
    this.subject = subject
  }
}

/** What stands in a person's place. */
export const aliasOf = (key: Uint8Array, subject: string): string =>
  `${prefix}${createHmac('sha256', key).update(subject).digest('base64url').slice(0, 22)}`

/** Everybody whom a record names and who is not erased. */
export function peopleIn(row: SealedRow): string[] {
  const found = new Set<string>()
  masked(row, (subject) => {
    found.add(subject)
    return undefined
  })
  return [...found]
}

/** Subject and detail with aliases in the place of those who have a key here. */
export function masked(
  row: Pick<SealedRow, 'event' | 'subject' | 'detail'>,
  personOf: PersonOf,
): { readonly subject: string; readonly detail: string } {
  const alias = (subject: string): string => personOf(subject)?.alias ?? subject
  const detail = members(row).reduce((text, { name, value, owner, isPerson }) => {
    const alias = personOf(owner)
    if (alias === undefined) return text
    const replaced = isPerson ? alias.alias : aliasOf(alias.key, `${name} ${value}`)
    return text.replaceAll(`"${name}": ${JSON.stringify(value)}`, `"${name}": ${JSON.stringify(replaced)}`)
  }, row.detail)
  return { subject: row.subject.replace(person, alias), detail: detail.replaceAll(person, alias) }
}

/** `user:…` wherever it stands as a word of its own; `user:*` is everybody, and nobody. */
const person = /(?<![A-Za-z0-9._/@+=%-])user:[A-Za-z0-9._@+=%/-]+/g

interface Member {
  readonly name: string
  readonly value: string
  /** Whose it is. */
  readonly owner: string
  /** It names that person; else it is something of theirs. */
  readonly isPerson: boolean
}

/** What else is a person's, in the events that hold it without `user:` before it. */
function members({ event, subject, detail }: Pick<SealedRow, 'event' | 'subject' | 'detail'>): Member[] {
  if (!personal.test(event) || (event === 'retrieved' && !detail.includes('"query": '))) return []
  const parsed = JSON.parse(detail) as Readonly<Record<string, unknown>>
  if (event === 'retrieved') return memberOf(parsed, 'query', subject)
  if (event.startsWith('connection_')) return memberOf(parsed, 'account', subject)
  if (event.startsWith('account_')) {
    const key = textIn(parsed, 'person')
    return key === undefined
      ? []
      : [...memberOf(parsed, 'person', `user:${key}`, true), ...memberOf(parsed, 'sub', `user:${key}`)]
  }
  const argumentsGiven = (parsed['arguments'] ?? {}) as Readonly<Record<string, unknown>>
  return ['key', 'user'].flatMap((name) => {
    const key = textIn(argumentsGiven, name)
    if (key === undefined || key.startsWith('user:')) return []
    return [
      ...memberOf(argumentsGiven, name, `user:${key}`, true),
      ...memberOf(argumentsGiven, 'name', `user:${key}`),
    ]
  })
}

const personal = /^(connection_|account_|command$|retrieved$)/

function memberOf(
  source: Readonly<Record<string, unknown>>,
  name: string,
  owner: string,
  isPerson = false,
): Member[] {
  const value = textIn(source, name)
  return value === undefined || !owner.startsWith('user:') ? [] : [{ name, value, owner, isPerson }]
}

function textIn(source: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = source[name]
  return typeof value === 'string' && !value.startsWith(prefix) ? value : undefined
}
