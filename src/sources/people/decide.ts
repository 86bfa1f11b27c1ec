import type { SourceAccount } from '@remit/connector'
import { isId } from '@remit/contract/is-id'
import { type PlainAddress, plainAddress } from '../../kernel/plain-address.ts'

/** Who an account of a source is, as it is kept. */
export interface PersonLink {
  /** The source's own id of the account. */
  readonly account: string
  readonly state: 'linked' | 'suspended' | 'unknown'
  /** Who it is, or was until it was suspended. */
  readonly subject?: string | undefined
  /** What says so: the source's settings, the address at both sides, or two administrators. */
  readonly linkedBy?: 'settings' | 'address' | 'people' | undefined
  /** The address that the link stands on; else the one that the source gives, if it can be compared. */
  readonly address?: string | undefined
  /** Why it is nobody. */
  readonly reason?: string | undefined
  /** Suspended until somebody says who it is; else for as long as the reason holds. */
  readonly isHeld: boolean
}

/** What decides who is who. */
export interface Evidence {
  /** Every account that the source has. */
  readonly told: readonly SourceAccount[]
  /** What is kept of this source, accounts that it does not have any more included. */
  readonly kept: readonly PersonLink[]
  /** Whether whoever uses the source cannot give themselves any address. */
  readonly verifiesAddresses: boolean
  /** Whose word counts for a domain. */
  readonly directoryOf: (domain: string) => string | undefined
  /** Everybody to whom that directory ever gave the address. */
  readonly holdersOf: (address: string) => readonly {
    readonly subject: string
    readonly isActive: boolean
    readonly isCurrent: boolean
  }[]
}

/** Nobody, for now or until somebody says who it is. */
interface Nobody {
  readonly reason: string
  readonly isDoubt: boolean
}

/**
 * Who each account is. What two administrators said of it decides, else the settings. An address only links
 * an account and a person who had no other one here before, where source and directory both say it and it was
 * never anybody else's. Whatever of that is another than it was suspends the link: no account becomes
 * somebody else by itself, and nobody another account. Gives the accounts that are told, and those not told
 * any more whose person another account is now.
 */
export function decidePeople(evidence: Evidence): ReadonlyMap<string, PersonLink> {
  return new Deciding(evidence).all()
}

class Deciding {
  readonly #evidence: Evidence
  readonly #kept: ReadonlyMap<string, PersonLink>
  readonly #counts: ReadonlyMap<string, number>
  readonly #addresses: ReadonlyMap<string, number>
  /** Person → the accounts that the settings name for them. */
  readonly #named: ReadonlyMap<string, readonly string[]>
  /** Person → accounts that they are, or were. */
  readonly #known: ReadonlyMap<string, readonly string[]>

