import type { Directory, Source, SourceAccount, SourceSubject } from '@remit/connector'
import { type RecordActor, record } from '../../audit/record.ts'
import { plainAddress } from '../../kernel/plain-address.ts'
import type { Seal } from '../../store/encryption.ts'
import { movedTo } from '../../store/moved.ts'
import type { Sql } from '../../store/sql.ts'
import { decidePeople, type PersonLink } from './decide.ts'
import { peopleChanged } from './recorded.ts'
import {
  forgetUntold,
  type Giving,
  isKeptId,
  keptName,
  readGiving,
  readPeople,
  type SourcePerson,
  type WrittenPerson,
  writePeople,
} from './rows.ts'

/** Whose word counts for an address. */
export interface AddressDirectory {
  /** Undefined: nobody's. */
  readonly directoryOf: (domain: string) => string | undefined
  /** Everybody to whom its directory ever gave each of these. */
  readonly holders: (
    sql: Sql,
    wantedAddresses: readonly Addressed[],
  ) => Promise<readonly (Holder & { readonly address: string })[]>
  /** Keeps them as they are until the transaction ends. */
  readonly hold: (sql: Sql, wantedAddresses: readonly Addressed[]) => Promise<void>
}

interface Addressed {
  readonly directory: string
  readonly address: string
}

interface Holder {
  readonly subject: string
  readonly isActive: boolean
  readonly isCurrent: boolean
}

/** What {@link withPeople} takes. */
export interface LinkingDeps {
  readonly source: string
  readonly addresses: AddressDirectory
  /** Whether whoever uses the source cannot give themselves any address. */
  readonly verifiesAddresses: boolean
  /** Told who is nobody in this reading, of whom what they were given may be there still. */
  readonly onNobody: (nobodies: readonly Giving[]) => void
  /** As whom changes go on record. */
  readonly actor: RecordActor
  /** Of accounts that are nobody the record keeps an HMAC. */
  readonly seal: Pick<Seal, 'hash'>
  /** Commits only while this process may write for the source. */
  readonly transaction: <T>(work: (sql: Sql) => Promise<T>) => Promise<T>
}

/**
 * A source whose accounts are people of Remit: those of its settings, those that administrators linked, and
 * those that source and directory name by one address. Everybody else is nobody. Whoever was moved may
 * still be named by the key of before, as settings are.
 */
export const withPeople = (source: Source, dependencies: LinkingDeps): Source => ({
  changes: (cursor, signal) => source.changes(cursor, signal),
  item: (id, signal) => source.item(id, signal),
  ...(source.items !== undefined && {
    items: async (ids, signal) => (await source.items?.(ids, signal)) ?? [],
  }),
  ...(source.directory !== undefined && {
    async directory(signal) {
      const directory = await source.directory?.(signal)
      if (directory === undefined) throw new Error('A source lost its directory.')
      const moved = await dependencies.transaction((sql) => movedTo(sql, subjectsIn(directory)))
      const named = byAccount(directory, (subject) => moved.get(subject) ?? subject)
      return { ...named, accounts: await linkAccounts(named.accounts, dependencies) }
    },
  }),
})

function subjectsIn({ accounts, folders, zones = [] }: Directory): readonly string[] {
  const lists = [
    ...folders.flatMap(({ viewers, blocked = [] }) => [viewers, blocked]),
    ...zones.flatMap(({ audience, gates, blocked = [] }) => [audience, ...gates, blocked]),
  ]
  return [
    ...accounts.flatMap(({ subject }) => subject ?? []),
    ...lists.flatMap((list) => list.filter((named) => typeof named === 'string')),
  ]
}

/**
 * A person whom the settings name for an account means that account, where a folder or a zone names them: it
 * may be nobody by now. Items are to name the account themselves. `nameOf`: under whom a subject goes by now.
 */
function byAccount(
  { accounts, folders, zones = [], ...others }: Directory,
  nameOf: (subject: string) => string,
): Directory {
  const named = accounts.map((account) =>
    account.subject === undefined ? account : { ...account, subject: nameOf(account.subject) },
  )
  const accountOf = new Map(named.map(({ id, subject }) => [subject, id]))
  const asAccounts = (list: readonly SourceSubject[]): readonly SourceSubject[] =>
    list.map((said) => {
      if (typeof said !== 'string') return said
      const account = accountOf.get(nameOf(said))
      return account === undefined ? nameOf(said) : { account }
    })
  return {
    ...others,
    accounts: named,
    folders: folders.map(({ viewers, blocked = [], ...folder }) => ({
      ...folder,
      viewers: asAccounts(viewers),
      blocked: asAccounts(blocked),
    })),
    zones: zones.map(({ audience, gates, blocked = [], ...zone }) => ({
      ...zone,
      audience: asAccounts(audience),
      gates: gates.map(asAccounts),
      blocked: asAccounts(blocked),
    })),
  }
}

