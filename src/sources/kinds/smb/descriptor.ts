import { digestOf } from '../saying.ts'

/** An entry of a DACL that counts for the object itself, of what is wanted. */
export interface Entry {
  readonly kind: 'allow' | 'deny'
  /** Of an entry that is not covered, and may deny: {@link unknownSid}. */
  readonly sid: string
  readonly mask: number
}

/** Who may read something, as its security descriptor says. */
export interface Rule {
  /** Who holds this SID has READ_CONTROL whatever the entries say. Undefined: it makes no difference. */
  readonly owner: string | undefined
  /** In their own order, which decides. */
  readonly entries: readonly Entry[]
}

const readControl = 0x0002_0000

/**
 * What a client has to be given to open a file and read it: GENERIC_READ without READ_ATTRIBUTES, which
 * neither Samba asks for (`smbd_check_access_rights_fsp`) nor Windows where the folder may be listed.
 */
const wanted = 0x0012_0009

const everyoneSid = 'S-1-1-0'

/** Names nobody knows whom. */
export const unknownSid = 'S-1-0'
const ownerRights = 'S-1-3-4'

const inheritOnly = 0x8
const daclPresent = 0x4

// GENERIC_ALL, _EXECUTE, _WRITE, _READ of files, each as the bits that it stands for (MS-DTYP 2.4.3).
const generics = [
  [0x1000_0000, 0x001f_01ff],
  [0x2000_0000, 0x0012_00a0],
  [0x4000_0000, 0x0012_0116],
  [0x8000_0000, 0x0012_0089],
] as const

/**
 * Reads what Samba's programs print of a security descriptor (`display_sec_desc`). No DACL at all lets
 * everybody, one without entries nobody. `ownerOf` stands for OWNER RIGHTS.
 *
 * @throws where it is not whole: an entry that is passed over may be one that denies.
 */
export function parseRule(text: string): Rule {
  // Without `m`, for which characters of names begin lines too.
  const type = /(?:^|\n)type: 0x([0-9a-f]+):/.exec(text)?.[1]
  if (type === undefined || (Number.parseInt(type, 16) & daclPresent) === 0)
    throw new Error('Its permissions cannot be read.')
  const owner = /\n\tOwner SID:\t(S-[\d-]+)(?:\n|$)/.exec(text)?.[1]
  const dacl = /(?:^|\n)DACL\n\tACL\tNum ACEs:\t(\d+)\trevision:\t\d+\n\t---(?=\n)/.exec(text)
  if (dacl === null) {
    if (/(?:^|\n)DACL/.test(text)) throw new Error('Its permissions cannot be read.')
    return ruleOf([{ kind: 'allow', sid: everyoneSid, mask: wanted, flags: 0 }], owner)
  }
  const blocks = text.slice(dacl.index + dacl[0].length).split('\n\tACE\n')
  const entries = blocks.slice(1).map(parseEntry)
  if (entries.length !== Number(dacl[1])) throw new Error('Its permissions cannot be read whole.')
  return ruleOf(entries, owner)
}

interface RawEntry extends Entry {
  readonly flags: number
}

function parseEntry(block: string): RawEntry {
  const type = /^\t\ttype: [^\n(]*\((\d+)\) flags: 0x([0-9a-f]+)/.exec(block)
  const mask = /\n\t\tPermissions: 0x([0-9a-f]+):/.exec(block)?.[1]
  const sid = /\n\t\tSID: (S-[\d-]+)(?:\n|$)/.exec(block)?.[1]
  if (type?.[2] === undefined || mask === undefined || sid === undefined)
    throw new Error('Its permissions hold an entry that is not known.')
  const flags = Number.parseInt(type[2], 16)
  if (type[1] === '0' || type[1] === '1')
    return { kind: type[1] === '0' ? 'allow' : 'deny', sid, mask: Number.parseInt(mask, 16), flags }
  // What would let somebody under a condition lets nobody.
  return { kind: 'deny', sid: unknownSid, mask: allowing.has(type[1] ?? '') ? 0 : wanted, flags }
}

// ACCESS_ALLOWED_OBJECT, _CALLBACK, _CALLBACK_OBJECT (MS-DTYP 2.4.4.1).
const allowing: ReadonlySet<string> = new Set(['5', '9', '11'])

function ruleOf(raw: readonly RawEntry[], owner: string | undefined): Rule {
  const own = raw.filter(({ flags }) => (flags & inheritOnly) === 0)
  const entries = own.flatMap(({ kind, sid, mask }): readonly Entry[] => {
    const bits = meant(mask) & wanted
    // OWNER RIGHTS without an owner names nobody.
    return bits === 0 ? [] : [{ kind, sid: sid === ownerRights ? (owner ?? sid) : sid, mask: bits }]
  })
  const isOwners = !own.some(({ sid }) => sid === ownerRights)
  const matters = entries.some(({ kind, mask }) =>
    kind === 'allow' ? (mask & readControl) === 0 : (mask & ~readControl) === 0,
  )
  return { owner: isOwners && matters ? owner : undefined, entries }
}

const meant = (mask: number): number =>
  generics.reduce((bits, [generic, stands]) => ((mask & generic) === 0 ? bits : bits | stands), mask)

/** The same for the same rule; another one for another rule. */
export const ruleKey = ({ owner, entries }: Rule): string =>
  digestOf(JSON.stringify([owner, entries.map(({ kind, sid, mask }) => [kind, sid, mask])]))

/**
 * The access check (MS-DTYP 2.5.3.2): entry by entry, until all that is wanted is given, or something of what
 * is not given yet is denied. `denies` says whom an entry that denies names.
 */
export function isAllowed(
  { owner, entries }: Rule,
  {
    holds,
    denies = holds,
  }: { readonly holds: (sid: string) => boolean; readonly denies?: (sid: string) => boolean },
): boolean {
  let left = owner !== undefined && holds(owner) ? wanted & ~readControl : wanted
  for (const { kind, sid, mask } of entries) {
    if (kind === 'allow') {
      if (holds(sid)) left &= ~mask
    } else if (denies(sid) && (left & mask) !== 0) return false
    if (left === 0) return true
  }
  return false
}

/** Whether one entry alone lets whom it names, if none comes before it. */
export const isWhole = ({ kind, mask }: Entry): boolean => kind === 'allow' && mask === wanted

/** A rule that lets exactly whoever holds one of these. */
export const ruleFor = (sids: readonly string[]): Rule => ({
  owner: undefined,
  entries: sids.map((sid) => ({ kind: 'allow', sid, mask: wanted })),
})

/** The same rule, but for whoever holds one of these. */
export const ruleBut = (rule: Rule, sids: readonly string[]): Rule => ({
  ...rule,
  entries: [...sids.map((sid): Entry => ({ kind: 'deny', sid, mask: wanted })), ...rule.entries],
})