  constructor(evidence: Evidence) {
    const { told: accounts, kept: links } = evidence
    this.#evidence = evidence
    this.#kept = new Map(links.map((link) => [link.account, link]))
    this.#counts = countsOf(accounts.map(({ id }) => id))
    // Of each account once: one that is told twice is no second candidate for its own address.
    const byId = new Map(accounts.map((account) => [account.id, account]))
    this.#addresses = countsOf(
      [...byId.values()].flatMap(({ email }) => plainAddress(email ?? '')?.address ?? []),
    )
    const named = accounts.filter(({ id }) => !isByPeople(this.#kept.get(id)))
    this.#named = accountsOf(named.map(({ id, subject }) => ({ account: id, subject })))
    this.#known = accountsOf(links)
  }

  all(): ReadonlyMap<string, PersonLink> {
    const decided = new Map(this.#evidence.told.map((account) => [account.id, this.#decide(account)]))
    for (const link of this.#evidence.kept)
      if (!decided.has(link.account) && link.state === 'linked' && this.#isNamedElsewhere(link))
        decided.set(link.account, suspended(link, namedElsewhere))
    return decided
  }

  #decide(account: SourceAccount): PersonLink {
    const { id, subject } = account
    const keptLink = this.#kept.get(id)
    if ((this.#counts.get(id) ?? 0) > 1)
      return this.#nobody(account, unclear('The source names this account twice.'))
    if (keptLink !== undefined && isTakenBack(keptLink)) return keptLink
    if (keptLink !== undefined && isLinkedByPeople(keptLink))
      return this.#isNamedElsewhere(keptLink)
        ? suspended(keptLink, namedElsewhere)
        : { ...keptLink, state: 'linked', reason: undefined }
    if (subject !== undefined) return this.#bySettings(account, subject)
    if (keptLink === undefined) return this.#anew(account)
    if (keptLink.isHeld) return keptLink
    if (keptLink.linkedBy === 'settings')
      return suspended(keptLink, 'The settings do not name this account any more.')
    return keptLink.linkedBy === 'address' ? this.#again(account, keptLink) : this.#anew(account)
  }

  #bySettings(account: SourceAccount, subject: string): PersonLink {
    const link = { ...addressOf(account), account: account.id, linkedBy: 'settings', isHeld: false } as const
    if (!subject.startsWith('user:') || !isId(subject.slice('user:'.length)))
      return { ...link, linkedBy: undefined, state: 'unknown', reason: 'The settings name no person for it.' }
    if ((this.#named.get(subject)?.length ?? 0) > 1)
      return {
        ...link,
        state: 'suspended',
        subject,
        reason: 'The settings name two accounts for this person.',
      }
    return { ...link, state: 'linked', subject }
  }

  /** By its address, where neither it nor the person was linked here before. */
  #anew(account: SourceAccount): PersonLink {
    const found = this.#personOf(account)
    if ('reason' in found) return this.#nobody(account, found)
    const { subject, address } = found
    const others = [...(this.#known.get(subject) ?? []), ...(this.#named.get(subject) ?? [])]
    if (others.some((other) => other !== account.id))
      return this.#nobody(account, { reason: 'This person is, or was, another account.', isDoubt: true })
    return { account: account.id, state: 'linked', subject, address, linkedBy: 'address', isHeld: false }
  }

  /** A link by address stands for as long as all that it stands on does. */
  #again(account: SourceAccount, keptLink: PersonLink): PersonLink {
    const givenAddress = plainAddress(account.email ?? '')?.address
    if (account.email !== undefined && account.email !== '' && givenAddress !== keptLink.address)
      return suspended(keptLink, 'The source gives this account another address.')
    const found = this.#personOf(account)
    if ('reason' in found)
      return found.isDoubt
        ? suspended(keptLink, found.reason)
        : { ...keptLink, state: 'suspended', reason: found.reason, isHeld: false }
    if (found.subject !== keptLink.subject) return suspended(keptLink, 'The address is another person’s.')
    if (this.#isNamedElsewhere(keptLink)) return suspended(keptLink, namedElsewhere)
    return { ...keptLink, state: 'linked', reason: undefined, isHeld: false }
  }

  /** Whom source and directory mean by its address. */
  #personOf({
    email,
    isGuest = false,
  }: SourceAccount): { readonly subject: string; readonly address: string } | Nobody {
    const { verifiesAddresses, directoryOf, holdersOf } = this.#evidence
    if (isGuest) return unclear('It is a guest: no address links it.')
    if (email === undefined || email === '') return unclear('The source gives no address for it.')
    if (!verifiesAddresses) return unclear('This source does not verify addresses.')
    const plain = plainAddress(email)
    if (plain === undefined) return unclear('Its address cannot be compared.')
    const { address, domain }: PlainAddress = plain
    const directory = directoryOf(domain)
    if (directory === undefined) return unclear(`No directory’s word counts for ${domain}.`)
    if ((this.#addresses.get(address) ?? 0) > 1) return doubtful('Two accounts have this address.')
    const [holder, ...others] = holdersOf(address)
    if (others.length > 0) return doubtful(`${directory} gave this address to more than one person.`)
    if (holder === undefined || !holder.isCurrent)
      return unclear(`${directory} gives nobody this address as the one that counts.`)
    if (!holder.isActive)
      // Somebody who is linked is suspended for good; of others nothing was given yet.
      return { reason: `${directory} deactivated this person.`, isDoubt: this.#known.has(holder.subject) }
    return { subject: holder.subject, address }
  }

  #isNamedElsewhere({ account, subject = '' }: PersonLink): boolean {
    return this.#named.get(subject)?.some((other) => other !== account) ?? false
  }

  /** Keeps who it was: that person is no other account by themselves. */
  #nobody(account: SourceAccount, { reason, isDoubt }: Nobody): PersonLink {
    const { subject, linkedBy, address } = this.#kept.get(account.id) ?? {}
    const isSuspended = isDoubt || linkedBy !== undefined
    return {
      ...addressOf(account),
      // What the link stands on is not written over.
      ...(linkedBy === 'address' && { address }),
      account: account.id,
      state: isSuspended ? 'suspended' : 'unknown',
      subject,
      linkedBy,
      reason,
      isHeld: isDoubt,
    }
  }
}

const namedElsewhere = 'The settings name another account for this person.'
const unclear = (reason: string): Nobody => ({ reason, isDoubt: false })
const doubtful = (reason: string): Nobody => ({ reason, isDoubt: true })
const suspended = (link: PersonLink, reason: string): PersonLink => ({
  ...link,
  state: 'suspended',
  reason,
  isHeld: true,
})

/** By administrators, and so whatever the settings say: the later word of two people wins. */
const isTakenBack = (link: PersonLink | undefined): boolean =>
  link?.linkedBy === 'people' && link.state === 'suspended' && link.isHeld

/** The same. A reason that does not hold any more suspends it no longer. */
const isLinkedByPeople = (link: PersonLink | undefined): boolean =>
  link?.linkedBy === 'people' && link.subject !== undefined && !link.isHeld

const isByPeople = (link: PersonLink | undefined): boolean => isTakenBack(link) || isLinkedByPeople(link)

const addressOf = ({ email }: SourceAccount): Pick<PersonLink, 'address'> => {
  const address = plainAddress(email ?? '')?.address
  return address === undefined ? {} : { address }
}

function countsOf(values: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return counts
}

function accountsOf(
  links: readonly Pick<PersonLink, 'account' | 'subject'>[],
): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const { account, subject } of links)
    if (subject !== undefined) found.set(subject, [...(found.get(subject) ?? []), account])
  return found
}
