import { readFileSync } from 'node:fs'
import {
  check,
  compileModel,
  createMemo,
  createTupleStore,
  type JsonObject,
  keyOf,
  type TupleKey,
  type TupleStore,
} from '@remit/engine'
import { expect, test } from 'vitest'
import { createRandom, type Random } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import {
  delegatedAskers,
  type LiveDelegation,
  ownAsker,
  strangerUser,
} from '../../../src/authz/compare/askers.ts'
import { readDsl } from '../../../src/authz/model/dsl.ts'
import { type SupposeInput, suppose } from '../../../src/authz/what-if/suppose.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import { replaceOnce } from '../../model/mutants.ts'

const dsl = readFileSync(new URL('../../../model.fga', import.meta.url), 'utf8')
const compile = (text: string) => compileModel(readDsl(text) as unknown as JsonObject)
const model = compile(dsl)
const context = { current_time: '2026-01-01T00:00:00Z' }
const worlds = Number(process.env['FUZZ_WORLDS'] ?? 40)

const people = ['anne', 'bob', 'carol', 'dan'].map((key) => `user:${key}`)
const groups = ['eng', 'core', 'ops'].map((id) => `group:${id}`)
const folders = ['top', 'mid', 'low'].map((id) => `folder:${id}`)
const collections = ['handbook', 'finance'].map((id) => `collection:${id}`)
const zones = ['inner', 'outer'].map((id) => `zone:${id}`)
const documents = ['a', 'b', 'c', 'd', 'e'].map((id) => `document:${id}`)
const delegations: readonly LiveDelegation[] = [
  { id: 'd1', subject: 'user:anne', agents: ['bot', 'sub'] },
  { id: 'd2', subject: 'user:bob', agents: ['bot'] },
]

const ends = ['2025-01-01T00:00:00Z', '2030-01-01T00:00:00Z']
const until = (expires_at: string) => ({ name: 'until', context: { expires_at } })

/** One that fits the model. Folders and groups may lie in circles. */
function createTuple(random: Random): TupleKey {
  const viewers = [...people, ...groups.map((group) => `${group}#member`), 'user:*', 'organization:o#member']
  const gates = [...groups.map((group) => `${group}#member`), 'user:anne', 'user:*']
  const scoped = [...documents, ...folders, ...collections, 'organization:o']
  const made = random.pick<() => [string, string, string]>([
    () => [
      random.pick([...people, ...groups.map((group) => `${group}#member`)]),
      'member',
      random.pick(groups),
    ],
    () => [random.pick(viewers), 'viewer', random.pick([...documents, ...folders, ...collections])],
    () => [random.pick(viewers), 'viewer', random.pick(documents)],
    () => [random.pick([...folders, ...collections]), 'parent', random.pick([...documents, ...folders])],
    () => [random.pick([...folders, ...zones, ...collections]), 'parent', random.pick(documents)],
    () => [random.pick(zones), 'parent', random.pick(folders)],
    () => [random.pick(collections), 'filed_in', random.pick(zones)],
    () => [random.pick(viewers), 'audience', random.pick(zones)],
    () => [random.pick(gates), random.pick(['gate_1', 'gate_2', 'gate_3']), random.pick(zones)],
    () => [random.pick(gates), random.pick(['gate_1', 'gate_2', 'gate_3']), random.pick(zones)],
    () => [random.pick(collections), 'filed_in', random.pick(documents)],
    () => ['organization:o', 'organization', random.pick(collections)],
    () => [random.pick([...people, 'group:eng#member']), 'member', 'organization:o'],
    () => [
      random.pick([...people, ...groups.map((group) => `${group}#member`)]),
      'blocked',
      random.pick([...documents, ...folders, ...zones, ...collections, 'organization:o']),
    ],
    () => ['user:*', 'sensitive', random.pick([...documents, ...folders, ...collections])],
    () => [
      random.pick(['delegation:d1', 'delegation:d2', 'delegation:d3']),
      'delegated_to',
      random.pick(scoped),
    ],
    () => [
      random.pick(people),
      'delegator',
      random.pick(['delegation:d1', 'delegation:d2', 'delegation:d3']),
    ],
    () => [
      random.pick(['agent:bot', 'agent:sub']),
      random.pick(['agent', 'sub_agent']),
      random.pick(['delegation:d1', 'delegation:d2', 'delegation:d3']),
    ],
  ])()
  const [user, relation, object] = made
  const mustEnd = relation === 'delegator'
  const mayEnd =
    mustEnd ||
    (/^(user:[a-z]|group:)/.test(user) && (relation === 'viewer' || relation === 'audience')) ||
    (user.startsWith('user:') && object.startsWith('group:'))
  const condition =
    mustEnd || (mayEnd && random.chance(0.3))
      ? until(random.pick([...ends, '2031-01-01T00:00:00Z']))
      : undefined
  return { user, relation, object, condition }
}

