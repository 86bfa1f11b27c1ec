import { readFileSync } from 'node:fs'
import { transformer } from '@openfga/syntax-transformer'
import { describe, expect, test } from 'vitest'
import type { Tuple } from '../../src/authz/fga.ts'
import { misfitOf, type Operation, requestOnly, requirementOf, rules } from '../../src/authz/tuples.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'

const parse = (line: string): Tuple => {
  const [user = '', relation = '', object = ''] = line.split(' ')
  return { user, relation, object: object as FgaObject }
}

interface Related {
  readonly type: string
  readonly relation?: string
  readonly wildcard?: object
  readonly condition?: string
}

const model = transformer.transformDSLToJSONObject(
  readFileSync(new URL('../../model.fga', import.meta.url), 'utf8'),
) as {
  readonly type_definitions: readonly {
    readonly type: string
    readonly metadata?: {
      readonly relations?: Readonly<
        Record<string, { readonly directly_related_user_types?: readonly Related[] }>
      >
    }
  }[]
}

const subjectOf = ({ type, relation, wildcard }: Related): string =>
  wildcard !== undefined
    ? `${type}:*`
    : relation === undefined || relation === ''
      ? type
      : `${type}#${relation}`

test('lists exactly what model.fga can store: each relation, its subjects, and which may have an end', () => {
  const fromModel = model.type_definitions.flatMap(({ type, metadata }) =>
    Object.entries(metadata?.relations ?? {}).flatMap(
      ([relation, { directly_related_user_types: related = [] }]) =>
        related.length === 0
          ? []
          : [
              {
                key: `${type}#${relation}`,
                subjects: [...new Set(related.map(subjectOf))].sort(),
                expiring: related
                  .filter(({ condition }) => condition === 'until')
                  .map(subjectOf)
                  .sort(),
              },
            ],
    ),
  )
  const fromRules = rules.map(({ object, relation, subjects, expiring = [] }) => ({
    key: `${object}#${relation}`,
    subjects: [...subjects].sort(),
    expiring: [...expiring].sort(),
  }))
  const byKey = (a: { key: string }, b: { key: string }) => (a.key < b.key ? -1 : 1)
  expect(fromRules.sort(byKey)).toEqual(fromModel.sort(byKey))
})

test('names every request-only relation, and no rule lets anybody touch one', () => {
  expect(requestOnly.map(({ object, relation }) => `${object}#${relation}`).sort()).toEqual([
    'agent#acting_for',
    'delegation#presented',
    'grant#presented',
  ])
  for (const { object, relation } of requestOnly) {
    const rule = rules.find((candidate) => candidate.object === object && candidate.relation === relation)
    expect(rule).toMatchObject({ write: 'nobody', delete: 'nobody' })
  }
})

describe('what a tuple asks of its writer', () => {
  test.each<[Operation, string, object]>([
    ['write', 'user:a owner document:d', { kind: 'document_writer', document: 'd' }],
    ['write', 'group:g#member viewer document:d', { kind: 'document_writer', document: 'd' }],
    ['delete', 'user:a blocked document:d', { kind: 'document_writer', document: 'd' }],
    ['write', 'folder:f parent document:d', { kind: 'document_writer', document: 'd', parent: 'folder:f' }],
    ['write', 'user:* sensitive document:d', { kind: 'document_writer', document: 'd' }],
    ['delete', 'user:* sensitive document:d', { kind: 'security', object: 'document:d' }],
    ['write', 'collection:c filed_in document:d', { kind: 'nobody' }],
    ['write', 'collection:c filed_in folder:f', { kind: 'filing', folder: 'f', collection: 'c' }],
    ['delete', 'collection:c filed_in folder:f', { kind: 'nobody' }],
    ['write', 'collection:c parent folder:f', { kind: 'tagger', object: 'folder:f', parent: 'collection:c' }],
    ['write', 'user:a viewer collection:c', { kind: 'tagger', object: 'collection:c' }],
    ['delete', 'user:* sensitive folder:f', { kind: 'security', object: 'folder:f' }],
    ['write', 'user:* viewer document:d', { kind: 'everybody', object: 'document:d' }],
    ['write', 'user:* viewer folder:f', { kind: 'everybody', object: 'folder:f' }],
    ['write', 'service:s writer collection:c', { kind: 'security', object: 'collection:c' }],
    ['delete', 'service:s tagger collection:c', { kind: 'security', object: 'collection:c' }],
    ['write', 'organization:o organization collection:c', { kind: 'security', object: 'collection:c' }],
    ['write', 'user:a member group:ho/g', { kind: 'directory', id: 'ho/g' }],
    ['write', 'user:a admin organization:o', { kind: 'directory', id: 'o' }],
    ['delete', 'group:g#member member organization:o', { kind: 'directory', id: 'o' }],
    ...(['write', 'delete'] as const).flatMap((operation): [Operation, string, object][] =>
      [
        'user:a acting_for agent:b',
        'user:a presented delegation:t',
        'user:a presented grant:g',
        'user:a delegator delegation:t',
        'agent:b agent delegation:t',
        'agent:b sub_agent delegation:t',
        'user:a grantor grant:g',
        'agent:b agent grant:g',
        'delegation:t delegated_to document:d',
        'delegation:t delegated_to folder:f',
        'delegation:t delegated_to collection:c',
        'delegation:t delegated_to organization:o',
        'grant:g granted_by document:d',
        'grant:g granted_by folder:f',
        'grant:g granted_by collection:c',
        'turn:1 turn fence:h',
        'turn:1 at watermark:w',
      ].map((line) => [operation, line, { kind: 'nobody' }]),
    ),
  ])('%s of "%s"', (operation, line, requirement) => {
    expect(misfitOf(parse(line), operation)).toBeUndefined()
    expect(requirementOf(parse(line), operation)).toEqual(requirement)
  })
})

