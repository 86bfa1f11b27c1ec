import { spawn } from 'node:child_process'
import type { FileHandle } from 'node:fs/promises'
import { SourceUnavailable } from '@remit/connector'
import { digestOf } from '../saying.ts'

/** An account of the machine: its number, and all groups that a process of its would have. */
export interface Account {
  readonly uid: number
  readonly gids: ReadonlySet<number>
}

/** The access ACL of a file or directory; each number is of three bits, r 4, w 2, x 1. */
export interface Acl {
  readonly owner: number
  readonly group: number
  readonly ownerBits: number
  /** Before the mask. */
  readonly groupBits: number
  readonly otherBits: number
  /** Named users and groups, before the mask. */
  readonly users: ReadonlyMap<number, number>
  readonly groups: ReadonlyMap<number, number>
  /** Left out: there is nobody whom it would limit but the owning group, which has its own bits then. */
  readonly mask?: number
}

export const readBit = 4
export const searchBit = 1

/**
 * What an ACL says of one bit. Whoever it names is decided by that entry alone: the owner first, then named
 * users, then groups, of which one that may is enough. `otherMay` is for whom nothing names.
 */
export interface Rule {
  readonly owner: number
  readonly ownerMay: boolean
  readonly users: readonly (readonly [uid: number, may: boolean])[]
  readonly groups: readonly (readonly [gid: number, may: boolean])[]
  readonly otherMay: boolean
}

/**
 * What the kernel answers for one bit (`acl_permission_check` of Linux's fs/namei.c, and acl(5), "Access
 * check algorithm"). It differs from acl(5) in one point, as the kernel does: with a mask of no bits at all,
 * named entries do not count, and whom they name is decided as anybody else.
 */
export function ruleOf(acl: Acl, bit: number): Rule {
  const { owner, group, mask = 7 } = acl
  const may = (bits: number) => (bits & mask & bit) !== 0
  const named = mask === 0 ? { users: new Map(), groups: new Map() } : acl
  const groups = new Map<number, boolean>([[group, may(acl.groupBits)]])
  for (const [gid, bits] of named.groups) groups.set(gid, may(bits) || groups.get(gid) === true)
  const users = [...named.users]
    .filter(([uid]) => uid !== owner)
    .map(([uid, bits]): [number, boolean] => [uid, may(bits)])
  return {
    owner,
    ownerMay: (acl.ownerBits & bit) !== 0,
    users: users.sort(([a], [b]) => a - b),
    groups: [...groups].sort(([a], [b]) => a - b),
    otherMay: (acl.otherBits & bit) !== 0,
  }
}

export function isAllowed(rule: Rule, { uid, gids }: Account): boolean {
  if (uid === rule.owner) return rule.ownerMay
  const asUser = rule.users.find(([named]) => named === uid)
  if (asUser !== undefined) return asUser[1]
  const asMember = rule.groups.filter(([gid]) => gids.has(gid))
  return asMember.length > 0 ? asMember.some(([, may]) => may) : rule.otherMay
}

/** Whether every account may, whoever it is. */
export const isForAll = ({ ownerMay, users, groups, otherMay }: Rule): boolean =>
  ownerMay && otherMay && [...users, ...groups].every(([, may]) => may)

/** The same for the same rule; another one for another rule. */
export const ruleKey = (rule: Rule): string => digestOf(JSON.stringify(rule))

/** The most files of one call: their descriptors go with it. */
export const aclsAtOnce = 200

const firstFd = 3
const limitMs = 30_000

/**
 * The ACLs of open files, in their order: of these files, whatever stands under their names by now. Undefined
 * where one cannot be read.
 *
 * @throws SourceUnavailable without `getfacl` (Debian's package `acl`), or where it does not end.
 */
export async function readAcls(
  handles: readonly FileHandle[],
  program = 'getfacl',
): Promise<readonly (Acl | undefined)[]> {
  if (handles.length === 0) return []
  const names = handles.map((_, index) => `/proc/self/fd/${index + firstFd}`)
  const options = ['--numeric', '--absolute-names', '--access', '--no-effective']
  const output = await new Promise<string>((resolve, reject) => {
    const child = spawn(program, [...options, ...names], {
      stdio: ['ignore', 'pipe', 'ignore', ...handles.map(({ fd }) => fd)],
      timeout: limitMs,
      killSignal: 'SIGKILL',
    })
    const chunks: Buffer[] = []
    child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk))
    child.on('error', (error) =>
      reject(new SourceUnavailable(`${program} does not run (${error.message}).`, { cause: error })),
    )
    child.on('close', (code, signal) => {
      // 1: of some of them it could say nothing. Those are missing in what it prints.
      if (code === 0 || code === 1) resolve(Buffer.concat(chunks).toString('latin1'))
      else reject(new SourceUnavailable(`${program} ended with ${signal ?? code}.`))
    })
  })
  try {
    const acls = parseAcls(output)
    return names.map((name) => acls.get(name))
  } catch (error) {
    throw new SourceUnavailable(`${program} prints what cannot be read.`, { cause: error })
  }
}

/**
 * Reads what `getfacl --numeric --absolute-names --access --no-effective` prints of several files, by their
 * names as it prints them.
 *
 * @throws where a line is none that it knows: an entry that is passed over may be one that denies.
 */
function parseAcls(output: string): ReadonlyMap<string, Acl> {
  const acls = new Map<string, Acl>()
  for (const block of output.split('\n\n')) {
    if (block.trim() === '') continue
    const [name, acl] = parseAcl(block)
    acls.set(name, acl)
  }
  return acls
}

function parseAcl(block: string): readonly [string, Acl] {
  const headers = new Map<string, string>()
  const single = new Map<string, number>()
  const users = new Map<number, number>()
  const groups = new Map<number, number>()
  for (const line of block.split('\n')) {
    if (line === '') continue
    const header = /^# (file|owner|group|flags): (.*)$/.exec(line)
    const entry = /^(user|group|mask|other):(\d*):([r-][w-][x-])$/.exec(line)
    if (header?.[1] !== undefined) headers.set(header[1], header[2] ?? '')
    else if (entry?.[1] !== undefined) {
      const [, kind, id, bits = ''] = entry
      const named = kind === 'user' ? users : groups
      if (id === '') single.set(kind, bitsOf(bits))
      else named.set(numberOf(id), bitsOf(bits))
    } else throw new Error(`getfacl prints an entry that is not known: ${JSON.stringify(line)}.`)
  }
  const mask = single.get('mask')
  const bitsFor = (kind: string) => single.get(kind) ?? missing(kind)
  return [
    headers.get('file') ?? missing('file'),
    {
      owner: numberOf(headers.get('owner')),
      group: numberOf(headers.get('group')),
      ownerBits: bitsFor('user'),
      groupBits: bitsFor('group'),
      otherBits: bitsFor('other'),
      users,
      groups,
      ...(mask !== undefined && { mask }),
    },
  ]
}

const bitsOf = ([r, w, x]: string): number =>
  (r === 'r' ? readBit : 0) | (w === 'w' ? 2 : 0) | (x === 'x' ? searchBit : 0)

function numberOf(text: string | undefined): number {
  if (text === undefined || !/^\d{1,10}$/.test(text)) throw new Error(`getfacl prints no number: ${text}.`)
  return Number(text)
}

function missing(what: string): never {
  throw new Error(`getfacl does not print the ${what} of a file.`)
}
