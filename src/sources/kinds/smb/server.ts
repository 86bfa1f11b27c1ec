import { SourceUnavailable } from '@remit/connector'
import { namedTwice } from '../settings.ts'
import { parseRule, type Rule, ruleBut, ruleFor, unknownSid } from './descriptor.ts'
import { isOfServer, lineMax, type Shell, statusIn } from './shell.ts'
import { assertSignsIn } from './sign-in.ts'

/** Who an account is in Remit. */
export interface Person {
  /** The account's SID. */
  readonly account: string
  /** `user:anne`. */
  readonly subject: string
}

/** A group of which the server of the share does not say who is in it, such as a domain's. */
export interface StatedGroup {
  readonly sid: string
  /** Accounts and groups, by their SIDs. */
  readonly members: readonly string[]
}

/** An account that is somebody in Remit, and the SIDs that a sign-in would give it. */
export interface KnownAccount {
  readonly sid: string
  readonly subject: string
  readonly sids: ReadonlySet<string>
}

/** What the server says of itself, its accounts and a share. */
export interface Server {
  /** What its own SIDs begin with. */
  readonly domain: string
  /** Of a domain, of which it says neither groups nor accounts. */
  readonly isMember: boolean
  readonly accounts: readonly KnownAccount[]
  /** Its local groups and those that the settings state, by SID: whether all who are in them are known. */
  readonly groups: ReadonlyMap<string, boolean>
  /** SIDs of which it is known who has them, whatever the server says. */
  readonly named: ReadonlySet<string>
  /** Who of the people is nobody, and why. */
  readonly problems: readonly { readonly name: string; readonly problem: string }[]
  /** Who may connect to the share. */
  readonly share: Rule
}

/** Whoever signs in over the network: Everyone, Authenticated Users, NETWORK. */
export const everyone: readonly string[] = ['S-1-1-0', 'S-1-5-11', 'S-1-5-2']

// CREATOR OWNER, CREATOR GROUP, OWNER RIGHTS of nobody, SELF, ANONYMOUS, SYSTEM and the two services; whoever
// sits at the machine, or runs on it: BATCH, INTERACTIVE, SERVICE, REMOTE INTERACTIVE, IUSR.
const nobody: readonly string[] = [
  ...['S-1-3-0', 'S-1-3-1', 'S-1-3-4', 'S-1-5-10'],
  ...['S-1-5-7', 'S-1-5-18', 'S-1-5-19', 'S-1-5-20'],
  ...['S-1-5-3', 'S-1-5-4', 'S-1-5-6', 'S-1-5-14', 'S-1-5-17'],
]

const builtin = 'S-1-5-32'

/** A SID without its last number. */
export const domainOf = (sid: string): string => sid.slice(0, sid.lastIndexOf('-'))

/** Whether it is known who has a SID. What nobody tells is not. */
export function isKnown(
  sid: string,
  { domain, isMember, groups, named }: Pick<Server, 'domain' | 'isMember' | 'groups' | 'named'>,
): boolean {
  if (named.has(sid)) return true
  // Of a domain's, a member server takes somebody for a Builtin group that it does not list. Each takes its
  // guests for this one (Samba's `add_builtin_guests`).
  const isNobodys = domainOf(sid) === builtin && !isMember && sid !== `${builtin}-546`
  return groups.get(sid) ?? (domainOf(sid) === domain || isNobodys)
}

/** @throws SourceUnavailable where the server does not say one of them. */
export type ReadServer = (signal?: AbortSignal) => Promise<Server>

/** What {@link serverReader} asks for. */
export interface ServerQuestion {
  readonly share: string
  /** Who may connect to the share, if not its server says so: whoever holds one of these SIDs. */
  readonly connect?: readonly string[]
  /** Who may not, whatever lets them. */
  readonly invalidUsers?: readonly string[]
  readonly people: readonly Person[]
  readonly groups: readonly StatedGroup[]
  /** Besides that of the server: what the SIDs of accounts begin with that may sign in. */
  readonly domains?: readonly string[]
  /** ms */
  readonly now: () => number
}

