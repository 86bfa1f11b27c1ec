import type { Directory, SourceZone } from '@remit/connector'
import { type Named, type SayableRule, Saying } from '../saying.ts'
import { isAllowed, isWhole, type Rule, ruleFor, ruleKey } from './descriptor.ts'
import { everyone, isKnown, type KnownAccount, type Server } from './server.ts'

/** Where the groups and zones of a share are named, and filed. */
export interface ZoneOptions {
  /** Put before each id. */
  readonly prefix: string
  readonly collection: string
  /** Who besides may connect to the share: one of these. Left out: whoever its own permissions let. */
  readonly validUsers?: readonly string[]
}

/** The zone that a file is in. Without `zone:`. */
export const zoneIdOf = (rule: Rule, { prefix }: Pick<ZoneOptions, 'prefix'>): string =>
  `${prefix}zones/${ruleKey(rule)}`

/**
 * Why a rule cannot be said: somebody is denied by a group of which nobody knows who is in it, and for one of
 * the accounts that would make a difference.
 */
export function problemOf(rule: Rule, server: Server): string | undefined {
  const isUnknown = (sid: string) => !isKnown(sid, server)
  const unknown = rule.entries.find(({ kind, sid }) => kind === 'deny' && isUnknown(sid))
  if (unknown === undefined) return undefined
  const differs = server.accounts.some(({ sids }) => {
    const holds = (sid: string) => sids.has(sid)
    return (
      isAllowed(rule, { holds }) && !isAllowed(rule, { holds, denies: (sid) => holds(sid) || isUnknown(sid) })
    )
  })
  return differs ? `It is denied to ${unknown.sid}, and nobody says who all are in it.` : undefined
}

/**
 * Who may read what of a share, exactly as its server answers each account: whoever the entries of a file let
 * read, in their order, and may connect to the share. A zone stands for all files of one rule.
 */
export function directoryOf(
  rules: readonly Rule[],
  server: Server,
  options: ZoneOptions,
): Directory & { readonly zones: readonly SourceZone[] } {
  const { accounts, share } = server
  const { prefix, collection, validUsers } = options
  const saying = new Saying(accounts, { prefix, idOf: ({ sid }) => sid })
  const people = new Set(accounts.map(({ sid }) => sid))
  const doors = [share, ...(validUsers === undefined ? [] : [ruleFor(validUsers)])].filter(
    (rule) => !isForAll(rule),
  )
  // Nobody knows whom the share keeps out: nobody gets in.
  const isClosed = problemOf(share, server) !== undefined
  const gates = saying.gates(doors.map((rule) => sayable(rule, people)))
  const zones = new Map<string, SourceZone>()
  for (const rule of rules) {
    const id = zoneIdOf(rule, options)
    if (zones.has(id)) continue
    const audience = saying.say(sayable(rule, people))
    zones.set(id, {
      id,
      collection,
      audience: isClosed ? [] : audience.granted,
      gates: gates.map(({ granted }) => granted),
      blocked: [...new Set([audience, ...gates].flatMap(({ denied }) => denied))],
    })
  }
  return {
    accounts: accounts.map(({ sid, subject }) => ({ id: sid, subject })),
    groups: saying.groups(),
    folders: [],
    zones: [...zones.values()],
  }
}

const isForAll = ({ entries: [first] }: Rule): boolean =>
  first !== undefined && isWhole(first) && everyone.includes(first.sid)

/** Its entries as two lists: those are exact where whatever denies comes first, and for most of the rest. */
function sayable(rule: Rule, people: ReadonlySet<string>): SayableRule<KnownAccount> {
  const named = (sid: string): Named<KnownAccount> => {
    if (everyone.includes(sid)) return 'everyone'
    return people.has(sid) ? { account: sid } : { group: sid, holds: ({ sids }) => sids.has(sid) }
  }
  return {
    key: ruleKey(rule),
    isAllowed: ({ sids }) => isAllowed(rule, { holds: (sid) => sids.has(sid) }),
    granted: rule.entries.filter(isWhole).map(({ sid }) => named(sid)),
    denied: rule.entries.filter(({ kind }) => kind === 'deny').map(({ sid }) => named(sid)),
  }
}
