import { readFileSync } from 'node:fs'
import { compileModel, createTupleStore, type JsonObject, type TupleStore } from '@remit/engine'
import { describe, expect, test } from 'vitest'
import { beyondConfirmed } from '../../src/authz/model/assess.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { compareModels, type ImpactInput, invalidTuples } from '../../src/authz/model/impact.ts'
import { replaceOnce } from './mutants.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const compile = (text: string) => compileModel(readDsl(text) as unknown as JsonObject)
const base = compile(dsl)
const changed = (before: string, after: string) => compile(replaceOnce(dsl, before, after).dsl)
const context = { current_time: '2026-01-01T00:00:00Z' }

function storeOf(...lines: readonly string[]): TupleStore {
  const store = createTupleStore()
  for (const [index, line] of lines.entries()) {
    const [user = '', relation = '', object = '', end] = line.split(' ')
    const condition = end === undefined ? undefined : { name: 'until', context: { expires_at: end } }
    store.add({ user, relation, object, condition }, String(index).padStart(6, '0'))
  }
  return store
}

const compare = (candidate: ImpactInput['candidate'], tuples: TupleStore, more: Partial<ImpactInput> = {}) =>
  compareModels({
    base,
    candidate,
    tuples,
    delegations: [],
    context,
    now: Date.now,
    pause: async () => undefined,
    ...more,
  })

const tuples = () =>
  storeOf(
    'user:anne viewer document:a',
    'user:anne blocked document:a',
    'user:bob viewer document:b',
    'user:* viewer document:c',
    'user:anne blocked document:c',
    'user:carol viewer document:d 2025-01-01T00:00:00Z',
  )

