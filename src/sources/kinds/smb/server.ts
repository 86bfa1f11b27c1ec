import { SourceUnavailable } from '@remit/connector'
import { namedTwice } from '../settings.ts'
import { parseRule, type Rule, ruleFor } from './descriptor.ts'
import { lineMax, type Shell } from './shell.ts'

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
  readonly accounts: readonly KnownAccount[]
  /** Who of the people is nobody, and why. */
  readonly problems: readonly { readonly name: string; readonly problem: string }[]
  /** Who may connect to the share. */
  readonly share: Rule
}

/** Whoever signs in over the network: Everyone, Authenticated Users, NETWORK. */
export const everyone: readonly string[] = ['S-1-1-0', 'S-1-5-11', 'S-1-5-2']

/** @throws SourceUnavailable where the server does not say one of them. */
export type ReadServer = (signal?: AbortSignal) => Promise<Server>

/** What {@link serverReader} asks for. */
export interface ServerQuestion {
  readonly share: string
  /** Who may connect to the share, if not its server says so: whoever holds one of these SIDs. */
  readonly connect?: readonly string[]
  readonly people: readonly Person[]
  readonly groups: readonly StatedGroup[]
}

/** Asks by `rpcclient` (MS-SAMR, MS-SRVS, MS-LSAD), as the server itself would at a sign-in. */
export function serverReader(shell: Shell, { share, connect, people, groups }: ServerQuestion): ReadServer {
  async function ask(command: string, signal: AbortSignal | undefined): Promise<string> {
    const answer = await shell.ask(command, signal)
    const status = /\b(?:NT_STATUS|WERR)_\w+/.exec(answer)?.[0]
    if (status !== undefined)
      throw new SourceUnavailable(`The server does not say ${command.split(' ')[0]} (${status}).`)
    return answer
  }

  async function readDomain(signal: AbortSignal | undefined): Promise<string> {
    const names = [...(await ask('enumdomains', signal)).matchAll(/^name:\[([\w.-]+)\] /gm)]
    const name = names.map(([, found]) => found).find((found) => found !== undefined && found !== 'Builtin')
    const sid = /Domain SID: (S-[\d-]+)$/m.exec(await ask(`lookupdomain ${name}`, signal))?.[1]
    if (name === undefined || sid === undefined)
      throw new SourceUnavailable('The server does not say its SID.')
    // Groups of a domain are in groups, of which a controller tells this way the first only.
    if ((await ask('lsaquery', signal)).includes(`Domain Sid: ${sid}\n`))
      throw new SourceUnavailable('The server is a domain controller, which is not covered.')
    return sid
  }

  /** Its own groups, and those of the server and of the list that they lead to; or why it is nobody. */
  async function sidsOf(
    account: string,
    domain: string,
    signal: AbortSignal | undefined,
  ): Promise<ReadonlySet<string> | string> {
    const sids = new Set([account, ...everyone])
    if (account.startsWith(`${domain}-`)) {
      const rid = account.slice(domain.length + 1)
      const user = await shell.ask(`queryuser ${rid}`, signal)
      if (/NT_STATUS_NO_SUCH_USER|NT_STATUS_OBJECT_NAME_NOT_FOUND/.test(user))
        return 'The server has no such account.'
      const flags = /^\tacb_info :\t0x([0-9a-f]+)$/m.exec(user)?.[1]
      if (flags === undefined) throw new SourceUnavailable('The server does not say queryuser.')
      if ((Number.parseInt(flags, 16) & disabled) !== 0) return 'The account is disabled.'
      for (const [, group] of (await ask(`queryusergroups ${rid}`, signal)).matchAll(
        /^\tgroup rid:\[0x([0-9a-f]+)\]/gm,
      ))
        sids.add(`${domain}-${Number.parseInt(group ?? '', 16)}`)
    }
    addStated(sids)
    for (const [name, prefix] of [
      ['builtin', 'S-1-5-32'],
      ['domain', domain],
    ] as const)
      for (const part of inLines([...sids]))
        for (const [, alias] of (await ask(`queryuseraliases ${name} ${part}`, signal)).matchAll(
          /^\tgroup rid:\[0x([0-9a-f]+)\]/gm,
        ))
          sids.add(`${prefix}-${Number.parseInt(alias ?? '', 16)}`)
    addStated(sids)
    return sids
  }

  /** Samba 4.17 tells nobody but root, or answers without it: that is no answer. */
  async function readShare(signal: AbortSignal | undefined): Promise<Rule> {
    const answer = await ask(`netsharegetinfo ${share} 502`, signal)
    try {
      return parseRule(answer)
    } catch (error) {
      throw new SourceUnavailable('The server does not say who may connect to the share.', { cause: error })
    }
  }

  function addStated(sids: Set<string>): void {
    for (let before = -1; before !== sids.size; ) {
      before = sids.size
      for (const { sid, members } of groups) if (members.some((member) => sids.has(member))) sids.add(sid)
    }
  }

  return async (signal) => {
    const domain = await readDomain(signal)
    const accounts: KnownAccount[] = []
    const problems: { name: string; problem: string }[] = []
    const twice = namedTwice(people, ({ account, subject }) => [account, subject])
    for (const person of people) {
      const { account, subject } = person
      const sids = twice.has(person)
        ? 'It is named twice, or its person is.'
        : await sidsOf(account, domain, signal)
      if (typeof sids === 'string') problems.push({ name: `account ${account}`, problem: sids })
      else accounts.push({ sid: account, subject, sids })
    }
    return {
      domain,
      accounts,
      problems,
      share: connect === undefined ? await readShare(signal) : ruleFor(connect),
    }
  }
}

// ACB_DISABLED (MS-SAMR 2.2.1.12).
const disabled = 0x1

const inLines = (sids: readonly string[]): readonly string[] => {
  const lines: string[] = []
  for (const sid of sids) {
    const last = lines.at(-1)
    if (last === undefined || last.length + sid.length > lineMax / 2) lines.push(sid)
    else lines[lines.length - 1] = `${last} ${sid}`
  }
  return lines
}
