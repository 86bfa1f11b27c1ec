import { describe, expect, test } from 'vitest'
import { compileModel, findWeightedDifferences } from '../src/index.ts'
import {
  askCheck,
  createStore,
  parseDsl,
  serverTarget,
  weightedTarget,
  writeModel,
} from './support/target.ts'

const modelOf = (types: string) => parseDsl(`model\n  schema 1.1\ntype user\n${types}`)
const differences = (types: string): string[] =>
  findWeightedDifferences(compileModel(modelOf(types)).ast)
    .filter(({ rule }) => rule !== 'self-userset')
    .map(({ rule, relation, subject }) => `${relation} ${rule}${subject === undefined ? '' : ` ${subject}`}`)

const groups = 'type group\n  relations\n    define member: [user]\n'
const nested = 'type group\n  relations\n    define member: [user, group#member]\n'
const folder = (...relations: readonly string[]) =>
  `type folder\n  relations\n${relations.map((one) => `    define ${one}\n`).join('')}`

describe('what the weighted-graph engine answers differently', () => {
  test('nothing but for an object with a relation as its own subject, where all is stored for people', () => {
    const plain = folder('viewer: [user]')
    expect(differences(plain)).toEqual([])
    expect(findWeightedDifferences(compileModel(modelOf(plain)).ast)).toEqual([
      { rule: 'self-userset', relation: 'folder#viewer', subject: undefined },
    ])
  })

  test('chains beyond the depth that today is an error, where the relation recurses', () => {
    expect(differences(nested)).toEqual(['group#member depth-limit-gone'])
    expect(differences(folder('parent: [folder]', 'viewer: [user] or viewer from parent'))).toEqual([
      'folder#viewer depth-limit-gone',
      'folder#viewer userset-through-parent folder#viewer',
    ])
  })

  test('recursion whose parents may be of another type that has parents of its own', () => {
    const rule = 'folder#viewer recursion-through-strangers'
    expect(differences(strangers)).toContain(rule)
    expect(differences(strangers.replace('define parent: [folder]', 'define above: [folder]'))).not.toContain(
      rule,
    )
  })

  test('circles behind `but not`, unless the recursion is one of the two plain shapes', () => {
    const rest = ['viewer: [user]', 'reader: viewer but not blocked']
    const rule = 'folder#reader recursion-under-exclusion'
    expect(differences(folder('blocked: [user, folder#blocked]', ...rest))).not.toContain(rule)
    expect(
      differences(folder('parent: [folder]', 'blocked: [user] or blocked from parent', ...rest)),
    ).not.toContain(rule)
    expect(
      differences(
        folder('parent: [folder]', 'blocked: [user, folder#blocked] or blocked from parent', ...rest),
      ),
    ).toContain(rule)
  })

  test('a userset that the base takes and the other side of `but not` cannot', () => {
    const rest = ['viewer: [user, group#member]', 'reader: viewer but not blocked']
    const rule = 'folder#reader userset-under-exclusion group#member'
    expect(differences(groups + folder('blocked: [user]', ...rest))).toContain(rule)
    expect(differences(groups + folder('blocked: [user, group#member]', ...rest))).not.toContain(rule)
  })

  test('a wildcard as the subject of `but not`, where the base takes it', () => {
    const rule = 'folder#reader wildcard-under-exclusion user:*'
    expect(
      differences(folder('blocked: [user]', 'viewer: [user, user:*]', 'reader: viewer but not blocked')),
    ).toContain(rule)
    expect(
      differences(folder('blocked: [user, user:*]', 'viewer: [user]', 'reader: viewer but not blocked')),
    ).not.toContain(rule)
  })

  test('a userset that is reached by another name of it, by a parent, or within itself', () => {
    const named = 'type group\n  relations\n    define member: [user]\n    define everyone: member\n'
    expect(differences(named + folder('viewer: [group#everyone]'))).toEqual([
      'group#everyone userset-through-alias group#member',
    ])
    expect(differences(groups + folder('owner: [group]', 'viewer: member from owner'))).toEqual([
      'folder#viewer userset-through-parent group#member',
    ])
    expect(differences(nested + folder('viewer: [group#member]'))).toEqual([
      'group#member depth-limit-gone',
      'folder#viewer userset-through-itself group#member',
    ])
  })
})

