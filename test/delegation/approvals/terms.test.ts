import { describe, expect, test } from 'vitest'
import type { RequestedAccess } from '../../../src/delegation/approvals/requested-access.ts'
import {
  type ApproveAnswer,
  checkedGrant,
  type GrantDraft,
  termsOf,
} from '../../../src/delegation/approvals/terms.ts'
import type { ShownApproval } from '../../../src/delegation/approvals/view.ts'
import type { Sql } from '../../../src/store/sql.ts'

// A yes gives what the page shows and what was asked, or less.

const now = Date.parse('2026-12-01T12:00:00Z')
const minutes = 60_000
const hours = 60 * minutes
const days = 24 * hours
const inMs = (ms: number) => new Date(now + ms)

const documents = {
  kind: 'documents',
  offer: 'of_1',
  documentIds: ['a', 'b', 'c'],
  queryHmac: 'hmac',
  scopes: [],
} as const
const call = { connection: 'cn_1', method: 'POST', path: '/pay' }
const vaultCall = { kind: 'vault_call', call, provider: 'bank', scopes: [] } as const
const token = { kind: 'access', resource: 'https://api.example', details: [], scopes: ['trade'] } as const

const holder = { subject: 'user:anne', agent: 'bot', delegation: 'd_1' } as const
/** `c` was asked for, and may not be shown any more. */
const shown = (asked: RequestedAccess, lentMs = 100 * days): ShownApproval =>
  ({
    id: 'ap_1',
    ...holder,
    asked,
    lentUntil: inMs(lentMs),
    documents: [{ id: 'b' }, { id: 'a' }],
    places: [
      { object: 'folder:f', documentIds: ['a'] },
      { object: 'collection:k', documentIds: ['a', 'b'] },
    ],
  }) as unknown as ShownApproval

function terms(asked: RequestedAccess, answer: Omit<ApproveAnswer, 'answer'> = {}, lentMs?: number) {
  const found = termsOf(shown(asked, lentMs), { answer: 'approve', ...answer }, now)
  return found.ok ? found.value : `${found.reason} ${found.detail}`
}
const grant = { approval: 'ap_1', ...holder, until: inMs(15 * minutes) }

describe('a yes to documents', () => {
  const remember = (object: `${'folder' | 'collection'}:${string}`, ms = days) => ({
    object,
    until: inMs(ms),
  })

  test('is to those that the page shows, once, for the question that was asked, for a quarter of an hour', () => {
    expect(terms(documents)).toEqual({
      answer: { ...documents, documentIds: ['a', 'b'] },
      grant: { ...grant, objects: ['document:a', 'document:b'], queryHmac: 'hmac', maxUses: 1 },
    })
    expect(terms(documents, { oneUse: true })).toEqual(terms(documents))
  })

  test('is to fewer where it says so, each once', () => {
    expect(terms(documents, { documentIds: ['b', 'b'] })).toMatchObject({
      answer: { documentIds: ['b'] },
      grant: { objects: ['document:b'] },
    })
  })

  test('is to any question until its end where it is not for one use', () => {
    expect(terms(documents, { oneUse: false })).toStrictEqual({
      answer: { ...documents, documentIds: ['a', 'b'] },
      grant: { ...grant, objects: ['document:a', 'document:b'] },
    })
  })

  test('is to all that lies in one place, for as long as it says, where it is to be remembered', () => {
    for (const oneUse of [undefined, false])
      expect(
        terms(documents, {
          documentIds: ['b'],
          remember: remember('collection:k'),
          ...(oneUse !== undefined && { oneUse }),
        }),
      ).toStrictEqual({
        answer: { ...documents, documentIds: ['b'] },
        grant: { ...grant, objects: ['collection:k'], remembered: true, until: inMs(days) },
      })
  })

  test('is remembered for a place where at least one of them lies', () => {
    expect(terms(documents, { remember: remember('folder:f') })).toMatchObject({
      answer: { documentIds: ['a', 'b'] },
      grant: { objects: ['folder:f'] },
    })
  })

  test.each<[string, Omit<ApproveAnswer, 'answer'>, string]>([
    ['none at all', { documentIds: [] }, 'documentIds'],
    ['one that was asked for and is not shown', { documentIds: ['a', 'c'] }, 'documentIds'],
    ['a place that is not shown', { remember: remember('folder:other') }, 'remember'],
    ['a place where none of them lies', { documentIds: ['b'], remember: remember('folder:f') }, 'remember'],
    ['one use of what is remembered', { oneUse: true, remember: remember('collection:k') }, 'oneUse'],
  ])('is refused for %s', (_, answer, why) => {
    expect(terms(documents, answer)).toBe(`not_offered ${why}`)
  })

  test.each<[string, number, number]>([
    ['a grant', days, days],
    ['what is remembered', 30 * days, 30 * days],
  ])('has an end that is to come, and near enough: of %s', (what, longestMs) => {
    const endOf = (until: Date) => {
      const found = terms(
        documents,
        what === 'a grant' ? { until } : { remember: { object: 'collection:k', until } },
      )
      return typeof found === 'object' ? found.grant?.until : found
    }
    // A form may be sent a minute after it was filled in.
    for (const ms of [1, longestMs + minutes]) expect(endOf(inMs(ms))).toEqual(inMs(ms))
    for (const ms of [-1, 0, longestMs + minutes + 1, Number.NaN])
      expect(endOf(inMs(ms))).toBe('not_offered until')
  })
})

