import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { readStoreFile } from '../../src/authz/model/store-file.ts'
import { openTrial, type Trial, testStoreFile } from '../../src/authz/model/store-test.ts'
import { needsOpenfga } from '../support/native.ts'
import { leaveOutEach, replaceNth, replaceOnce } from './mutants.ts'
import { engineApi, firstBroken, serverApi, titleOf } from './store.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const file = await readStoreFile(fileURLToPath(new URL('../../model.fga.yaml', import.meta.url)))
const table = file.tests

describe('on the embedded engine', () => {
  for (const { name, tuples, questions } of table) {
    describe(name, () => {
      let trial: Trial
      beforeAll(async () => {
        trial = await openTrial(engineApi(), file.model, tuples)
      })
      afterAll(() => trial?.[Symbol.asyncDispose]())
      for (const question of questions) {
        const expected =
          typeof question.expected === 'boolean' ? question.expected : question.expected.toSorted()
        test(titleOf(question), async () => {
          expect(await trial.ask(question)).toEqual(expected)
        })
      }
    })
  }
})

test('docs/model-as-code.md counts the table as it is', () => {
  const page = readFileSync(new URL('../../docs/model-as-code.md', import.meta.url), 'utf8')
  const questions = table.flatMap((one) => one.questions)
  const count = (kind: string) => questions.filter((question) => question.kind === kind).length
  const passing = (name: string, all: number) => `${name} ${all}/${all} passing`
  expect(page).toContain(
    [
      passing('Tests', table.length),
      passing('Checks', count('check')),
      passing('ListObjects', count('list_objects')),
      passing('ListUsers', count('list_users')),
    ].join('\n'),
  )
  expect(page).toContain(`of ${questions.length} in the truth table`)
})

// A test for each part of the table: what one machine lacks should not fill its report with hundreds of
// lines.
describe('on a real OpenFGA server', needsOpenfga, () => {
  for (const one of table) {
    test(one.name, async () => {
      const [result] = await testStoreFile(serverApi(), { ...file, tests: [one] })
      const said = result?.results.map(({ question, got, passed }) => ({
        title: titleOf(question),
        got,
        passed,
      }))
      expect(said?.length).toBe(one.questions.length)
      expect(said?.filter(({ passed }) => !passed)).toEqual([])
    })
  }
})

describe.each([
  { name: 'the embedded engine', open: engineApi, options: {} },
  { name: 'a real OpenFGA server', open: serverApi, options: needsOpenfga },
])('for $name', ({ open, options }) => {
  test.each([
    ['a service reads', { user: 'service:loader', relation: 'viewer', object: 'document:plan' }],
    ['a service owns', { user: 'service:loader', relation: 'owner', object: 'document:plan' }],
    ['an agent reads', { user: 'agent:bot', relation: 'viewer', object: 'document:plan' }],
    ['an agent is in a group', { user: 'agent:bot', relation: 'member', object: 'group:eng' }],
    ['a service is in a group', { user: 'service:loader', relation: 'member', object: 'group:eng' }],
    ['a person writes', { user: 'user:anne', relation: 'writer', object: 'collection:docs' }],
    [
      'something is lent without an end',
      { user: 'user:anne', relation: 'delegator', object: 'delegation:d' },
    ],
    ['something is granted without an end', { user: 'user:anne', relation: 'grantor', object: 'grant:g' }],
    ['an agent acts for everybody', { user: 'user:*', relation: 'acting_for', object: 'agent:bot' }],
    ['everybody is not blocked', { user: 'user:*', relation: 'not_blocked', object: 'collection:docs' }],
    ['a group is not blocked', { user: 'group:eng#member', relation: 'not_blocked', object: 'zone:z' }],
    ['everybody presents', { user: 'user:*', relation: 'presented', object: 'delegation:d' }],
    [
      'a person is given can_read itself',
      { user: 'user:anne', relation: 'can_read', object: 'document:plan' },
    ],
  ])('no tuple can say that %s', options, async (_, tuple) => {
    await expect(openTrial(open(), readDsl(dsl), [tuple])).rejects.toMatchObject({ what: 'tuples' })
  })
})

describe('the table', () => {
  test('says at least sixty things, and none of them twice', () => {
    const titles = table.flatMap(({ name, questions }) =>
      questions.map((question) => `${name}: ${titleOf(question)}`),
    )
    expect(titles.length).toBeGreaterThanOrEqual(60)
    expect(titles.filter((title, index) => titles.indexOf(title) !== index)).toEqual([])
  })

  test('holds for the model as it is', async () => {
    expect(await firstBroken(dsl, table)).toBeUndefined()
  })

  const widened = [
    replaceOnce(dsl, 'current_time < expires_at', 'current_time > expires_at'),
    replaceOnce(dsl, 'current_time < expires_at', 'current_time <= expires_at'),
    replaceOnce(dsl, 'delegator and presented and acts', 'delegator or presented or acts'),
    replaceOnce(dsl, 'can_read and in_scope', 'can_read or in_scope'),
    replaceOnce(dsl, 'can_be_told and granted', 'can_be_told or granted'),
    replaceOnce(dsl, 'define can_read: viewer but not blocked', 'define can_read: owner or viewer'),
    replaceOnce(
      dsl,
      ' or owner or viewer from parent',
      ' or owner or viewer from parent or viewer from filed_in',
    ),
    replaceOnce(dsl, 'ordinary or released', 'ordinary or released or can_be_told'),
    ...[1, 2].map((nth) => replaceNth(dsl, nth, 'can_tag: tagger from', 'can_tag: writer from')),
  ]
  const broken = [...leaveOutEach(dsl), ...widened]

  test('is tried on every rule that has more than one part', () => {
    const whats = broken.map(({ what }) => what)
    expect(whats).toEqual(
      expect.arrayContaining([
        'document#can_read without but not blocked',
        'delegation#active without and presented',
        'document#ordinary without but not sensitive',
        'document#can_be_told without and in_scope',
        'document#viewer without user:*',
      ]),
    )
    expect(whats.length).toBeGreaterThan(60)
  })

  for (const { what, dsl: changed } of broken) {
    test(`notices ${what}`, async () => {
      expect(await firstBroken(changed, table)).toEqual(expect.any(String))
    })
  }
})