describe('what does not fit is named', () => {
  test.each([
    ['user:a viewer document', 'object'],
    ['user:a viewer document:', 'object'],
    ['user:a viewer document:a:b', 'object'],
    ['user:a viewer document:../x', 'object'],
    ['user:a viewer document:x#viewer', 'object'],
    ['user:a viewer thing:x', 'object'],
    ['user:a member user:b', 'object'],
    ['user:a can_read document:x', 'relation'],
    ['user:a * document:x', 'relation'],
    ['user:a in_scope document:x', 'relation'],
    ['user:a can_tag folder:x', 'relation'],
    ['a viewer document:x', 'user'],
    ['user:a:b viewer document:x', 'user'],
    ['user:%zz viewer document:x', 'user'],
    ['user:a#b#c viewer document:x', 'user'],
    ['group:g viewer document:x', 'user'],
    ['group:* viewer document:x', 'user'],
    ['group:g#owner viewer document:x', 'user'],
    ['agent:b viewer document:x', 'user'],
    ['user:* owner document:x', 'user'],
    ['user:* member group:g', 'user'],
    ['user:a sensitive document:x', 'user'],
    ['group:g#member member group:g', 'user'],
    ['folder:f parent folder:f', 'user'],
  ])('%s: %s', (line, field) => {
    expect(misfitOf(parse(line), 'write')).toMatchObject({ field })
  })

  const end = '2027-01-01T00:00:00Z'
  test.each<[string, string, object, string]>([
    [
      'another condition',
      'user:a viewer document:x',
      { name: 'always', context: { expires_at: end } },
      'condition.name',
    ],
    [
      'a stored clock',
      'user:a viewer document:x',
      { name: 'until', context: { expires_at: end, current_time: end } },
      'condition.context.current_time',
    ],
    ['no end', 'user:a viewer document:x', { name: 'until', context: {} }, 'condition.context.expires_at'],
    [
      'an end that is a number',
      'user:a viewer document:x',
      { name: 'until', context: { expires_at: 7 } },
      'condition.context.expires_at',
    ],
    [
      'an end that is no date',
      'user:a viewer document:x',
      { name: 'until', context: { expires_at: '2027-13-99T99:00:00Z' } },
      'condition.context.expires_at',
    ],
    [
      'an end on everybody',
      'user:* viewer document:x',
      { name: 'until', context: { expires_at: end } },
      'condition',
    ],
    [
      'an end on an owner',
      'user:a owner document:x',
      { name: 'until', context: { expires_at: end } },
      'condition',
    ],
    [
      'an end on a nested group',
      'group:h#member member group:g',
      { name: 'until', context: { expires_at: end } },
      'condition',
    ],
  ])('a condition with %s', (_, line, condition, field) => {
    const tuple = { ...parse(line), condition: condition as NonNullable<Tuple['condition']> }
    expect(misfitOf(tuple, 'write')).toMatchObject({ field })
  })

  test('a condition on a deletion', () => {
    const tuple: Tuple = {
      ...parse('user:a viewer document:x'),
      condition: { name: 'until', context: { expires_at: end } },
    }
    expect(misfitOf(tuple, 'delete')).toMatchObject({ field: 'condition' })
    expect(misfitOf(tuple, 'write')).toBeUndefined()
  })
})
