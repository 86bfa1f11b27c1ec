import { readFileSync } from 'node:fs'
import { compileModel, createTupleStore, type Model, type TupleKey as StoreKey } from '@remit/engine'
import { expect, test } from 'vitest'
import { createRandom, type Random } from '../../packages/engine/test/support/random.ts'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { type Tuple, type TupleKey, tupleId } from '../../src/authz/fga.ts'
import type { Question } from '../../src/authz/gate/question.ts'
import { evaluateLocally } from '../../src/authz/index/local.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { presentedTuples } from '../../src/authz/presented.ts'
import { type Change, fitsOne, type Polarity, polarityOf, stepsOf } from '../../src/authz/write-order.ts'
import { compiled, createDocumentWorld, questionsOf, somePool } from './index/worlds.ts'

const ours = compileModel(readDsl(readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')))
const now = Date.parse('2026-11-28T12:00:00Z')

/** Who reads which documents; undefined where one of the questions could not be answered. */
function readsOf(
  model: Model,
  tuples: readonly Tuple[],
  questions: readonly Question[],
  documents: readonly string[],
): ReadonlySet<string> | undefined {
  const store = createTupleStore()
  for (const tuple of tuples) store.add(tuple as StoreKey, '')
  const reads = new Set<string>()
  for (const [index, question] of questions.entries()) {
    const verdicts = evaluateLocally(model, store, question, documents, now)
    if (verdicts.size < documents.length) return undefined
    for (const [id, { allowed }] of verdicts) if (allowed) reads.add(`${index} ${id}`)
  }
  return reads
}

const isWithin = (one: ReadonlySet<string>, other: ReadonlySet<string>): boolean =>
  [...one].every((read) => other.has(read))

const sameTuple = (one: Tuple | undefined, other: Tuple): boolean =>
  one !== undefined && JSON.stringify(one.condition) === JSON.stringify(other.condition)

function changeBetween(before: readonly Tuple[], after: readonly Tuple[]): Change {
  const [had, wanted] = [before, after].map((tuples) => new Map(tuples.map((one) => [tupleId(one), one])))
  const isKept = (tuple: Tuple): boolean => {
    const other = wanted?.get(tupleId(tuple))
    return other !== undefined && sameTuple(other, tuple)
  }
  return {
    deletes: before
      .filter((tuple) => !isKept(tuple))
      .map(({ user, relation, object }) => ({ user, relation, object })),
    writes: after.filter((tuple) => !sameTuple(had?.get(tupleId(tuple)), tuple)),
  }
}

function applied(tuples: readonly Tuple[], { writes, deletes }: Change): Tuple[] {
  const gone = new Set(deletes.map((key: TupleKey) => tupleId(key)))
  return [...tuples.filter((tuple) => !gone.has(tupleId(tuple))), ...writes]
}

interface Counted {
  worlds: number
  unsafe: number
  unanswered: number
  leaks: string[]
}

/**
 * Takes a change step by step, and notes each state in which somebody reads what they read neither before nor
 * after.
 */
function walk(
  model: Model,
  [before, after]: readonly [readonly Tuple[], readonly Tuple[]],
  questions: readonly Question[],
  documents: readonly string[],
  max: number,
  counted: Counted,
): void {
  const change = changeBetween(before, after)
  const { steps, isSafe } = stepsOf(change, polarityOf(model), max)
  expect(steps.every(({ writes, deletes }) => writes.length + deletes.length <= max)).toBe(true)
  const ends = [before, after].map((tuples) => readsOf(model, tuples, questions, documents))
  if (!isSafe) counted.unsafe += 1
  if (!isSafe || ends[0] === undefined || ends[1] === undefined) return
  let state: readonly Tuple[] = before
  for (const [nth, step] of steps.entries()) {
    state = applied(state, step)
    const reads = readsOf(model, state, questions, documents)
    if (reads === undefined) counted.unanswered += 1
    else if (!isWithin(reads, ends[0]) && !isWithin(reads, ends[1]))
      counted.leaks.push(`after Write ${nth + 1} of ${steps.length}: ${JSON.stringify({ before, after })}`)
  }
  expect(new Set(state.map((one) => JSON.stringify(one)))).toEqual(
    new Set(after.map((one) => JSON.stringify(one))),
  )
  counted.worlds += 1
}

const someOf = <T>(random: Random, all: readonly T[], share: number): T[] =>
  all.filter(() => random.chance(share))

/**
 * Every tuple that our model can store of a small company, each with and without an end where it may have
 * one.
 */
function pool(): Tuple[] {
  const at = (hours: number) => ({
    name: 'until' as const,
    context: { expires_at: new Date(now + hours * 3_600_000).toISOString() },
  })
  const tuples: Tuple[] = []
  const add = (user: string, relation: string, object: Tuple['object'], condition?: Tuple['condition']) =>
    tuples.push({ user, relation, object, ...(condition && { condition }) })
  for (const object of ['document:1', 'document:2'] as const) {
    for (const user of ['user:1', 'user:2', 'group:1#member', 'user:*']) add(user, 'viewer', object)
    add('user:1', 'viewer', object, at(1))
    add('user:3', 'owner', object)
    for (const user of ['user:1', 'user:2', 'group:2#member']) add(user, 'blocked', object)
    for (const user of ['folder:1', 'folder:2', 'zone:1', 'collection:1']) add(user, 'parent', object)
    add('collection:1', 'filed_in', object)
    add('user:*', 'sensitive', object)
    add('grant:1', 'granted_by', object)
  }
  for (const object of ['folder:1', 'folder:2', 'collection:1'] as const) {
    add('user:2', 'viewer', object)
    add('group:1#member', 'viewer', object)
    add('user:*', 'sensitive', object)
    add('delegation:1', 'delegated_to', object)
    for (const user of ['user:1', 'group:2#member']) add(user, 'blocked', object)
  }
  for (const user of ['user:1', 'group:2#member']) add(user, 'blocked', 'organization:1')
  add('organization:1', 'organization', 'collection:1')
  for (const user of ['user:2', 'group:1#member', 'user:*']) {
    add(user, 'audience', 'zone:1')
    for (const gate of ['gate_1', 'gate_2', 'gate_3']) add(user, gate, 'zone:1')
  }
  add('group:2#member', 'blocked', 'zone:1')
  add('collection:1', 'filed_in', 'zone:1')
  add('folder:2', 'parent', 'folder:1')
  add('collection:1', 'parent', 'folder:2')
  for (const user of ['user:1', 'user:2', 'user:3']) {
    add(user, 'member', 'group:1')
    add(user, 'member', 'group:2')
  }
  add('group:2#member', 'member', 'group:1')
  for (const user of ['user:1', 'user:2', 'user:3']) {
    add(user, 'delegator', 'delegation:1', at(1))
    add(user, 'grantor', 'grant:1', at(1))
  }
  add('agent:1', 'agent', 'delegation:1')
  add('agent:1', 'agent', 'grant:1')
  return tuples
}

const distinct = (tuples: readonly Tuple[]): Tuple[] => [
  ...new Map(tuples.map((tuple) => [tupleId(tuple), tuple])).values(),
]

const askers = (): Question[] =>
  ['user:1', 'user:2', 'user:3', 'user:4'].flatMap((user): Question[] => {
    const subject = user as 'user:1'
    const contextual = presentedTuples({
      user: subject,
      agent: 'agent:1',
      delegation: '1',
      grants: ['1'],
    } as Parameters<typeof presentedTuples>[0])
    return [
      { user: subject, relation: 'can_read', contextual: [] },
      { user: subject, relation: 'can_read_delegated', contextual },
      { user: subject, relation: 'can_be_told', contextual },
    ] as Question[]
  })

test(`between two Writes of a change nobody reads more than before, or nobody more than after: our model (FUZZ_SEED=${seed})`, () => {
  const random = createRandom(seed)
  const all = pool()
  const counted: Counted = { worlds: 0, unsafe: 0, unanswered: 0, leaks: [] }
  for (let nth = 0; nth < 400; nth += 1) {
    const before = distinct(someOf(random, all, 0.4))
    const after = distinct(
      random.chance(0.5)
        ? someOf(random, all, 0.4)
        : [...before.filter(() => random.chance(0.8)), ...someOf(random, all, 0.1)],
    )
    walk(ours, [before, after], askers(), ['1', '2'], 8, counted)
  }
  expect(counted.leaks).toEqual([])
  expect(counted.worlds).toBeGreaterThan(100)
}, 120_000)

test(`the same under any model, by what its rules say of each relation (FUZZ_SEED=${seed})`, () => {
  const random = createRandom(seed + 1)
  const counted: Counted = { worlds: 0, unsafe: 0, unanswered: 0, leaks: [] }
  for (let nth = 0; nth < 600; nth += 1) {
    const world = createDocumentWorld(random)
    const model = compiled(world.model)
    if (model === undefined) continue
    const all = somePool(random, world, 24) as Tuple[]
    const questions = questionsOf([])
    const documents = ['1', '2', '3', '4', '5', '6']
    const half = () => someOf(random, all, 0.5)
    walk(model, [half(), half()], questions, documents, 5, counted)
  }
  expect(counted.leaks).toEqual([])
  expect(counted.worlds).toBeGreaterThan(100)
}, 120_000)

test('by our model what is filed, put below another, or a member may give as well as take; viewers only give', () => {
  const { grants, restricts } = polarityOf(ours)
  const of = (relation: string, object: Tuple['object']) => {
    const tuple = { user: 'x:y', relation, object }
    return `${grants(tuple) ? 'gives' : ''}${restricts(tuple) ? 'takes' : ''}`
  }
  expect({
    viewer: of('viewer', 'document:a'),
    owner: of('owner', 'document:a'),
    blocked: of('blocked', 'document:a'),
    blockedAbove: [of('blocked', 'folder:a'), of('blocked', 'zone:a'), of('blocked', 'collection:a')],
    blockedByDirectory: of('blocked', 'organization:a'),
    sensitive: of('sensitive', 'folder:a'),
    audience: of('audience', 'zone:a'),
    gate: of('gate_2', 'zone:a'),
    inOrganization: of('organization', 'collection:a'),
    parent: of('parent', 'document:a'),
    filed: of('filed_in', 'document:a'),
    member: of('member', 'group:a'),
    lent: of('delegated_to', 'collection:a'),
    writer: of('writer', 'collection:a'),
    unknown: of('no_such', 'document:a'),
  }).toEqual({
    viewer: 'gives',
    owner: 'gives',
    blocked: 'takes',
    blockedAbove: ['takes', 'takes', 'takes'],
    blockedByDirectory: 'takes',
    sensitive: 'takes',
    audience: 'gives',
    gate: 'gives',
    inOrganization: 'givestakes',
    parent: 'givestakes',
    filed: 'givestakes',
    member: 'givestakes',
    lent: 'gives',
    writer: 'gives',
    unknown: 'givestakes',
  })
})

test('what is listed under “but not” takes, also by a tuple of the relation that may be read by', () => {
  // As JSON: the DSL has a list at the beginning of a rule only.
  const model = compileModel({
    schema_version: '1.1',
    type_definitions: [
      { type: 'user' },
      {
        type: 'document',
        relations: {
          viewer: { this: {} },
          can_read: {
            difference: { base: { computedUserset: { relation: 'viewer' } }, subtract: { this: {} } },
          },
        },
        metadata: {
          relations: {
            viewer: { directly_related_user_types: [{ type: 'user' }] },
            can_read: { directly_related_user_types: [{ type: 'user' }] },
          },
        },
      },
    ],
  })
  const { grants, restricts } = polarityOf(model)
  const tuple = { user: 'user:anne', relation: 'can_read', object: 'document:a' } as const
  expect([grants(tuple), restricts(tuple)]).toEqual([false, true])
})

test('what keeps an agent from being told of a document takes, as what keeps it from reading does', () => {
  const lists = ['a', 'b', 'c'].map((name) => `    define ${name}: [user]`).join('\n')
  const rules = '    define can_read: a but not b\n    define can_be_told: a but not c'
  const model = compileModel(
    readDsl(`model\n  schema 1.1\n\ntype user\n\ntype document\n  relations\n${lists}\n${rules}\n`),
  )
  const { grants, restricts } = polarityOf(model)
  const sides = ['a', 'b', 'c'].map((relation) => {
    const tuple = { user: 'user:anne', relation, object: 'document:1' } as const
    return [grants(tuple), restricts(tuple)]
  })
  expect(sides).toEqual([
    [true, false],
    [false, true],
    [false, true],
  ])
})

test('by our model user:* opens a document, a folder, a collection and the audience of a zone, and no gate', () => {
  const { opens } = polarityOf(ours)
  const found = (['document', 'folder', 'zone', 'collection'] as const).flatMap((type) =>
    ['viewer', 'audience', 'gate_1', 'gate_2', 'gate_3']
      .filter(
        (relation) =>
          ours.types.get(type)?.get(relation)?.restrictions.length !== 0 &&
          ours.types.get(type)?.has(relation) &&
          opens({ user: 'user:*', relation, object: `${type}:a` }),
      )
      .map((relation) => `${type}#${relation}`),
  )
  expect(found).toEqual(['document#viewer', 'folder#viewer', 'zone#audience', 'collection#viewer'])
})

test.each([
  ['not the second side of an “and”', 'define can_read: a and b and c', ['a', 'd']],
  ['a side that stands elsewhere too', 'define can_read: (a and b and c) or b', ['a', 'b', 'd']],
  ['nothing that an “and” takes away', 'define can_read: a but not (c and d)', ['a', 'b']],
  ['what gives back', 'define can_read: a but not (c and e)\n    define e: d but not b', ['a', 'b']],
])('what opens, or leads to no reading and may grant something else: %s', (_, rule, expected) => {
  const lists = ['a', 'b', 'c', 'd'].map((name) => `    define ${name}: [user, user:*]`).join('\n')
  const model = compileModel(
    readDsl(`model\n  schema 1.1\n\ntype user\n\ntype document\n  relations\n${lists}\n    ${rule}\n`),
  )
  const { opens } = polarityOf(model)
  const opening = ['a', 'b', 'c', 'd'].filter((relation) =>
    opens({ user: 'user:*', relation, object: 'document:1' }),
  )
  expect(opening).toEqual(expected)
})

/** A viewer only gives, a block only takes, a member may do both. */
const byName: Polarity = {
  grants: ({ relation }) => relation !== 'blocked',
  restricts: ({ relation }) => relation !== 'viewer',
  opens: () => false,
}
const put = (relation: string, count: number, from = 0): Tuple[] =>
  Array.from({ length: count }, (_, index) => ({
    user: `user:u${from + index}`,
    relation,
    object: 'document:d',
  }))
const shown = ({ writes, deletes }: Change): string[] => [
  ...deletes.map(({ user, relation }) => `- ${relation} ${user.slice(5)}`),
  ...writes.map(({ user, relation }) => `+ ${relation} ${user.slice(5)}`),
]

test('what only takes comes first, what may do both at once, what only gives last, and nothing twice or never', () => {
  const change = {
    writes: [...put('viewer', 2), ...put('member', 1), ...put('blocked', 1)],
    deletes: [...put('viewer', 1, 5), ...put('member', 1, 5), ...put('blocked', 2, 5)],
  }
  const { steps, isSafe } = stepsOf(change, byName, 2)
  expect(isSafe).toBe(true)
  expect(steps.map(shown)).toEqual([
    ['- viewer u5', '+ blocked u0'],
    ['- member u5', '+ member u0'],
    ['- blocked u5', '- blocked u6'],
    ['+ viewer u0', '+ viewer u1'],
  ])
})

test('what may do both is safe as long as one Write takes all of it, and none of it is deleted and written', () => {
  const safe = (change: Change, max: number) => stepsOf(change, byName, max).isSafe
  const both = { writes: put('member', 2), deletes: put('member', 1, 5) }
  expect([safe(both, 3), safe(both, 2)]).toEqual([true, false])
  const [again, beside] = [put('member', 1), put('viewer', 3)]
  expect(safe({ writes: again, deletes: again }, 9)).toBe(false)
  expect(safe({ writes: [...again, ...beside], deletes: again }, 9)).toBe(false)
  expect(safe({ writes: [...again, ...beside], deletes: beside }, 9)).toBe(true)
  expect(safe({ writes: beside, deletes: beside }, 9)).toBe(true)
})

test('a change is one Write where it is no larger, and deletes nothing that it writes', () => {
  const change = { writes: put('viewer', 2), deletes: put('viewer', 1, 5) }
  expect([fitsOne(change, 3), fitsOne(change, 2)]).toEqual([true, false])
  expect(fitsOne({ writes: put('viewer', 2), deletes: put('viewer', 1, 1) }, 9)).toBe(false)
})
