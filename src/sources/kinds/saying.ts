import { createHash } from 'node:crypto'
import type { SourceGroup } from '@remit/connector'

/** Whom an entry of a rule names. */
export type Named<Account> =
  | 'everyone'
  | { readonly account: string }
  /** `name` is the group's id below `groups/` or `denied/`. */
  | { readonly group: string; readonly holds: (account: Account) => boolean }

/** A rule that lets accounts read: its own word, and its entries as two lists. */
export interface SayableRule<Account> {
  /** The same for the same rule; another one for another rule. */
  readonly key: string
  readonly isAllowed: (account: Account) => boolean
  readonly granted: readonly Named<Account>[]
  readonly denied: readonly Named<Account>[]
}

/** Whom a rule lets, in subjects of Remit: who is in `granted` and not in `denied`. */
export interface Said {
  readonly granted: readonly string[]
  readonly denied: readonly string[]
}

/** Sixteen characters that ids take. */
export const digestOf = (text: string | Uint8Array): string =>
  createHash('sha256').update(text).digest('base64url').slice(0, 16)

// One is kept for what is left over.
const gatesMax = 3

/**
 * Says rules in subjects, and remembers the groups that it needs for it. What of a rule its two lists do not
 * say exactly is worked out, account by account, in a group of its own.
 */
export class Saying<Account extends { readonly subject: string }> {
  readonly #accounts: readonly Account[]
  readonly #prefix: string
  readonly #idOf: (account: Account) => string
  readonly #groups = new Map<string, SourceGroup>()
  readonly #said = new Map<string, Said>()

  constructor(
    accounts: readonly Account[],
    { prefix, idOf }: { readonly prefix: string; readonly idOf: (account: Account) => string },
  ) {
    this.#accounts = accounts
    this.#prefix = prefix
    this.#idOf = idOf
  }

  groups(): readonly SourceGroup[] {
    return [...this.#groups.values()]
  }

  say(rule: SayableRule<Account>): Said {
    const known = this.#said.get(rule.key)
    if (known !== undefined) return known
    const said = this.#exactly(rule) ?? {
      granted: [this.#group(`only/${rule.key}`, rule.isAllowed)],
      denied: [],
    }
    this.#said.set(rule.key, said)
    return said
  }

  /** As many as fit; in the last of them whoever all that is left over lets. */
  gates(rules: readonly SayableRule<Account>[]): readonly Said[] {
    if (rules.length <= gatesMax) return rules.map((rule) => this.say(rule))
    const rest = rules.slice(gatesMax - 1)
    const name = `all/${digestOf(
      rest
        .map(({ key }) => key)
        .sort()
        .join(' '),
    )}`
    const lets = (account: Account) => rest.every((rule) => rule.isAllowed(account))
    return [
      ...rules.slice(0, gatesMax - 1).map((rule) => this.say(rule)),
      { granted: [this.#group(name, lets)], denied: [] },
    ]
  }

  /** By the rule's own entries: undefined where these would be another answer for anybody. */
  #exactly({ granted, denied, isAllowed }: SayableRule<Account>): Said | undefined {
    const lets = (account: Account): boolean =>
      granted.some((named) => this.#isNamed(named, account)) &&
      !denied.some((named) => this.#isNamed(named, account))
    if (this.#accounts.some((account) => lets(account) !== isAllowed(account))) return undefined
    return {
      granted: [...new Set(granted.flatMap((named) => this.#subjectOf(named, 'groups') ?? []))],
      denied: [...new Set(denied.flatMap((named) => this.#subjectOf(named, 'denied') ?? []))],
    }
  }

  #isNamed(named: Named<Account>, account: Account): boolean {
    if (named === 'everyone') return true
    return 'account' in named ? this.#idOf(account) === named.account : named.holds(account)
  }

  /** Two groups for each: none both lets and denies, so that whoever joins it only gains, or only loses. */
  #subjectOf(named: Named<Account>, side: 'groups' | 'denied'): string | undefined {
    if (named === 'everyone')
      return this.#group(side === 'groups' ? 'everyone' : 'denied/everyone', () => true)
    if ('group' in named) return this.#group(`${side}/${named.group}`, named.holds)
    return this.#accounts.find((account) => this.#idOf(account) === named.account)?.subject
  }

  #group(name: string, holds: (account: Account) => boolean): string {
    const id = `${this.#prefix}${name}`
    if (!this.#groups.has(id)) {
      const members = this.#accounts.filter(holds).map((account) => ({ account: this.#idOf(account) }))
      this.#groups.set(id, { id, members })
    }
    return `group:${id}#member`
  }
}
