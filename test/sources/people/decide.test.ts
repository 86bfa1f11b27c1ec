import type { SourceAccount } from '@remit/connector'
import { expect, test } from 'vitest'
import { plainAddress } from '../../../src/kernel/plain-address.ts'
import { decidePeople, type PersonLink } from '../../../src/sources/people/decide.ts'
import fc from '../../support/properties.ts'

/** A directory with its memory, as the rows have it. */
class Book {
  readonly ever = new Map<string, Set<string>>()
  readonly current = new Map<string, string | undefined>()
  readonly inactive = new Set<string>()

  give(subject: string, address: string | undefined): void {
    this.current.set(subject, address)
    if (address !== undefined) this.ever.set(address, (this.ever.get(address) ?? new Set()).add(subject))
  }

  holdersOf(address: string) {
    return [...(this.ever.get(address) ?? [])].map((subject) => ({
      subject,
      isActive: !this.inactive.has(subject),
      isCurrent: this.current.get(subject) === address,
    }))
  }
}

const accounts = ['1', '2', '3', '4']
const people = ['user:acme/p', 'user:acme/q', 'user:acme/r']
const addresses = ['x@acme.test', 'y@acme.test', 'z@acme.test', 'x@other.test', undefined]

const step = fc.oneof(
  fc.record({
    op: fc.constant('account' as const),
    id: fc.constantFrom(...accounts),
    email: fc.constantFrom(...addresses),
  }),
  fc.record({ op: fc.constant('gone' as const), id: fc.constantFrom(...accounts) }),
  fc.record({
    op: fc.constant('give' as const),
    subject: fc.constantFrom(...people),
    email: fc.constantFrom(...addresses),
  }),
  fc.record({ op: fc.constant('active' as const), subject: fc.constantFrom(...people), is: fc.boolean() }),
  fc.record({
    op: fc.constant('settings' as const),
    id: fc.constantFrom(...accounts),
    subject: fc.constantFrom(...people, undefined),
  }),
  fc.record({ op: fc.constant('read' as const) }),
)

test('no address ever makes an account somebody else, or a person another account, whatever happens between readings', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 60 }), (steps) => {
      const book = new Book()
      const told = new Map<string, string | undefined>()
      const settings = new Map<string, string>()
      const kept = new Map<string, PersonLink>()
      const personOf = new Map<string, string>()
      const accountOf = new Map<string, string>()
      const addressOf = new Map<string, string>()
      for (const one of [...steps, { op: 'read' as const }]) {
        if (one.op === 'account') told.set(one.id, one.email)
        if (one.op === 'gone') told.delete(one.id)
        if (one.op === 'give') book.give(one.subject, one.email)
        if (one.op === 'active') book.inactive[one.is ? 'delete' : 'add'](one.subject)
        if (one.op === 'settings') {
          if (one.subject === undefined) settings.delete(one.id)
          else settings.set(one.id, one.subject)
        }
        if (one.op !== 'read') continue
        const before = new Map(kept)
        const list = [...told].map(([id, email]): SourceAccount => {
          const subject = settings.get(id)
          return { id, ...(email !== undefined && { email }), ...(subject !== undefined && { subject }) }
        })
        const decided = decidePeople({
          told: list,
          kept: [...kept.values()],
          verifiesAddresses: true,
          directoryOf: (domain) => (domain === 'acme.test' ? 'acme' : undefined),
          holdersOf: (address) => book.holdersOf(address),
        })
        for (const [id, link] of decided) kept.set(id, link)
        // Of whom two administrators say who it is, what its address said before is over.
        for (const { account, subject, linkedBy } of decided.values()) {
          const former = personOf.get(account)
          if (linkedBy !== 'settings' || former === undefined) continue
          if (former !== subject) accountOf.delete(former)
          personOf.delete(account)
          addressOf.delete(account)
        }
        const linked = [...kept.values()].filter(({ state }) => state === 'linked')
        expect(new Set(linked.map(({ subject }) => subject)).size).toBe(linked.length)
        for (const { account, subject = '', linkedBy } of linked) {
          const wasHeld = before.get(account)?.isHeld ?? false
          expect(wasHeld && linkedBy === 'address').toBe(false)
          if (!told.has(account)) continue
          if (linkedBy === 'settings') expect(settings.get(account)).toBe(subject)
          if (linkedBy !== 'address') continue
          expect(settings.has(account)).toBe(false)
          const email = told.get(account) ?? ''
          expect(email.endsWith('@acme.test')).toBe(true)
          expect([...told.values()].filter((other) => other === email)).toHaveLength(1)
          expect(book.holdersOf(email)).toEqual([{ subject, isActive: true, isCurrent: true }])
          expect(personOf.get(account) ?? subject).toBe(subject)
          expect(accountOf.get(subject) ?? account).toBe(account)
          // Whoever changed it at both sides is suspended all the same.
          expect(addressOf.get(account) ?? email).toBe(email)
          addressOf.set(account, email)
          personOf.set(account, subject)
          accountOf.set(subject, account)
        }
      }
    }),
    { numRuns: Number(process.env['PEOPLE_RUNS'] ?? 300) },
  )
})

test('an address is compared whole and in ASCII, with small letters alone', () => {
  expect(plainAddress('Anne.B+x@Corp.Example')).toEqual({
    address: 'anne.b+x@corp.example',
    domain: 'corp.example',
  })
  for (const text of [
    'anne@corp',
    'anne@corp.example.',
    '@corp.example',
    'anne',
    'a@b@corp.example',
    'anne@-corp.example',
    'anne@corp..example',
    'anne@c\u043erp.example',
    'anne@corp.example\n',
    'ann\u212ae@corp.example',
    `${'a'.repeat(65)}@corp.example`,
  ])
    expect(plainAddress(text), text).toBeUndefined()
})

test('what two administrators said of an account outlives a glitch of the source, and goes before the settings', () => {
  const kept = {
    account: '7',
    state: 'linked',
    subject: 'user:acme/ceo',
    linkedBy: 'people',
    isHeld: false,
  } as const
  const holder = { subject: 'user:acme/anne', isActive: true, isCurrent: true }
  const decide = (told: readonly SourceAccount[], link: PersonLink) =>
    decidePeople({
      told,
      kept: [link],
      verifiesAddresses: true,
      directoryOf: () => 'acme',
      holdersOf: () => [holder],
    }).get('7')
  const account = { id: '7', email: 'anne@acme.test' }
  const twice = decide([account, account], kept)
  expect(twice).toMatchObject({ state: 'suspended', subject: 'user:acme/ceo', isHeld: false })
  expect(decide([account], twice ?? kept)).toMatchObject({ state: 'linked', subject: 'user:acme/ceo' })
  expect(decide([{ ...account, subject: 'user:acme/anne' }], kept)).toMatchObject({
    state: 'linked',
    subject: 'user:acme/ceo',
  })
})
