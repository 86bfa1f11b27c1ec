import type { Directory, SourceGroup, SourceZone } from '@remit/connector'
import type { KnownAccount } from './accounts.ts'
import { digestOf, isAllowed, isForAll, type Rule, readBit, ruleKey, ruleOf, searchBit } from './acl.ts'
import { directoriesAbove, type SeenFile } from './seen.ts'

/** Where the groups and zones of a tree are named, and filed. */
export interface ZoneOptions {
  /** Put before each id. */
  readonly prefix: string
  readonly collection: string
}

/** Whom a rule lets, in subjects of Remit: who is in `granted` and not in `denied`. */
interface Said {
  readonly granted: readonly string[]
  readonly denied: readonly string[]
}

// One is kept for what is left over.
const gatesMax = 3

/** The zone that a file is in: where it lies, and who may read it there. Without `zone:`. */
export const zoneIdOf = (file: SeenFile, { prefix }: Pick<ZoneOptions, 'prefix'>): string =>
  `${prefix}zones/${file.above.key}/${ruleKey(ruleOf(file.acl, readBit))}`

/**
 * Who may search each directory above a file: of one text where it is of the same directories and
 * permissions.
 */
export const wayTo = (file: SeenFile): string =>
  JSON.stringify(directoriesAbove(file).map((directory) => [directory.key, ruleOf(directory.acl, searchBit)]))

/**
 * Who may read what of a tree, exactly as the kernel answers each account: whoever may read a file *and*
 * search each directory from the root down to it. A file's rule is the audience of its zone, each other rule
 * above it a gate. What of a rule is no list of whom it lets is worked out, account by account, in a group of
 * its own.
 */
export function directoryOf(
  files: readonly SeenFile[],
  accounts: readonly KnownAccount[],
  options: ZoneOptions,
): Directory & { readonly zones: readonly SourceZone[] } {
  const saying = new Saying(accounts, options)
  const zones = new Map<string, SourceZone>()
  for (const file of files) {
    const id = zoneIdOf(file, options)
    if (!zones.has(id)) zones.set(id, zoneOf(id, file, saying, options))
  }
  return {
    accounts: accounts.map(({ uid, subject }) => ({ id: String(uid), subject })),
    groups: saying.groups(),
    folders: [],
    zones: [...zones.values()],
  }
}

function zoneOf(id: string, file: SeenFile, saying: Saying, { collection }: ZoneOptions): SourceZone {
  const chain = directoriesAbove(file)
  if (!chain.every(({ isSteady }) => isSteady)) return { id, collection, audience: [], gates: [] }
  const audience = saying.say(ruleOf(file.acl, readBit))
  const rules = new Map(
    chain
      .map((directory) => ruleOf(directory.acl, searchBit))
      .filter((rule) => !isForAll(rule))
      .map((rule) => [ruleKey(rule), rule]),
  )
  const gates = saying.gates([...rules.values()])
  return {
    id,
    collection,
    audience: audience.granted,
    gates: gates.map(({ granted }) => granted),
    blocked: [...new Set([audience, ...gates].flatMap(({ denied }) => denied))],
  }
}

/** Says rules in subjects, and remembers the groups that it needs for it. */
class Saying {
  readonly #accounts: readonly KnownAccount[]
  readonly #prefix: string
  readonly #groups = new Map<string, SourceGroup>()
  readonly #said = new Map<string, Said>()

  constructor(accounts: readonly KnownAccount[], { prefix }: ZoneOptions) {
    this.#accounts = accounts
    this.#prefix = prefix
  }

  groups(): readonly SourceGroup[] {
    return [...this.#groups.values()]
  }

  say(rule: Rule): Said {
    const key = ruleKey(rule)
    const known = this.#said.get(key)
    if (known !== undefined) return known
    const said = this.#exactly(rule) ?? {
      granted: [this.#group(`only/${key}`, (account) => isAllowed(rule, account))],
      denied: [],
    }
    this.#said.set(key, said)
    return said
  }

  /** As many as fit; in the last of them whoever all that is left over lets. */
  gates(rules: readonly Rule[]): readonly Said[] {
    if (rules.length <= gatesMax) return rules.map((rule) => this.say(rule))
    const rest = rules.slice(gatesMax - 1)
    const name = `all/${digestOf(rest.map(ruleKey).sort().join(' '))}`
    const lets = (account: KnownAccount) => rest.every((rule) => isAllowed(rule, account))
    return [
      ...rules.slice(0, gatesMax - 1).map((rule) => this.say(rule)),
      { granted: [this.#group(name, lets)], denied: [] },
    ]
  }

  /**
   * By the rule's own entries: undefined where these would be another answer for anybody. So they would for
   * who is in two groups, of which one may and the other may less than everybody.
   */
  #exactly(rule: Rule): Said | undefined {
    const { owner, ownerMay, users, groups, otherMay } = rule
    const named: readonly (readonly [uid: number, may: boolean])[] = [[owner, ownerMay], ...users]
    // Who is denied is so whatever lets them; who is not named by any entry is what `other` says.
    const lets = (account: KnownAccount): boolean =>
      (otherMay ||
        named.some(([uid, may]) => may && account.uid === uid) ||
        groups.some(([gid, may]) => may && account.gids.has(gid))) &&
      !named.some(([uid, may]) => !may && account.uid === uid) &&
      !(otherMay && groups.some(([gid, may]) => !may && account.gids.has(gid)))
    if (this.#accounts.some((account) => lets(account) !== isAllowed(rule, account))) return undefined
    const members = (may: boolean) =>
      groups.filter((group) => group[1] === may).map(([gid]) => this.#groupOf(gid, may))
    const subjects = (may: boolean) =>
      named.filter((user) => user[1] === may).flatMap(([uid]) => this.#subjectOf(uid) ?? [])
    return {
      granted: otherMay ? [this.#group('everyone', () => true)] : [...subjects(true), ...members(true)],
      denied: otherMay ? [...subjects(false), ...members(false)] : subjects(false),
    }
  }

  #subjectOf(uid: number): string | undefined {
    return this.#accounts.find((account) => account.uid === uid)?.subject
  }

  /** Two for each: no group both lets and denies, so that whoever joins it only gains, or only loses. */
  #groupOf(gid: number, may: boolean): string {
    return this.#group(`${may ? 'groups' : 'denied'}/${gid}`, (account) => account.gids.has(gid))
  }

  #group(name: string, holds: (account: KnownAccount) => boolean): string {
    const id = `${this.#prefix}${name}`
    if (!this.#groups.has(id)) {
      const members = this.#accounts.filter(holds).map(({ uid }) => ({ account: String(uid) }))
      this.#groups.set(id, { id, members })
    }
    return `group:${id}#member`
  }
}
