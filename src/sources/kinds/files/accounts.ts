import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { SourceUnavailable } from '@remit/connector'
import { namedTwice } from '../settings.ts'
import type { Account } from './acl.ts'

/** Who an account of the machine is in Remit. */
export interface Person {
  readonly name: string
  /** Has to be what the machine says of the name: a number that went to somebody else is nobody. */
  readonly uid: number
  /** `user:anne`. */
  readonly subject: string
}

/** An account as the machine's name service knows it now. */
export interface FoundAccount extends Account {
  readonly name: string
}

/** The accounts of these names that there are. */
export type ReadAccounts = (
  names: readonly string[],
  signal?: AbortSignal,
) => Promise<readonly FoundAccount[]>

/** An account that is somebody in Remit. */
export interface KnownAccount extends Account {
  readonly subject: string
}

export interface KnownAccounts {
  readonly accounts: readonly KnownAccount[]
  /** Who of those that were named is nobody, and why. */
  readonly problems: readonly { readonly name: string; readonly problem: string }[]
}

/**
 * Who is who now. Whoever is not exactly one account of that name and number is nobody, and so is root: no
 * permission holds for it.
 */
export function knownAccounts(people: readonly Person[], found: readonly FoundAccount[]): KnownAccounts {
  const accounts: KnownAccount[] = []
  const problems: { name: string; problem: string }[] = []
  const byName = new Map(found.map((account) => [account.name, account]))
  const twice = namedTwice(people, ({ name, uid, subject }) => [name, uid, subject])
  for (const person of people) {
    const { name, uid, subject } = person
    const account = byName.get(name)
    const problem =
      account === undefined
        ? 'The machine has no account of this name.'
        : account.uid !== uid
          ? `The machine says that its number is ${account.uid}, not ${uid}.`
          : uid === 0
            ? 'No permission holds for root.'
            : twice.has(person)
              ? 'It is named twice, or its person is.'
              : undefined
    if (problem !== undefined) problems.push({ name, problem })
    else if (account !== undefined) accounts.push({ uid, gids: account.gids, subject })
  }
  return { accounts, problems }
}

const run = promisify(execFile)

/**
 * Asks the machine's name service (`getent passwd` and `getent initgroups`, nsswitch.conf(5)): files, LDAP,
 * SSSD, whatever it is set up with. A sign-in gets the same groups; a session that began earlier keeps those
 * of then.
 *
 * @throws SourceUnavailable where it does not answer.
 */
export const readNameService: ReadAccounts = async (names, signal) => {
  if (names.length === 0) return []
  const [passwd, groups] = [await ask('passwd', names, signal), await ask('initgroups', names, signal)]
  const gidsOf = new Map<string, number[]>()
  for (const line of groups) {
    const [name = '', ...gids] = line.split(/\s+/).filter((word) => word !== '')
    gidsOf.set(name, gids.map(Number))
  }
  return passwd.flatMap((line) => {
    const [name = '', , uid = '', gid = ''] = line.split(':')
    const more = gidsOf.get(name)
    if (more === undefined || !/^\d+$/.test(uid) || !/^\d+$/.test(gid)) return []
    return { name, uid: Number(uid), gids: new Set([Number(gid), ...more]) }
  })
}

async function ask(
  database: string,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  try {
    const options = { timeout: 30_000, maxBuffer: 64_000_000, ...(signal && { signal }) }
    return linesOf((await run('getent', ['--', database, ...names], options)).stdout)
  } catch (error) {
    // 2: of some of these names it knows nothing. It gives the others.
    if (error instanceof Error && 'code' in error && error.code === 2 && 'stdout' in error)
      return linesOf(String(error.stdout))
    throw new SourceUnavailable(`The machine does not say who its accounts are (getent ${database}).`, {
      cause: error,
    })
  }
}

const linesOf = (text: string): readonly string[] => text.split('\n').filter((line) => line !== '')
