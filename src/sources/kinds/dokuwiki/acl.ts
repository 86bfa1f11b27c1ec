import { printable } from '../../../kernel/printable.ts'
import type { WikiEntry, WikiPermissions } from './wiki.ts'

/** What one scope of the list says: `hr:plan` of a page, `hr:*` of a namespace, `*` of all. */
export interface Level {
  /** Whom it names → whether it lets them read: `@ALL`, `@group` or a name, as {@link keyOf} writes them. */
  readonly shared: ReadonlyMap<string, boolean>
  /** What it says of one account alone, by the account's place in the list of accounts. */
  readonly own: ReadonlyMap<number, boolean>
  /** Whether an entry of it is unclear, and which accounts it names: they read nothing by this level. */
  readonly isUnclear: boolean
  readonly unclear: ReadonlySet<number>
}

/** An entry of which nobody knows what the wiki makes of it. */
export interface UnclearEntry {
  readonly name: string
  readonly problem: string
}

interface OpenLevel extends Level {
  readonly shared: Map<string, boolean>
  readonly own: Map<number, boolean>
  isUnclear: boolean
  readonly unclear: Set<number>
}

const everybody = '@ALL'

/**
 * The access control list of a wiki, as its own check reads it (`auth_aclcheck_cb` of inc/auth.php): the
 * nearest level of which an entry names somebody decides, and there the entry that lets them do most. What
 * the check makes of an entry whose permission is no number depends on PHP's comparing: PHP 7 takes `read`
 * for more than 1 and then for 0, so that it takes away what another entry gives, and PHP 8 for the right to
 * delete. Whom such an entry names reads nothing by its level, whatever else it says.
 */
export class Acl {
  readonly accounts: WikiPermissions['accounts']
  readonly #levels = new Map<string, OpenLevel>()
  readonly #keys: readonly ReadonlySet<string>[]
  readonly #unclear = new Map<string, string>()

  constructor({ entries, accounts }: WikiPermissions) {
    this.accounts = accounts
    this.#keys = accounts.map(({ names }) => new Set([everybody, ...names.map(keyOf)]))
    for (const entry of entries) {
      const key = keyOf(entry[1])
      const may = saysOf(entry)
      if (typeof may === 'string')
        this.#noteUnclear(
          entry,
          may,
          accounts.flatMap((_, index) => (this.isNamed(index, key) ? [index] : [])),
        )
      most(this.#levelAt(entry).shared, key, may === true)
    }
    for (const [index, account] of accounts.entries())
      for (const entry of account.entries) {
        if (!this.isNamed(index, keyOf(entry[1]))) continue
        const may = saysOf(entry)
        if (typeof may === 'string') this.#noteUnclear(entry, may, [index])
        most(this.#levelAt(entry).own, index, may === true)
      }
  }

  get unclear(): readonly UnclearEntry[] {
    return [...this.#unclear].map(([text, why]) => ({
      name: `entry ${text}`,
      problem: `${why} Whom it names reads nothing where it decides.`,
    }))
  }

  /** Undefined: no entry has this scope. */
  level(scope: string): Level | undefined {
    return this.#levels.get(scope)
  }

  isNamed(index: number, key: string): boolean {
    return this.#keys[index]?.has(key) === true
  }

  /** Who of the accounts may read at a level, given who may above it. */
  readers(level: Level, above: readonly boolean[] | undefined): readonly boolean[] {
    return this.accounts.map(
      ({ superuser }, index) =>
        superuser || (!level.unclear.has(index) && (this.#said(level, index) ?? above?.[index] === true)),
    )
  }

  /** Undefined: it does not name the account. */
  #said({ shared, own }: Level, index: number): boolean | undefined {
    const answers = [...shared].filter(([key]) => this.isNamed(index, key)).map(([, may]) => may)
    const alone = own.get(index)
    if (alone !== undefined) answers.push(alone)
    return answers.length === 0 ? undefined : answers.includes(true)
  }

  #levelAt([scope]: WikiEntry): OpenLevel {
    const level = this.#levels.get(scope) ?? {
      shared: new Map(),
      own: new Map(),
      isUnclear: false,
      unclear: new Set(),
    }
    this.#levels.set(scope, level)
    return level
  }

  #noteUnclear(entry: WikiEntry, why: string, named: readonly number[]): void {
    const level = this.#levelAt(entry)
    level.isUnclear = true
    for (const index of named) level.unclear.add(index)
    this.#unclear.set(printable(entry.join(' ')), why)
  }
}

/** Whether it lets read; else why nobody knows what the wiki makes of it. */
function saysOf([, whom, permission]: WikiEntry): boolean | string {
  const bits = /^\d{1,3}$/.test(permission) ? Number(permission) : Number.NaN
  if (isVague(whom)) return 'Its name is a number of 16 digits or more.'
  return bits <= 255 ? bits > 0 : 'Its permission is no whole number from 0 to 255.'
}

function most<K>(answers: Map<K, boolean>, key: K, may: boolean): void {
  answers.set(key, may || answers.get(key) === true)
}

// PHP's manual, "Numeric strings". No name holds a space.
const number = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i

/**
 * A name as the wiki compares names: PHP's `in_array` without `strict` takes texts that are numbers for the
 * same where the numbers are, such as `7`, `007`, `+7`, `7.0` and `70e-1`.
 */
const keyOf = (name: string): string => (number.test(name) ? `#${Number(name)}` : name)

/** Whether PHP may tell this number from another one of the same key: it compares some digit by digit. */
const isVague = (name: string): boolean =>
  number.test(name) && !Number.isSafeInteger(Math.trunc(Number(name)))
