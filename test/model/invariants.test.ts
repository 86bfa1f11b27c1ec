import { readFileSync } from 'node:fs'
import { compileModel, type JsonObject } from '@remit/engine'
import { describe, expect, test } from 'vitest'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { refusalsOf, warningsOf } from '../../src/authz/model/invariants.ts'
import { replaceOnce } from './mutants.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const compile = (text: string) => compileModel(readDsl(text) as unknown as JsonObject)
const changed = (before: string, after: string) => compile(replaceOnce(dsl, before, after).dsl)
const said = (findings: ReturnType<typeof refusalsOf>) =>
  findings.map(({ rule, relation }) => `${relation} ${rule}`)

test('the model as it is has nothing that speaks against it', () => {
  expect(refusalsOf(compile(dsl))).toEqual([])
  expect(warningsOf(compile(dsl))).toEqual([])
})

describe('a model is refused', () => {
  test('without what the service asks for, and the relation is named', () => {
    expect(
      said(refusalsOf(changed('define can_read_delegated: ordinary or released', 'define x: ordinary'))),
    ).toEqual(['document#can_read_delegated relation_missing'])
    const none = `model\n  schema 1.1\ntype user\ntype agent\n  relations\n    define acting_for: [user]\ntype delegation\n  relations\n    define presented: [user]\ntype grant\n  relations\n    define presented: [user]\n`
    expect(said(refusalsOf(compile(none)))).toEqual([
      'document#can_read relation_missing',
      'document#can_be_told relation_missing',
      'document#can_read_delegated relation_missing',
    ])
  })

  test.each([
    ['agent#acting_for', 'define acting_for: [user]', 'define acting_for: [user with until]'],
    [
      'delegation#presented',
      'define sub_agent: [agent]\n    define presented: [user]',
      'define sub_agent: [agent]\n    define presented: [agent]',
    ],
  ])('when %s takes no tuple as a question brings it', (relation, before, after) => {
    expect(said(refusalsOf(changed(before, after)))).toEqual([`${relation} request_only_missing`])
  })

  test.each([
    ['fence', 'define turn: [turn]', 'define turn: [turn, user]'],
    ['fence', 'define turn: [turn]', 'define turn: [turn]\n    define more: [turn]'],
    ['watermark', 'define at: [turn]', 'define at: [turn with until]'],
    ['turn', 'type turn\n', 'type turn\n  relations\n    define seen: [user]\n'],
    [
      'collection#sensitive',
      'define sensitive: [user:*]\n    define granted_by',
      'define sensitive: [user:*, fence]\n    define granted_by',
    ],
  ])('when %s is not as the service keeps its own marks', (relation, before, after) => {
    expect(said(refusalsOf(changed(before, after)))).toEqual([`${relation} own_marks_changed`])
  })

  test('when what a request brings is enough to read', () => {
    const model = changed(
      'define can_read: viewer but not blocked',
      'define can_read: viewer or active from delegated_to',
    )
    const weaker = compile(
      replaceOnce(
        replaceOnce(
          dsl,
          'define can_read: viewer but not blocked',
          'define can_read: viewer or active from delegated_to',
        ).dsl,
        'delegator and presented and acts',
        'presented and acts',
      ).dsl,
    )
    expect(said(refusalsOf(model))).toEqual([])
    expect(said(refusalsOf(weaker))).toEqual(
      expect.arrayContaining([
        'document#can_read request_only_grants',
        'document#can_be_told request_only_grants',
      ]),
    )
  })

  test.each([
    [
      'a delegation holds without its delegator',
      'delegator and presented and acts',
      'presented and acts',
      'delegation#active',
    ],
    [
      'a grant holds without its grantor',
      'define released: can_be_told and granted',
      'define released: can_read and granted',
      undefined,
    ],
    [
      'what is readable counts as lent',
      'define can_be_told: can_read and in_scope',
      'define can_be_told: can_read',
      '',
    ],
    [
      'being a viewer counts as having lent',
      'in_scope from parent or in_scope from filed_in',
      'in_scope from parent or viewer',
      '',
    ],
  ])('when an agent needs nothing lent: %s', (_, before, after, through) => {
    const refusals = refusalsOf(changed(before, after))
    if (through === undefined) return expect(refusals).toEqual([])
    expect(said(refusals)).toEqual([
      'document#can_be_told lending_not_needed',
      'document#can_read_delegated lending_not_needed',
    ])
    expect(refusals[0]?.detail).toContain(through)
  })

  test('whose conditions need context that no check sends', () => {
    const model = changed(
      'condition until(current_time: timestamp, expires_at: timestamp) {',
      'condition until(current_time: timestamp, expires_at: timestamp, address: ipaddress) {',
    )
    expect(refusalsOf(model)).toEqual([
      { rule: 'context_not_sent', relation: 'until', detail: expect.stringContaining('needs address') },
    ])
  })
})

describe('whoever confirms a model is told', () => {
  test('when being told does not stand on being allowed to read', () => {
    expect(
      said(
        warningsOf(
          changed('define can_be_told: can_read and in_scope', 'define can_be_told: viewer and in_scope'),
        ),
      ),
    ).toEqual(['document#can_read_delegated own_rights_not_implied'])
  })

  test('which changes of the service’s own it would refuse', () => {
    const [warning] = warningsOf(
      changed('define grantor: [user with until]', 'define grantor: [user:* with until]'),
    )
    expect(warning).toMatchObject({ rule: 'writer_refused', relation: 'grant#grantor' })
    expect(warning?.detail).toContain('user here')
  })
})
