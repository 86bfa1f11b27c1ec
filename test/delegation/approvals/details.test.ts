import { describe, expect, test } from 'vitest'
import { asks } from '../../../src/delegation/oauth/ciba/parsed-request.ts'
import { detailsFor } from '../../../src/delegation/oauth/exchange-rules.ts'
import { detailsOf, isForeignDetail } from '../../../src/delegation/registry/details.ts'

const grant = { type: 'document_access', grant: 'g_1' } as const
const call = { type: 'vault_call', grant: 'g_2' } as const
const narrowing = { type: 'document_access', collections: ['handbook'] }

describe('the details of a token', () => {
  test.each([grant, call])('may name one grant: %j', (detail) => {
    expect(detailsOf([detail])).toEqual({ ok: true, value: { documents: [], grants: [detail], others: [] } })
  })

  test.each<[string, unknown[]]>([
    ['an offer: it asks, and is in requests for approval only', [{ type: 'document_access', offer: 'o_1' }]],
    ['two grants', [grant, { ...grant, grant: 'g_3' }]],
    ['a grant of documents beside one of a call', [grant, call]],
    ['a grant beside a narrowing', [narrowing, grant]],
    ['a grant and collections in one', [{ ...grant, collections: ['handbook'] }]],
    ['a call as it is asked for', [{ type: 'vault_call', connection: 'c', method: 'POST', path: '/x' }]],
    ['a grant of another form', [{ ...grant, grant: 'g_1 or any' }]],
    ['a grant that is no text', [{ ...grant, grant: ['g_1'] }]],
  ])('may not hold %s', (_, details) => {
    expect(detailsOf(details)).toEqual({ ok: false, reason: 'bad_details' })
  })

  test('of our types are nobody else’s', () => {
    expect([grant, call, narrowing].filter(isForeignDetail)).toEqual([])
  })

  test('go along to our own APIs as they are named, and to nobody else’s', () => {
    const publicUrl = 'http://localhost:8787'
    const entry = {
      resource: `${publicUrl}/mcp`,
      scopes: [],
      authorizationDetailsTypes: ['document_access'],
      allowedClients: undefined,
      accepts: {},
      takesVerification: false,
      owner: undefined,
    }
    const own = { entry, publicUrl }
    expect(detailsFor(undefined, [grant], own)).toEqual({ ok: true, value: [grant] })
    expect(detailsFor([grant], [grant], own)).toEqual({ ok: true, value: [grant] })
    expect(detailsFor([{ ...grant, grant: 'g_9' }], [grant], own).ok).toBe(false)
    expect(detailsFor([grant], undefined, own).ok).toBe(false)
    const theirs = {
      ...entry,
      resource: 'https://broker.test/api',
      authorizationDetailsTypes: ['trade_order'],
    }
    expect(detailsFor(undefined, [grant], { entry: theirs, publicUrl })).toEqual({ ok: true, value: [] })
  })
})

test('a request for approval names one offer, and nothing beside it', () => {
  expect(asks.safeParse({ type: 'document_access', offer: 'o_1' }).success).toBe(true)
  for (const more of [{ grant: 'g_1' }, { collections: ['handbook'] }, { documents: ['x'] }])
    expect(asks.safeParse({ type: 'document_access', offer: 'o_1', ...more }).success).toBe(false)
})