/** A block above a document, or part of a zone: what seldom decides when it is drawn with all others. */
function createTelling(random: Random): TupleKey {
  const above = [...folders, ...zones, ...collections, 'organization:o']
  const gate = random.pick(['audience', 'gate_1', 'gate_2', 'gate_3'])
  return random.chance(0.5)
    ? { user: random.pick([...people, 'group:eng#member']), relation: 'blocked', object: random.pick(above) }
    : { user: random.pick([...people, 'user:*']), relation: gate, object: random.pick(zones) }
}

const lineOf = ({ user, relation, object }: TupleKey) => `${user} ${relation} ${object}`

function storeOf(keys: Iterable<TupleKey>): TupleStore {
  const store = createTupleStore()
  let order = 0
  for (const key of keys) if (store.get(key) === undefined) store.add(key, String(order++).padStart(6, '0'))
  return store
}

const start: readonly TupleKey[] = [
  // Whoever is named by no tuple is told of as anyone.
  ...people.map((person) => `${person} viewer document:own`),
  'user:anne delegator delegation:d1',
  'user:bob delegator delegation:d2',
  'agent:bot agent delegation:d1',
  'agent:sub sub_agent delegation:d1',
  'agent:bot agent delegation:d2',
  'delegation:d1 delegated_to organization:o',
  'delegation:d2 delegated_to collection:handbook',
  'organization:o organization collection:handbook',
  'organization:o organization collection:finance',
  // Of three gates two keep nobody out, so that the third decides.
  ...zones.flatMap((zone) => ['gate_1', 'gate_2'].map((gate) => `user:* ${gate} ${zone}`)),
  ...documents.map((document, index) => `${collections[index % 2] ?? ''} filed_in ${document}`),
].map((line) => {
  const [user = '', relation = '', object = ''] = line.split(' ')
  return {
    user,
    relation,
    object,
    ...(relation === 'delegator' && { condition: until('2030-01-01T00:00:00Z') }),
  }
})

type Input = Pick<SupposeInput, 'change' | 'after' | 'tuples'> & Partial<SupposeInput>

async function predicted(input: Input): Promise<{ lines: string[]; asked: number }> {
  const lines: string[] = []
  const { asked } = await suppose({
    before: model,
    delegations,
    context,
    now: Date.now,
    pause: async () => undefined,
    limits: { questions: 1_000_000, duration: 600_000 },
    take({ who, delegation = '' }, document, { before, after }) {
      if ((before === true) !== (after === true))
        lines.push(`${after === true ? '+' : '-'} ${who} ${delegation} ${document}`)
    },
    ...input,
  })
  return { lines: lines.sort(), asked }
}

/** Every question, asked on one store and on another one in which the change was made. */
function measured({ change, after, tuples, delegations: lent = delegations }: Input): string[] {
  const gone = new Set([...change.deletes, ...change.writes].map(lineOf))
  const kept = [...tuples.after('')].map(keyOf).filter((key) => !gone.has(lineOf(key)))
  const changed = storeOf([...kept, ...new Map(change.writes.map((key) => [lineOf(key), key])).values()])
  const lines = new Set<string>()
  for (const { who, user, relation, contextual, delegation = '' } of [
    ...[strangerUser, ...people].map(ownAsker),
    ...lent.flatMap(delegatedAskers),
  ]) {
    const memos = [createMemo(), createMemo()]
    for (const object of [...documents, 'document:own', 'document:hidden']) {
      const ask = (compiled: typeof model, store: TupleStore, memo = createMemo()): boolean => {
        try {
          return check(
            compiled,
            store,
            { user, relation, object, contextualTuples: contextual, context },
            memo,
          )
        } catch {
          return false
        }
      }
      const [was, is] = [ask(model, tuples, memos[0]), ask(after, changed, memos[1])]
      if (was !== is) lines.add(`${is ? '+' : '-'} ${who} ${delegation} ${object.slice('document:'.length)}`)
    }
  }
  return [...lines].sort()
}