/** Asks by `rpcclient` (MS-SAMR, MS-SRVS, MS-LSAD), as the server itself would at a sign-in. */
export function serverReader(shell: Shell, question: ServerQuestion): ReadServer {
  const { people } = question
  const named = new Set([...[...nobody, ...everyone], ...people.map(({ account }) => account)])
  const reader = new Reader(shell, question)
  const twice = namedTwice(people, ({ account, subject }) => [account, subject])
  return async (signal) => {
    const ask = (command: string) => reader.ask(command, signal)
    await reader.assertNoDfs(ask)
    const { domain, isMember, domains } = await reader.domains(ask)
    const accounts: KnownAccount[] = []
    const problems: { name: string; problem: string }[] = []
    for (const person of people) {
      const { account, subject } = person
      try {
        if (twice.has(person)) throw new Error('It is named twice, or its person is.')
        if (!domains.has(domainOf(account))) throw new Error('The server has no accounts of its domain.')
        accounts.push({ sid: account, subject, sids: await reader.sidsOf(account, domain, ask) })
      } catch (error) {
        if (error instanceof SourceUnavailable || signal?.aborted === true || !(error instanceof Error))
          throw error
        problems.push({ name: `account ${account}`, problem: error.message })
      }
    }
    const groups = await reader.groups({ domain, isMember, named }, ask)
    return { domain, isMember, accounts, groups, named, problems, share: await reader.share(ask) }
  }
}

type Ask = (command: string) => Promise<string>

class Reader {
  readonly #shell: Shell
  readonly #question: ServerQuestion

  constructor(shell: Shell, question: ServerQuestion) {
    this.#shell = shell
    this.#question = question
  }

  /** @throws SourceUnavailable where the server is away; another error where it refuses this question. */
  async ask(command: string, signal: AbortSignal | undefined): Promise<string> {
    const answer = await this.#shell.ask(command, signal)
    const status = statusIn(answer)
    if (status === undefined) return answer
    const message = `The server does not say ${command.split(' ')[0]} (${status}).`
    throw isOfServer(status) ? new SourceUnavailable(message) : new Error(message)
  }

  /**
   * Before anything of the share is asked for: a root of DFS sends whoever follows its links, with their
   * sign-in, to servers that nobody registered (MS-SRVS 2.2.4.29, SHI1005_FLAGS_DFS and _DFS_ROOT).
   */
  async assertNoDfs(ask: Ask): Promise<void> {
    const answer = await whole(() => ask(`netsharegetinfo ${this.#question.share} 1005`))
    const [flags] = numbersOf(answer, /^flags: 0x([0-9a-f]+)$/)
    if (flags === undefined)
      throw new SourceUnavailable('The server does not say whether the share is a root of DFS.')
    if (flags % 4 !== 0) throw new SourceUnavailable('The share is a root of DFS, which is not covered.')
  }