const chain = Array.from({ length: 40 }, (_, i) => `group:${i}#member member group:${i + 1}`)
const tangled = folder(
  'parent: [folder]',
  'blocked: [user, folder#blocked] or blocked from parent',
  'viewer: [user]',
  'reader: viewer but not blocked',
)
const named = 'type group\n  relations\n    define member: [user]\n    define everyone: member\n'
const tooComplex = 'code:authorization_model_resolution_too_complex'

const strangers =
  'type bot\ntype doc\n  relations\n    define parent: [folder]\n    define viewer: [user]\n' +
  folder('parent: [folder, doc]', 'viewer: [user, bot] or viewer from parent')

const absent = serverTarget() === undefined || weightedTarget() === undefined
describe.skipIf(absent)('a real server and one with weights (OPENFGA_WEIGHTED_TEST_URL)', () => {
  test.each([
    {
      rule: 'recursion-through-strangers',
      types: strangers,
      tuples: ['bot:a viewer folder:1', 'folder:1 parent doc:1', 'doc:1 parent folder:2'],
      question: 'bot:a viewer folder:2',
      today: true,
      next: false,
    },
    {
      rule: 'depth-limit-gone',
      types: nested,
      tuples: ['user:a member group:0', ...chain],
      question: 'user:a member group:40',
      today: tooComplex,
      next: true,
    },
    {
      rule: 'recursion-under-exclusion',
      types: tangled,
      tuples: ['folder:a parent folder:b', 'folder:b parent folder:a', 'user:a viewer folder:a'],
      question: 'user:a reader folder:a',
      today: false,
      next: true,
    },
    {
      rule: 'userset-through-alias',
      types: named + folder('viewer: [group#everyone]'),
      tuples: ['group:g#everyone viewer folder:a'],
      question: 'group:g#member viewer folder:a',
      today: true,
      next: false,
    },
    {
      rule: 'userset-through-parent',
      types: groups + folder('owner: [group]', 'viewer: member from owner'),
      tuples: ['group:g owner folder:a'],
      question: 'group:g#member viewer folder:a',
      today: true,
      next: false,
    },
    {
      rule: 'userset-through-itself',
      types: nested + folder('viewer: [group#member]'),
      tuples: ['group:a#member member group:b', 'group:b#member viewer folder:a'],
      question: 'group:a#member viewer folder:a',
      today: true,
      next: false,
    },
    {
      rule: 'self-userset',
      types: folder('viewer: [user]'),
      tuples: ['user:a viewer folder:a'],
      question: 'folder:a#viewer viewer folder:a',
      today: true,
      next: false,
    },
  ])('differ in $rule', async ({ rule, types, tuples, question, today, next }) => {
    const found = findWeightedDifferences(compileModel(modelOf(types)).ast)
    expect(found.map((one) => one.rule)).toContain(rule)
    const answers = [serverTarget(), weightedTarget()].map(async (target) => {
      if (target === undefined) throw new Error('no server')
      const store = await createStore(target)
      await writeModel(target, store, modelOf(types))
      const written = await target.call('POST', `${store}/write`, {
        writes: { tuple_keys: tuples.map(keyOf) },
      })
      expect(written.status, written.text).toBe(200)
      return askCheck(target, store, { tuple_key: keyOf(question) })
    })
    expect(await Promise.all(answers)).toEqual([today, next])
  })
})

function keyOf(text: string) {
  const [user = '', relation = '', object = ''] = text.split(' ')
  return { user, relation, object }
}