test(`what is said to be gained and lost is what is, in ${worlds} random worlds (FUZZ_SEED=${seed})`, async () => {
  const counts = { differences: 0, asked: 0, all: 0, byBlock: 0, byZone: 0 }
  for (let nth = 0; nth < worlds; nth++) {
    const random = createRandom(seed + nth)
    const tuples = storeOf([
      ...start,
      ...Array.from({ length: 30 }, () => createTuple(random)),
      ...Array.from({ length: 4 }, () => createTelling(random)),
    ])
    for (let round = 0; round < 5; round++) {
      const stored = [...tuples.after('')].map(keyOf)
      const change = {
        writes: Array.from({ length: random.below(3) }, () =>
          random.chance(0.4) ? createTelling(random) : createTuple(random),
        ),
        deletes: Array.from({ length: random.below(3) }, () => random.pick(stored)),
      }
      const lent = ['d1', 'd2', 'd3'].flatMap((id) => lentBy(id, [...stored, ...change.writes]))
      const input = {
        change,
        after: model,
        tuples,
        delegations: lent,
        ...(round % 2 === 1 && { narrowFrom: 0 }),
      }
      const { lines, asked } = await predicted(input)
      expect(lines, `seed ${seed + nth}, round ${round}: ${JSON.stringify(change)}`).toEqual(measured(input))
      counts.differences += lines.length
      const changed = [...change.writes, ...change.deletes]
      const isAbove = ({ relation, object }: TupleKey) =>
        relation === 'blocked' && !object.startsWith('document:')
      if (lines.length > 0 && changed.some(isAbove)) counts.byBlock += 1
      if (lines.length > 0 && changed.some(({ object }) => object.startsWith('zone:'))) counts.byZone += 1
      counts.asked += asked
      counts.all += (people.length + 1 + lent.flatMap(delegatedAskers).length) * (documents.length + 1)
    }
  }
  console.log(
    `${counts.differences} differences, ${counts.asked} of ${counts.all} questions asked; ${counts.byBlock} where a block above a document changed, ${counts.byZone} where a zone did`,
  )
  expect(counts.byBlock).toBeGreaterThan(worlds / 20)
  expect(counts.byZone).toBeGreaterThan(worlds / 20)
  expect(counts.differences).toBeGreaterThan(worlds)
  expect(counts.asked).toBeLessThan(counts.all / 2)
})

/** Who delegates to which agent by these tuples, in force or not. */
function lentBy(id: string, keys: readonly TupleKey[]): LiveDelegation[] {
  const on = keys.filter(({ object }) => object === `delegation:${id}`)
  const agents = on
    .filter(({ relation }) => relation === 'agent' || relation === 'sub_agent')
    .map(({ user }) => user.slice('agent:'.length))
  return on
    .filter(({ relation }) => relation === 'delegator')
    .map(({ user }) => ({ id, subject: user as FgaObject, agents }))
}

test.each([
  ['define can_read: viewer but not blocked', 'define can_read: viewer', '+ user:dan  a'],
  // Under which an agent is told more than its person may read.
  [
    'define can_be_told: can_read and in_scope',
    'define can_be_told: in_scope',
    '+ user:anne by agent:bot d1 hidden',
  ],
])(
  'with another model everybody is asked about all that they could have: %s → %s',
  async (was, is, gained) => {
    const after = compile(replaceOnce(dsl, was, is).dsl)
    const random = createRandom(seed)
    const key = (line: string): TupleKey => {
      const [user = '', relation = '', object = ''] = line.split(' ')
      return { user, relation, object }
    }
    const tuples = storeOf([
      ...start,
      ...[
        'user:dan viewer document:a',
        'user:dan blocked document:a',
        'delegation:d1 delegated_to document:hidden',
      ].map(key),
      ...Array.from({ length: 40 }, () => createTuple(random)),
    ])
    for (const writes of [[], [key('user:carol viewer document:b')]]) {
      const input = { change: { writes, deletes: [] }, after, tuples }
      const { lines } = await predicted(input)
      expect(lines).toEqual(measured(input))
      expect(lines).toContain(gained)
    }
  },
)

