import type { WikiEntry, WikiPermissions } from './wiki.ts'

/** What one scope of the list says: `hr:plan` of a page, `hr:*` of a namespace, `*` of all. */
export interface Level {
  /** Whom it names → whether it lets them read: `@ALL`, `@group` or a name, as {@link keyOf} writes them. */
  readonly shared: ReadonlyMap<string, boolean>
  /** What it says of one account alone, by the account's place in the list of accounts. */
  readonly own: ReadonlyMap<number, boolean>
}

const everybody = '@ALL'

/**
 * The access control list of a wiki, as its own check reads it (`auth_aclcheck_cb` of inc/auth.php): the
 * nearest level of which an entry names somebody decides, and there the entry that lets them do most. An
 * entry whose permission is no number lets nobody read: what the wiki makes of it depends on PHP's comparing.
 */
export class Acl {
  readonly accounts: WikiPermissions['accounts']
  readonly #levels = new Map<string, { shared: Map<string, boolean>; own: Map<number, boolean> }>()
  readonly #keys: readonly ReadonlySet<string>[]

  constructor({ entries, accounts }: WikiPermissions) {
    this.accounts = accounts
    this.#keys = accounts.map(({ names }) => new Set([everybody, ...names.map(keyOf)]))
    for (const entry of entries) most(this.#levelAt(entry).shared, keyOf(entry[1]), mayRead(entry))
    for (const [index, account] of accounts.entries())
      for (const entry of account.entries)
        if (this.isNamed(index, keyOf(entry[1]))) most(this.#levelAt(entry).own, index, mayRead(entry))
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
      ({ superuser }, index) => superuser || (this.#said(level, index) ?? above?.[index] === true),
    )
  }

  /** Undefined: it does not name the account. */
  #said({ shared, own }: Level, index: number): boolean | undefined {
    const said = [...shared].filter(([key]) => this.isNamed(index, key)).map(([, may]) => may)
    const alone = own.get(index)
    if (alone !== undefined) said.push(alone)
    return said.length === 0 ? undefined : said.includes(true)
  }

  #levelAt([scope]: WikiEntry) {
    const level = this.#levels.get(scope) ?? { shared: new Map(), own: new Map() }
    this.#levels.set(scope, level)
    return level
  }
}

const mayRead = ([, , permission]: WikiEntry): boolean =>
  /^\d{1,9}$/.test(permission) && Number(permission) > 0

function most<K>(said: Map<K, boolean>, key: K, may: boolean): void {
  said.set(key, may || said.get(key) === true)
}

/**
 * A name as the wiki compares names: PHP's `in_array` without `strict` takes texts that are numbers for the
 * same where the numbers are, such as `7` and `007`.
 */
export function keyOf(name: string): string {
  const [, digits, exponent = '0'] = /^(\d+)(?:e(\d{1,2}))?$/i.exec(name) ?? []
  return digits === undefined ? name : `#${BigInt(digits) * 10n ** BigInt(exponent)}`
}