describe('the difference between two models', () => {
  test('is nothing for the same model', async () => {
    const { gains, changes, complete, people, documents } = await compare(base, tuples())
    expect({ gains, complete, people, documents }).toEqual({
      gains: { can_read: {}, can_read_delegated: {} },
      complete: true,
      people: 3,
      documents: 4,
    })
    expect(changes.can_read.gained.count + changes.can_read.lost.count).toBe(0)
  })

  test('is who gains which documents', async () => {
    const { gains, changes } = await compare(
      changed('define can_read: viewer but not blocked', 'define can_read: viewer'),
      tuples(),
    )
    expect(gains.can_read).toEqual({ 'user:anne': ['a', 'c'] })
    expect(changes.can_read.gained).toEqual({
      count: 2,
      people: 1,
      documents: 2,
      samples: [
        { who: 'user:anne', document: 'a' },
        { who: 'user:anne', document: 'c' },
      ],
    })
    expect(changes.can_read.lost.count).toBe(0)
  })

  test('shows twenty where there are more: one of each person first, then a second of each, and so on', async () => {
    const wide = Array.from({ length: 30 }, (_, index) => [
      `user:anne viewer document:a${index}`,
      `user:anne blocked document:a${index}`,
    ]).flat()
    const { changes } = await compare(
      changed('define can_read: viewer but not blocked', 'define can_read: viewer'),
      storeOf(
        ...wide,
        ...['b0', 'b1'].flatMap((id) => [
          `user:bob viewer document:${id}`,
          `user:bob blocked document:${id}`,
        ]),
      ),
    )
    const { count, samples } = changes.can_read.gained
    expect(count).toBe(32)
    expect(samples).toHaveLength(20)
    expect(samples.slice(0, 5).map(({ who }) => who)).toEqual([
      'user:anne',
      'user:bob',
      'user:anne',
      'user:bob',
      'user:anne',
    ])
    expect(new Set(samples.map(({ document }) => document)).size).toBe(20)
  })

  test('is who loses which documents, and everybody for whom nothing is stored', async () => {
    const candidate = changed(
      'define viewer: [user, user:*, group#member, organization#member, user with until, group#member with until] or owner or viewer from parent',
      'define viewer: [user, group#member, organization#member, user with until, group#member with until] or owner or viewer from parent',
    )
    const { changes, gains } = await compare(candidate, tuples())
    expect(gains.can_read).toEqual({})
    expect(changes.can_read.lost.samples).toEqual([
      { who: 'anyone', document: 'c' },
      { who: 'user:bob', document: 'c' },
      { who: 'user:carol', document: 'c' },
    ])
    expect(invalidTuples(base, candidate, tuples())).toEqual({
      count: 1,
      samples: [
        {
          tuple: 'user:* viewer document:c',
          reason: expect.stringContaining('not an allowed type restriction'),
        },
      ],
    })
  })

  test('knows the time: what has ended is gained by a model that forgets the end', async () => {
    const candidate = changed('current_time < expires_at', 'current_time > expires_at')
    expect((await compare(candidate, tuples())).gains.can_read).toEqual({ 'user:carol': ['d'] })
  })

  const lent = () =>
    storeOf(
      'user:anne viewer document:a',
      'user:anne delegator delegation:d1 2030-01-01T00:00:00Z',
      'agent:bot agent delegation:d1',
      'agent:sub sub_agent delegation:d1',
      'delegation:d1 delegated_to document:a',
      'user:* sensitive document:a',
      'delegation:d1 delegated_to document:b',
    )
  const delegations = [{ id: 'd1', subject: 'user:anne' as const, agents: ['bot', 'sub'] }]

  test('is what agents are told under what is lent, and to those it is passed on to', async () => {
    const { gains, delegations: count } = await compare(
      changed('define ordinary: can_be_told but not sensitive', 'define ordinary: can_be_told'),
      lent(),
      { delegations },
    )
    expect(count).toBe(1)
    expect(gains).toEqual({
      can_read: {},
      can_read_delegated: { 'user:anne by agent:bot': ['a'], 'user:anne by agent:sub': ['a'] },
    })
  })

  test('finds an agent that would be told what its person may not read', async () => {
    const { beyondOwn, byRequest } = await compare(
      changed('define can_be_told: can_read and in_scope', 'define can_be_told: in_scope'),
      lent(),
      { delegations },
    )
    expect(beyondOwn.samples).toContainEqual({ who: 'user:anne by agent:bot', document: 'b' })
    expect(byRequest.count).toBe(0)
  })

  test('finds somebody for whom nothing is stored and a request is enough', async () => {
    const candidate = compile(
      replaceOnce(
        replaceOnce(dsl, 'define can_be_told: can_read and in_scope', 'define can_be_told: in_scope').dsl,
        'delegator and presented and acts',
        'presented and acts',
      ).dsl,
    )
    const { byRequest } = await compare(candidate, lent(), { delegations })
    expect(byRequest.samples).toContainEqual({ who: 'user:anne by agent:bot', document: 'b' })
  })

  test.each([
    ['questions', { questions: 5 }],
    ['gains', { gains: 1 }],
    ['milliseconds', { duration: -1 }],
  ])('is not complete where there are too many %s', async (_, limits) => {
    const many = storeOf(
      ...Array.from({ length: 40 }, (__, index) => `user:anne viewer document:d${index}`),
      ...Array.from({ length: 40 }, (__, index) => `user:anne blocked document:d${index}`),
    )
    let time = 0
    const { complete } = await compare(
      changed('define can_read: viewer but not blocked', 'define can_read: viewer'),
      many,
      { limits, now: () => (time += 20) },
    )
    expect(complete).toBe(false)
  })

  test('lets others have their turn, and sees what they changed', async () => {
    const store = storeOf(
      ...Array.from(
        { length: 200 },
        (__, index) => `user:bob viewer document:d${String(index).padStart(3, '0')}`,
      ),
    )
    let time = 0
    let pauses = 0
    const { gains } = await compare(
      changed('define can_read: viewer but not blocked', 'define can_read: viewer'),
      store,
      {
        now: () => (time += 6),
        pause: async () => {
          pauses += 1
          // The first person asked about is nobody; bob is the second.
          if (pauses === 1) store.add({ user: 'user:bob', relation: 'blocked', object: 'document:d199' }, '9')
        },
      },
    )
    expect(pauses).toBeGreaterThan(5)
    expect(gains.can_read).toEqual({ 'user:bob': ['d199'] })
  })
})

test('a gain that was not confirmed is found by person and by document, and by service and collection', () => {
  const right = { right: 'writer', service: 'service:crm', collection: 'collection:npm' } as const
  const confirmed = {
    gains: { can_read: { 'user:anne': ['a'] }, can_read_delegated: {} },
    report: { writerGains: [right] },
  }
  expect(beyondConfirmed(confirmed, confirmed)).toEqual([])
  expect(beyondConfirmed({ gains: { can_read: {}, can_read_delegated: {} }, report: {} }, confirmed)).toEqual(
    [],
  )
  expect(
    beyondConfirmed(
      {
        gains: {
          can_read: { 'user:anne': ['a', 'b'], 'user:bob': ['a'] },
          can_read_delegated: { 'user:anne': ['a'] },
        },
        report: { writerGains: [right, { ...right, right: 'tagger' }] },
      },
      confirmed,
    ),
  ).toEqual([
    'user:anne and document:b',
    'user:bob and document:a',
    'user:anne and document:a',
    'service:crm as tagger of collection:npm',
  ])
})