test('a person out of one group is asked about alone, however many share what it opens', async () => {
  const crowd = Array.from({ length: 500 }, (_, nth) => ({
    user: `user:p${nth}`,
    relation: 'member',
    object: 'group:eng',
  }))
  const shared = Array.from({ length: 200 }, (_, nth) => ({
    user: 'group:eng#member',
    relation: 'viewer',
    object: `document:s${nth}`,
  }))
  const tuples = storeOf([...crowd, ...shared])
  const change = { writes: [], deletes: [{ user: 'user:p7', relation: 'member', object: 'group:eng' }] }
  const { lines, asked } = await predicted({ change, after: model, tuples, delegations: [] })
  expect(lines).toHaveLength(200)
  expect(asked).toBe(200)
})

test('lending to an agent that nobody has made yet is told as if it stood', async () => {
  const tuples = storeOf([
    { user: 'user:anne', relation: 'viewer', object: 'document:a' },
    { user: 'collection:handbook', relation: 'filed_in', object: 'document:a' },
    { user: 'collection:handbook', relation: 'filed_in', object: 'document:b' },
  ])
  const writes = [
    {
      user: 'user:anne',
      relation: 'delegator',
      object: 'delegation:new',
      condition: until('2030-01-01T00:00:00Z'),
    },
    { user: 'agent:bot', relation: 'agent', object: 'delegation:new' },
    { user: 'delegation:new', relation: 'delegated_to', object: 'collection:handbook' },
  ]
  const { lines } = await predicted({
    change: { writes, deletes: [] },
    after: model,
    tuples,
    delegations: [],
  })
  expect(lines).toEqual(['+ user:anne by agent:bot new a'])
})

test('closing a circle of folders is told of people and agents to whom no folder leads: a check on it is denied under but not', async () => {
  const lines = [
    'user:anne viewer document:a',
    'collection:handbook filed_in document:a',
    'delegation:d1 delegated_to collection:handbook',
    'agent:bot agent delegation:d1',
    'folder:top parent document:a',
    'folder:low parent folder:top',
  ]
  const tuples = storeOf([
    ...lines.map((line) => {
      const [user = '', relation = '', object = ''] = line.split(' ')
      return { user, relation, object }
    }),
    {
      user: 'user:anne',
      relation: 'delegator',
      object: 'delegation:d1',
      condition: until('2030-01-01T00:00:00Z'),
    },
  ])
  const writes = [{ user: 'folder:top', relation: 'parent', object: 'folder:low' }]
  const { lines: found } = await predicted({ change: { writes, deletes: [] }, after: model, tuples })
  expect(found).toEqual(['- user:anne  a', '- user:anne by agent:bot d1 a'])
})

test('what OpenFGA tells meanwhile counts from the next slice on, in the lists that the change touches too', async () => {
  const shared = Array.from({ length: 200 }, (_, nth) => ({
    user: 'group:eng#member',
    relation: 'viewer',
    object: `document:s${nth}`,
  }))
  const tuples = storeOf([
    ...shared,
    { user: 'user:anne', relation: 'member', object: 'group:eng' },
    { user: 'user:anne', relation: 'member', object: 'group:core' },
  ])
  let time = 0
  const { lines } = await predicted({
    change: { writes: [], deletes: [{ user: 'user:anne', relation: 'member', object: 'group:eng' }] },
    after: model,
    tuples,
    delegations: [],
    now: () => (time += 6),
    pause: async () => {
      const again = { user: 'group:core#member', relation: 'member', object: 'group:eng' }
      if (tuples.get(again) === undefined) tuples.add(again, '9')
    },
  })
  expect(lines.length).toBeGreaterThan(0)
  expect(lines.length).toBeLessThan(100)
})

test.each([
  ['questions', { questions: 3, duration: 1_000 }],
  ['time', { questions: 1_000_000, duration: -1 }],
] as const)('stops where it takes too much %s, and says so', async (stopped, limits) => {
  const tuples = storeOf(
    Array.from({ length: 40 }, (_, nth) => ({
      user: 'user:*',
      relation: 'viewer',
      object: `document:s${nth}`,
    })),
  )
  let time = 0
  const ended = await suppose({
    change: {
      writes: [
        { user: 'user:*', relation: 'viewer', object: 'document:x' },
        ...documents.map((object) => ({ user: 'user:*', relation: 'viewer', object })),
        ...Array.from({ length: 20 }, (_, nth) => ({
          user: 'user:bob',
          relation: 'blocked',
          object: `document:s${nth}`,
        })),
      ],
      deletes: [],
    },
    before: model,
    after: model,
    tuples,
    delegations: [],
    context,
    now: () => (time += 20),
    pause: async () => undefined,
    limits,
    take: () => undefined,
  })
  expect(ended.stopped).toBe(stopped)
})
