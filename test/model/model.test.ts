import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { engineTarget, serverTarget, type Target } from '../../packages/engine/test/support/target.ts'
import { needsOpenfga } from '../support/native.ts'
import { leaveOutEach, replaceOnce } from './mutants.ts'
import { firstBroken, openStore, readTable } from './store.ts'

const text = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const dsl = text('model.fga')
const source = text('model.fga.yaml')
const table = readTable(source)

const server = (): Target => {
  const target = serverTarget()
  if (target === undefined) throw new Error('This test needs a real OpenFGA server.')
  return target
}

describe('on the embedded engine', () => {
  for (const { name, tuples, rows } of table) {
    describe(name, () => {
      let target: Target
      let store: string
      beforeAll(async () => {
        target = engineTarget()
        store = await openStore(target, dsl, tuples)
      })
      for (const { title, ask, expected } of rows) {
        test(title, async () => {
          expect(await ask(target, store)).toEqual(expected)
        })
      }
    })
  }
})

// A test for each part of the table: what one machine lacks should not fill its report with hundreds of lines.
describe('on a real OpenFGA server', needsOpenfga, () => {
  for (const { name, tuples, rows } of table) {
    test(name, async () => {
      const target = server()
      const store = await openStore(target, dsl, tuples)
      const said = await Promise.all(rows.map(async ({ title, ask }) => [title, await ask(target, store)]))
      expect(said).toEqual(rows.map(({ title, expected }) => [title, expected]))
    })
  }
})

describe.each([
  { name: 'the embedded engine', open: engineTarget, options: {} },
  { name: 'a real OpenFGA server', open: server, options: needsOpenfga },
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
    ['everybody presents', { user: 'user:*', relation: 'presented', object: 'delegation:d' }],
    [
      'a person is given can_read itself',
      { user: 'user:anne', relation: 'can_read', object: 'document:plan' },
    ],
  ])('no tuple can say that %s', options, async (_, tuple) => {
    await expect(openStore(open(), dsl, [tuple])).rejects.toThrow('refused: ')
  })
})

describe('the table', () => {
  test('says at least sixty things, and none of them twice', () => {
    const titles = table.flatMap(({ name, rows }) => rows.map(({ title }) => `${name}: ${title}`))
    expect(titles.length).toBeGreaterThanOrEqual(60)
    expect(titles.filter((title, index) => titles.indexOf(title) !== index)).toEqual([])
  })

  test.each([
    ['at the top', 'name: Remit\n', 'name: Remit\nfixed_clock: now\n'],
    [
      'in a check',
      'object: document:other, assertions',
      'object: document:other, contextual: [], assertions',
    ],
    ['in a tuple', 'object: group:eng }', 'object: group:eng, note: hers }'],
  ])('refuses a key that the tool does not know, %s', (_, before, after) => {
    expect(source).toContain(before)
    expect(() => readTable(source.replace(before, after))).toThrow('unrecognized_keys')
  })

  test('holds for the model as it is', async () => {
    expect(await firstBroken(engineTarget(), dsl, table)).toBeUndefined()
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
    replaceOnce(dsl, 'define can_tag: tagger from filed_in', 'define can_tag: writer from filed_in'),
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
      expect(await firstBroken(engineTarget(), changed, table)).toEqual(expect.any(String))
    })
  }
})