describe('a yes to a call', () => {
  test('is for that call, once, and reads no document', () => {
    const found = { answer: vaultCall, grant: { ...grant, objects: [], vaultCall: call, maxUses: 1 } }
    expect(terms(vaultCall)).toStrictEqual(found)
    expect(terms(vaultCall, { oneUse: false })).toStrictEqual(found)
  })

  test.each([vaultCall, token])(
    'or a token is narrowed to no documents, and remembered nowhere: $kind',
    (asked) => {
      expect(terms(asked, { documentIds: ['a'] })).toBe('not_offered documentIds')
      const remember = { object: 'folder:f', until: inMs(days) } as const
      expect(terms(asked, { remember })).toBe('not_offered remember')
    },
  )
})

test('a yes to a token needs no grant: the token is its own proof', () => {
  expect(terms(token)).toStrictEqual({ answer: token, grant: undefined })
})

test.each([documents, vaultCall])('a yes lasts no longer than what was lent: $kind', (asked) => {
  expect(terms(asked, {}, minutes)).toMatchObject({ grant: { until: inMs(minutes) } })
})

describe('a grant', () => {
  const draft: GrantDraft = { approval: 'ap_1', ...holder, objects: ['document:a'], until: inMs(hours) }

  /** Beside so many that are remembered, under a delegation that ends then, or under none. */
  function checked(
    wanted: Partial<GrantDraft>,
    { remembered = 0, lentMs = days, isLent = true, soonestMs = 0 } = {},
  ) {
    const asked: unknown[] = []
    const sql = {
      query: async (text: string, values: readonly unknown[]) => {
        asked.push(values)
        if (text.includes('approval_grants')) return Array.from({ length: remembered }, () => ({}))
        return isLent ? [{ expires_at: inMs(lentMs) }] : []
      },
    } as unknown as Sql
    const checking = {
      id: 'g_1',
      wanted: { ...draft, ...wanted },
      now: new Date(now),
      soonest: inMs(soonestMs),
    }
    return { found: checkedGrant(sql, checking), asked }
  }

  test('is for each object once, not remembered where that is left out, and not live yet', async () => {
    const { found, asked } = checked({ objects: ['document:a', 'document:b', 'document:a'] })
    expect(await found).toEqual({
      ...draft,
      id: 'g_1',
      objects: ['document:a', 'document:b'],
      queryHmac: undefined,
      vaultCall: undefined,
      maxUses: undefined,
      used: 0,
      remembered: false,
      state: 'preparing',
    })
    expect(asked).toEqual([['d_1', 'user:anne', 'bot', new Date(now)]])
  })

  test('for one question, or for one call, is for one use, whatever is wanted', async () => {
    expect(await checked({ queryHmac: 'hmac', maxUses: 9 }).found).toMatchObject({ maxUses: 1 })
    expect(await checked({ vaultCall: call, objects: [], maxUses: 9 }).found).toMatchObject({
      maxUses: 1,
      objects: [],
      vaultCall: call,
    })
    expect(await checked({ maxUses: 9 }).found).toMatchObject({ maxUses: 9 })
  })

  test('ends with what was lent', async () => {
    expect(await checked({}, { lentMs: minutes }).found).toMatchObject({ until: inMs(minutes) })
  })

  test('is remembered for folders and collections, twenty at a time', async () => {
    const wanted = { objects: ['folder:f', 'collection:k'], remembered: true } as const
    const last = checked(wanted, { remembered: 19 })
    expect(await last.found).toMatchObject(wanted)
    // Of this agent, under this delegation.
    expect(last.asked[0]).toEqual(['user:anne', 'bot', 'd_1', new Date(now)])
    await expect(checked(wanted, { remembered: 20 }).found).rejects.toMatchObject({ code: 'conflict' })
    // Those that are not remembered take no place.
    expect(await checked({}, { remembered: 20 }).found).toMatchObject({ remembered: false })
  })

  const ids = (count: number) => Array.from({ length: count }, (_, index) => `document:d${index}` as const)
  test.each<[string, Partial<GrantDraft>, string]>([
    ['no object', { objects: [] }, 'objects'],
    ['more than ninety', { objects: ids(91) }, 'objects'],
    ['a folder that is not remembered', { objects: ['document:a', 'folder:f'] }, 'objects.1'],
    ['a document that is remembered', { objects: ['document:a'], remembered: true }, 'objects.0'],
    ['what is no id', { objects: ['document:*'] }, 'objects.0'],
    ['documents beside a call', { vaultCall: call }, 'objects'],
    ['uses of what is remembered', { objects: ['folder:f'], remembered: true, maxUses: 2 }, 'max_uses'],
    ['no use', { maxUses: 0 }, 'max_uses'],
    ['half a use', { maxUses: 1.5 }, 'max_uses'],
    ['more than a thousand uses', { maxUses: 1_001 }, 'max_uses'],
    ['an end that has come', { until: inMs(0) }, 'until'],
  ])('is refused for %s', async (_, wanted, field) => {
    await expect(checked(wanted).found).rejects.toMatchObject({ code: 'invalid_request', field })
  })

  test('is for ninety objects and a thousand uses at most', async () => {
    expect(await checked({ objects: ids(90), maxUses: 1_000 }).found).toMatchObject({ maxUses: 1_000 })
  })

  test('is refused where it would end before it could count, and without what was lent', async () => {
    const late = checked({}, { soonestMs: hours })
    await expect(late.found).rejects.toMatchObject({ code: 'invalid_request', field: 'until' })
    expect(await checked({}, { soonestMs: hours - 1 }).found).toMatchObject({ until: inMs(hours) })
    await expect(checked({}, { isLent: false }).found).rejects.toMatchObject({ code: 'conflict' })
  })
})