  /** Its own domain, and those whose accounts may sign in. */
  async domains(ask: Ask) {
    return whole(async () => {
      const names = rowsOf(await ask('enumdomains'), /^name:\[([\w.-]+)\] idx:/)
      const name = names.find((found) => found !== 'Builtin')
      const [domain] = rowsOf(await ask(`lookupdomain ${name}`), / Domain SID: (S-[\d-]+)$/)
      const [joined] = rowsOf(await ask('lsaquery'), /^Domain Sid: (S-[\d-]+|\(NULL SID\))$/)
      if (name === undefined || domain === undefined || joined === undefined)
        throw new SourceUnavailable('The server does not say its SID.')
      // Groups of a domain are in groups, of which a controller tells this way the first only.
      if (joined === domain)
        throw new SourceUnavailable('The server is a domain controller, which is not covered.')
      const isMember = joined.startsWith('S-')
      const others = isMember ? [joined, ...(this.#question.domains ?? [])] : []
      return { domain, isMember, domains: new Set([domain, ...others]) }
    })
  }

  /**
   * Its own groups, and those of the server and of the list that they lead to.
   *
   * @throws Error why it is nobody.
   */
  async sidsOf(account: string, domain: string, ask: Ask): Promise<ReadonlySet<string>> {
    const sids = new Set([account, ...everyone])
    if (domainOf(account) === domain) {
      const rid = account.slice(domain.length + 1)
      assertSignsIn(await this.#account(rid, ask), this.#question.now())
      for (const group of numbersOf(await ask(`queryusergroups ${rid}`), ofAccount))
        sids.add(`${domain}-${group}`)
    }
    this.#addStated(sids)
    // In Samba's order (`add_aliases`): a Builtin group may hold a local one.
    for (const [name, prefix] of aliasDomains(domain)) {
      for (const part of inLines([...sids]))
        for (const alias of numbersOf(await ask(`queryuseraliases ${name} ${part}`), ofAccount))
          sids.add(`${prefix}-${alias}`)
      this.#addStated(sids)
    }
    return sids
  }

  async #account(rid: string, ask: Ask): Promise<string> {
    try {
      return await ask(`queryuser ${rid}`)
    } catch (error) {
      const isGone =
        error instanceof Error && /NT_STATUS_(?:NO_SUCH_USER|OBJECT_NAME_NOT_FOUND)/.test(error.message)
      throw isGone ? new Error('The server has no such account.') : error
    }
  }

  /**
   * The local groups, and those that the settings state: is everybody in them known? A group of a domain, or
   * one of Unix, has members that the server does not tell.
   */
  async groups(
    server: Pick<Server, 'domain' | 'isMember' | 'named'>,
    ask: Ask,
  ): Promise<ReadonlyMap<string, boolean>> {
    const members = new Map<string, readonly string[]>()
    for (const [name, prefix] of aliasDomains(server.domain))
      for (const rid of listedAliases(await whole(() => ask(`enumalsgroups ${name}`))))
        members.set(`${prefix}-${rid}`, await membersOf(`${name} ${rid}`, ask))
    for (const stated of this.#question.groups)
      members.set(stated.sid, [...(members.get(stated.sid) ?? []), ...stated.members])
    const groups = new Map([...members.keys()].map((sid) => [sid, true]))
    for (let before = -1; before !== falseIn(groups); ) {
      before = falseIn(groups)
      for (const [sid, list] of members)
        if (!list.every((member) => isKnown(member, { ...server, groups }))) groups.set(sid, false)
    }
    return groups
  }

  /** Samba 4.17 tells nobody but root, or answers without it: that is no answer. */
  async share(ask: Ask): Promise<Rule> {
    const { connect, invalidUsers = [], share } = this.#question
    if (connect !== undefined) return ruleBut(ruleFor(connect), invalidUsers)
    try {
      return ruleBut(parseRule(await ask(`netsharegetinfo ${share} 502`)), invalidUsers)
    } catch (error) {
      if (error instanceof SourceUnavailable) throw error
      throw new SourceUnavailable('The server does not say who may connect to the share.', { cause: error })
    }
  }

  #addStated(sids: Set<string>): void {
    for (let before = -1; before !== sids.size; ) {
      before = sids.size
      for (const { sid, members } of this.#question.groups)
        if (members.some((member) => sids.has(member))) sids.add(sid)
    }
  }
}

const aliasDomains = (domain: string) =>
  [
    ['domain', domain],
    ['builtin', builtin],
  ] as const

const falseIn = (map: ReadonlyMap<string, boolean>): number =>
  [...map.values()].filter((value) => !value).length

/** Without which nothing is known of anybody. */
async function whole<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof SourceUnavailable || !(error instanceof Error)) throw error
    throw new SourceUnavailable(error.message, { cause: error })
  }
}

/** A group that does not say who is in it has a member whom nobody knows. */
async function membersOf(alias: string, ask: Ask): Promise<readonly string[]> {
  try {
    return rowsOf(await ask(`queryaliasmem ${alias}`), /^\tsid:\[(S-[\d-]+)\]$/)
  } catch (error) {
    if (error instanceof SourceUnavailable || !(error instanceof Error)) throw error
    return [unknownSid]
  }
}

/** Of each line that is of a form, what it captures. */
const rowsOf = (answer: string, form: RegExp): readonly string[] =>
  answer.split('\n').flatMap((line) => form.exec(line)?.[1] ?? [])

const numbersOf = (answer: string, form: RegExp): readonly number[] =>
  rowsOf(answer, form).map((digits) => Number.parseInt(digits, 16))

const ofAccount = /^\tgroup rid:\[0x([0-9a-f]+)\]/

/** Whatever they are called. */
function listedAliases(answer: string): readonly number[] {
  const rids = numbersOf(answer, /\] rid:\[0x([0-9a-f]+)\]$/)
  if (rids.length !== answer.split('\n').filter((line) => line.startsWith('group:[')).length)
    throw new SourceUnavailable('The server lists a group that cannot be read.')
  return rids
}

const inLines = (sids: readonly string[]): readonly string[] => {
  const lines: string[] = []
  for (const sid of sids) {
    const last = lines.at(-1)
    if (last === undefined || last.length + sid.length > lineMax / 2) lines.push(sid)
    else lines[lines.length - 1] = `${last} ${sid}`
  }
  return lines
}
