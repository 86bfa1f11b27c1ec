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

/**
 * Subject and detail with aliases in the place of those who have a key here. Of `named` are those whom
 * somebody's words name: an alias of words is made of them as they are when all of these are erased.
 */
export function masked(
  row: Pick<SealedRow, 'event' | 'subject' | 'detail'>,
  personOf: PersonOf,
  named: PersonOf = personOf,
): { readonly subject: string; readonly detail: string } {
  const alias = (subject: string): string => aliasIn(personOf, subject)
  // Words that were sealed as they are: with one of those whom they name taken out they would no longer fit.
  const fixed: string[] = []
  const detail = members(row).reduce((text, { name, value, owner, isPerson, isErasable }) => {
    if ((isAlias(value) && !isErasable) || !owner.startsWith('user:')) return text
    const written = `"${name}": ${JSON.stringify(value)}`
    const rewritten = (as: string): string => text.replaceAll(written, `"${name}": ${JSON.stringify(as)}`)
    const alias = personOf(owner)
    if (alias !== undefined)
      return rewritten(
        isPerson
          ? alias.alias
          : aliasOf(alias.key, `${name} ${isErasable ? wordsMasked(value, named) : value}`),
      )
    if (isErasable) return rewritten(wordsMasked(value, personOf))
    if (!isPerson && value.includes('user:')) fixed.push(written)
    return text
  }, row.detail)
  return { subject: row.subject.replace(person, alias), detail: maskedBeside(fixed, detail, alias) }
}

/** With everybody masked but in the fixed parts. */
function maskedBeside(fixed: readonly string[], text: string, alias: (word: string) => string): string {
  const [first, ...others] = fixed
  if (first === undefined) return text.replaceAll(person, alias)
  return text
    .split(first)
    .map((piece) => maskedBeside(others, piece, alias))
    .join(first)
}

/** Not as they stand in a row's detail: there a line's end is the letter n, and part of what follows it. */
const wordsMasked = (words: string, personOf: PersonOf): string =>
  words.replaceAll(person, (one) => aliasIn(personOf, one))

const aliasIn = (personOf: PersonOf, word: string): string =>
  (word.length > personMax ? undefined : personOf(word)?.alias) ?? word

/**
 * The aliases that a row rests on: of everybody who is erased in it. That of something of theirs, such as a
 * question's words, is left out: it is the one that was sealed, and it may stand where its owner's does.
 */
export function aliasesIn(row: Pick<SealedRow, 'event' | 'subject' | 'detail'>): readonly string[] {
  if (!row.subject.startsWith(prefix) && !row.detail.includes(prefix)) return []
  const found = new Set([row.subject, row.detail].flatMap((text) => text.match(aliases) ?? []))
  for (const { value, owner, isPerson } of members(row))
    if (!isPerson && isAlias(value) && isAlias(owner)) found.delete(value)
  return [...found]
}

/**
 * What is to be recorded, where nothing that somebody wrote looks like an alias: it would be an erasure of
 * which the record says nothing, for ever.
 */
export function withoutAliases<Detail extends object>(detail: Detail): Detail {
  const text = JSON.stringify(detail)
  return text.includes(prefix) ? (JSON.parse(text.replaceAll(prefix, 'erased%3A')) as Detail) : detail
}

const isAlias = (value: string): boolean => value.startsWith(prefix)

/** `user:…` wherever it stands as a word of its own; `user:*` is everybody, and nobody. */
const person = /(?<![A-Za-z0-9._/@+=%-])user:[A-Za-z0-9._@+=%/-]+/g
// A longer word is nobody: an index of Postgres takes 2,704 bytes, and one question's word would end the
// sealing of the whole record.
const personMax = 2_605
/** What takes its place. */
const aliases = /(?<![A-Za-z0-9._/@+=%-])erased:[\w-]{22}(?![A-Za-z0-9._@+=%/-])/g

interface Member {
  readonly name: string
  readonly value: string
  /** Whose it is: a person, or the alias of one. */
  readonly owner: string
  /** It names that person; else it is something of theirs. */
  readonly isPerson: boolean
  /** Words of theirs in which whoever they name is erased. */
  readonly isErasable: boolean
}

/** What else is a person's, in the events that hold it without `user:` before it. */
function members({ event, subject, detail }: Pick<SealedRow, 'event' | 'subject' | 'detail'>): Member[] {
  if (!personal.test(event) || (event === 'retrieved' && !detail.includes('"query": '))) return []
  const parsed = JSON.parse(detail) as Readonly<Record<string, unknown>>
  if (event === 'retrieved') {
    const isErasable = parsed['erasable'] === true
    return memberOf(parsed, 'query', subject).map((member) => ({ ...member, isErasable }))
  }
  if (event.startsWith('connection_')) return memberOf(parsed, 'account', textIn(parsed, 'user') ?? subject)
  if (event.startsWith('source_people_'))
    // Older rows were sealed with the account as it is: they would no longer fit.
    return parsed['erasable'] === true && Array.isArray(parsed['people'])
      ? parsed['people'].flatMap((one: Source | null) =>
          memberOf(one ?? {}, 'account', textIn(one ?? {}, 'subject')),
        )
      : []
  if (event.startsWith('account_')) return [...keyed(parsed, 'person'), ...ofKey(parsed, 'person', 'sub')]
  const given = (parsed['arguments'] ?? {}) as Readonly<Record<string, unknown>>
  return ['key', 'user'].flatMap((name) =>
    textIn(given, name)?.startsWith('user:') === true
      ? []
      : [...keyed(given, name), ...ofKey(given, name, 'name')],
  )
}

const personal = /^(connection_|account_|source_people_|command$|retrieved$)/

type Source = Readonly<Record<string, unknown>>

const textIn = (source: Source, name: string): string | undefined => {
  const value = source[name]
  return typeof value === 'string' ? value : undefined
}

/** Something of a person. */
function memberOf(source: Source, name: string, owner: string | undefined, isPerson = false): Member[] {
  const value = textIn(source, name)
  return value === undefined || owner === undefined
    ? []
    : [{ name, value, owner, isPerson, isErasable: false }]
}

/** Whoever is named there without `user:` before it. */
function namedBy(source: Source, name: string): string | undefined {
  const key = textIn(source, name)
  return key === undefined || isAlias(key) ? key : `user:${key}`
}

const keyed = (source: Source, name: string): Member[] => memberOf(source, name, namedBy(source, name), true)
const ofKey = (source: Source, keyName: string, name: string): Member[] =>
  memberOf(source, name, namedBy(source, keyName))
