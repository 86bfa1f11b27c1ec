import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isWithin } from '../../src/index.ts'
import { areWithin } from '../../src/tokens/within.ts'

const value = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.array(fc.integer(), { maxLength: 4 }))
const detail = fc
  .tuple(fc.constantFrom('trade_order', 'transfer'), fc.dictionary(fc.stringMatching(/^[a-f]{1,2}$/), value))
  .map(([type, members]) => ({ ...members, type }))

describe('what was granted is within what was asked for', () => {
  test('where it is the same, in whatever order, also with an end or one use; with more uses it is not', () => {
    fc.assert(
      fc.property(detail, fc.integer({ min: 2 }), (asked, uses) => {
        const turned = Object.fromEntries(Object.entries(asked).reverse()) as typeof asked
        expect(isWithin(turned, asked)).toBe(true)
        const ended = { ...turned, until: '2026-11-25T00:00:00Z' }
        expect(isWithin({ ...ended, max_uses: 1 }, asked)).toBe(true)
        expect(isWithin({ ...ended, max_uses: uses }, asked)).toBe(false)
      }),
    )
  })

  test('never where a member was changed, added or taken away', () => {
    fc.assert(
      fc.property(detail, fc.stringMatching(/^[a-f]{1,2}$/), value, (asked, name, other) => {
        const before: unknown = Reflect.get(asked, name)
        fc.pre(JSON.stringify(before) !== JSON.stringify(other))
        expect(isWithin({ ...asked, [name]: other }, asked)).toBe(false)
        const left = Object.fromEntries(Object.entries(asked).filter(([member]) => member !== name))
        expect(isWithin({ ...left, type: asked.type }, { ...asked, [name]: other })).toBe(false)
      }),
    )
  })

  test('where a list that allows lost items, but not all, and gained none; never any other list', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string(), { minLength: 1 }), fc.string(), (collections, other) => {
        const asked = { type: 'document_access', collections }
        const granted = (some: readonly string[]) => ({ type: 'document_access', collections: some })
        for (let length = 1; length <= collections.length; length += 1)
          expect(isWithin(granted(collections.slice(0, length)), asked)).toBe(true)
        expect(isWithin(granted([]), asked)).toBe(false)
        const except = { type: 'document_access', except: [...collections, 'x'] }
        expect(isWithin({ type: 'document_access', except: collections }, except)).toBe(false)
        if (!collections.includes(other))
          expect(isWithin(granted([...collections, other]), asked)).toBe(false)
      }),
    )
  })

  test('of an offer is its grant, and nothing beside it', () => {
    const asked = { type: 'document_access', offer: 'o_1' }
    expect(isWithin({ type: 'document_access', grant: 'g_1' }, asked)).toBe(true)
    for (const granted of [
      { type: 'document_access' },
      { type: 'document_access', grant: 'g_1', collections: ['finance'] },
      { type: 'document_access', collections: ['finance'] },
      { type: 'vault_call', grant: 'g_1' },
    ])
      expect(isWithin(granted, asked)).toBe(false)
  })

  test('of a call to a third party is its grant, and nothing beside it', () => {
    const asked = { type: 'vault_call', connection: 'c_1', method: 'POST', path: '/user/repos' }
    expect(isWithin({ type: 'vault_call', grant: 'g_1' }, asked)).toBe(true)
    for (const granted of [
      { type: 'vault_call' },
      { ...asked, grant: 'g_1' },
      { type: 'document_access', grant: 'g_1' },
    ])
      expect(isWithin(granted, asked)).toBe(false)
    expect(isWithin({ type: 'vault_call', grant: 'g_2' }, { type: 'vault_call', grant: 'g_1' })).toBe(false)
  })

  test('of several is some of them, none beside them, and not nothing', () => {
    fc.assert(
      fc.property(fc.array(detail, { minLength: 1, maxLength: 5 }), detail, (asked, other) => {
        expect(areWithin(asked, asked)).toBe(true)
        expect(areWithin(asked.slice(0, 1), asked)).toBe(true)
        expect(areWithin([], asked)).toBe(false)
        if (!asked.some((one) => isWithin(other, one)))
          expect(areWithin([...asked, other], asked)).toBe(false)
      }),
    )
  })

  test('of nothing in particular is whatever was handed over', () => {
    expect(areWithin([{ type: 'document_access', collections: ['handbook'] }], [])).toBe(true)
  })
})
