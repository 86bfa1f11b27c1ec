import type { Directory, SourceZone } from '@remit/connector'
import { type Named, type SayableRule, Saying } from '../saying.ts'
import type { KnownAccount } from './accounts.ts'
import { isAllowed, isForAll, type Rule, readBit, ruleKey, ruleOf, searchBit } from './acl.ts'
import { directoriesAbove, type SeenFile } from './seen.ts'

/** Where the groups and zones of a tree are named, and filed. */
export interface ZoneOptions {
  /** Put before each id. */
  readonly prefix: string
  readonly collection: string
}

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
  const saying = new Saying(accounts, { prefix: options.prefix, idOf: ({ uid }) => String(uid) })
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

function zoneOf(
  id: string,
  file: SeenFile,
  saying: Saying<KnownAccount>,
  { collection }: ZoneOptions,
): SourceZone {
  const chain = directoriesAbove(file)
  if (!chain.every(({ isSteady }) => isSteady)) return { id, collection, audience: [], gates: [] }
  const audience = saying.say(sayable(ruleOf(file.acl, readBit)))
  const rules = new Map(
    chain
      .map((directory) => ruleOf(directory.acl, searchBit))
      .filter((rule) => !isForAll(rule))
      .map((rule) => [ruleKey(rule), rule]),
  )
  const gates = saying.gates([...rules.values()].map(sayable))
  return {
    id,
    collection,
    audience: audience.granted,
    gates: gates.map(({ granted }) => granted),
    blocked: [...new Set([audience, ...gates].flatMap(({ denied }) => denied))],
  }
}

/**
 * Who is denied is so whatever lets them; who is not named by any entry is what `other` says. No such lists
 * are exact for who is in two groups, of which one may and the other may less than everybody.
 */
function sayable(rule: Rule): SayableRule<KnownAccount> {
  const { owner, ownerMay, users, groups, otherMay } = rule
  const named: readonly (readonly [uid: number, may: boolean])[] = [[owner, ownerMay], ...users]
  const accountsThat = (may: boolean): readonly Named<KnownAccount>[] =>
    named.filter((user) => user[1] === may).map(([uid]) => ({ account: String(uid) }))
  const groupsThat = (may: boolean): readonly Named<KnownAccount>[] =>
    groups
      .filter((group) => group[1] === may)
      .map(([gid]) => ({ group: String(gid), holds: ({ gids }) => gids.has(gid) }))
  return {
    key: ruleKey(rule),
    isAllowed: (account) => isAllowed(rule, account),
    granted: otherMay ? ['everyone'] : [...accountsThat(true), ...groupsThat(true)],
    denied: otherMay ? [...accountsThat(false), ...groupsThat(false)] : accountsThat(false),
  }
}