/** Decides who each account is now, and keeps it. */
export async function linkAccounts(
  accounts: readonly SourceAccount[],
  { source, addresses, verifiesAddresses, onNobody, actor, seal, transaction }: LinkingDeps,
): Promise<readonly SourceAccount[]> {
  const keptAccounts = accounts.filter(({ id }) => isKeptId(id))
  const wantedAddresses = keptAccounts.flatMap(({ email }) => {
    const plain = plainAddress(email ?? '')
    const directory = plain && addresses.directoryOf(plain.domain)
    return plain && directory !== undefined ? [{ directory, address: plain.address }] : []
  })
  const decide = async (sql: Sql) => {
    const holders = Map.groupBy(
      await addresses.holders(sql, distinct(wantedAddresses)),
      ({ address }) => address,
    )
    const keptPeople = await readPeople(sql, source)
    const people = decidePeople({
      told: keptAccounts,
      kept: keptPeople,
      verifiesAddresses,
      directoryOf: addresses.directoryOf,
      holdersOf: (address) => holders.get(address) ?? [],
    })
    return { kept: new Map(keptPeople.map((link) => [link.account, link])), people }
  }
  /** Whoever deactivates one whom it links comes before, and is seen, or after, and suspends the link. */
  const decideHeld = async (sql: Sql) => {
    const decided = await decide(sql)
    const isNew = ({ account, state, linkedBy }: PersonLink): boolean =>
      state === 'linked' && linkedBy === 'address' && decided.kept.get(account)?.state !== 'linked'
    const newAddresses = new Set([...decided.people.values()].filter(isNew).map(({ address }) => address))
    if (newAddresses.size === 0) return decided
    await addresses.hold(
      sql,
      distinct(wantedAddresses).filter(({ address }) => newAddresses.has(address)),
    )
    return decide(sql)
  }
  const people = await transaction(async (sql) => {
    const decided = await decideHeld(sql)
    const byId = new Map(keptAccounts.map((account) => [account.id, account]))
    const changed = [...decided.people.values()].flatMap((link) => {
      const keptPerson = decided.kept.get(link.account)
      const written = writtenOf(link, byId.get(link.account), keptPerson)
      return keptPerson !== undefined && isSame(written, keptPerson) ? [] : [written]
    })
    const writtenIds = await writePeople(sql, source, changed)
    await forgetUntold(sql, source, [...byId.keys()])
    await recordChanges(
      sql,
      { actor, seal, source },
      changed
        .filter((link) => writtenIds.has(link.account) && isOther(link, decided.kept.get(link.account)))
        // Whoever it was, where it is nobody now: the account is still theirs to be erased.
        .map((link) => ({ ...link, subject: link.subject ?? decided.kept.get(link.account)?.subject })),
    )
    const lost = new Set(changed.map(({ account }) => account).filter((id) => !writtenIds.has(id)))
    onNobody(await readGiving(sql, source))
    return new Map([...decided.people].filter(([id]) => !lost.has(id)))
  })
  return accounts.map(({ subject: _, ...account }) => {
    const link = people.get(account.id)
    return link?.state === 'linked' && link.subject !== undefined
      ? { ...account, subject: link.subject }
      : account
  })
}

const recordedAtOnce = 500

/** Puts on record who became somebody, somebody else or nobody. */
async function recordChanges(
  sql: Sql,
  { actor, seal, source }: Pick<LinkingDeps, 'actor' | 'seal' | 'source'>,
  changed: readonly Pick<PersonLink, 'account' | 'state' | 'subject'>[],
): Promise<void> {
  for (let offset = 0; offset < changed.length; offset += recordedAtOnce) {
    const people = changed.slice(offset, offset + recordedAtOnce)
    await record(sql, actor, peopleChanged(seal, source, people))
  }
}

const isOther = ({ state, subject }: PersonLink, before: PersonLink | undefined): boolean =>
  (state !== 'unknown' || (before !== undefined && before.state !== 'unknown')) &&
  (before?.state !== state || before.subject !== subject)

const distinct = (wantedAddresses: readonly Addressed[]): readonly Addressed[] => [
  ...new Map(wantedAddresses.map((one) => [one.address, one])).values(),
]

const writtenOf = (
  { account, state, subject, linkedBy, address, reason, isHeld }: PersonLink,
  sourceAccount: SourceAccount | undefined,
  keptPerson: SourcePerson | undefined,
): WrittenPerson => ({
  account,
  state,
  subject,
  linkedBy,
  address,
  reason,
  isHeld,
  name: sourceAccount?.name === undefined ? keptPerson?.name : keptName(sourceAccount.name),
  isTold: sourceAccount !== undefined,
  wasHeld: keptPerson?.isHeld ?? false,
})

const isSame = (a: WrittenPerson, b: SourcePerson): boolean =>
  a.state === b.state &&
  a.subject === b.subject &&
  a.linkedBy === b.linkedBy &&
  a.address === b.address &&
  a.reason === b.reason &&
  a.isHeld === b.isHeld &&
  a.name === b.name &&
  a.isTold === b.isTold
