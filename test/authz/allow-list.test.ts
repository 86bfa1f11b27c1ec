import { compileModel } from '@remit/engine'
import { describe, expect, test } from 'vitest'
import { compileAllowList, type Operation } from '../../src/authz/allow-list/allow-list.ts'
import { problemsOf } from '../../src/authz/allow-list/problems.ts'
import { readAllowList } from '../../src/authz/allow-list/read.ts'
import { requestOnly } from '../../src/authz/allow-list/reserved.ts'
import type { Tuple } from '../../src/authz/fga.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { TextError } from '../../src/authz/text-error.ts'
import { dsl, parse, text } from './allow-list-rows.ts'

const list = compileAllowList({ id: 'm', json: readDsl(dsl), allowList: text })
const { misfitOf, requirementOf } = list

/** Kind of subject → who may write and who may delete it. `[until]`: also with an end. */
const everything = `
document#filed_in collection: nobody, nobody
document#owner user: document_writer, document_writer
document#parent folder: document_writer, document_writer
document#parent collection: document_writer, document_writer
document#parent zone: document_writer, document_writer
document#viewer user [until]: document_writer, document_writer
document#viewer user:*: everybody, everybody
document#viewer group#member [until]: document_writer, document_writer
document#viewer organization#member: document_writer, document_writer
document#blocked user: document_writer, document_writer
document#blocked group#member: document_writer, document_writer
document#sensitive user:*: document_writer, security
document#delegated_to delegation: nobody, nobody
document#granted_by grant: nobody, nobody
folder#filed_in collection: filing, nobody
folder#parent folder: tagger, tagger
folder#parent collection: tagger, tagger
folder#parent zone: tagger, tagger
folder#blocked user: tagger, tagger
folder#blocked group#member: tagger, tagger
folder#viewer user [until]: tagger, tagger
folder#viewer user:*: everybody, everybody
folder#viewer group#member [until]: tagger, tagger
folder#viewer organization#member: tagger, tagger
folder#sensitive user:*: tagger, security
folder#delegated_to delegation: nobody, nobody
folder#granted_by grant: nobody, nobody
zone#filed_in collection: filing, nobody
zone#audience user [until]: tagger, tagger
zone#audience user:*: everybody, everybody
zone#audience group#member [until]: tagger, tagger
zone#audience organization#member: tagger, tagger
zone#gate_1 user: tagger, tagger
zone#gate_1 user:*: tagger, tagger
zone#gate_1 group#member: tagger, tagger
zone#gate_2 user: tagger, tagger
zone#gate_2 user:*: tagger, tagger
zone#gate_2 group#member: tagger, tagger
zone#gate_3 user: tagger, tagger
zone#gate_3 user:*: tagger, tagger
zone#gate_3 group#member: tagger, tagger
zone#blocked user: tagger, tagger
zone#not_blocked user: nobody, nobody
zone#blocked group#member: tagger, tagger
zone#sensitive user:*: tagger, security
collection#viewer user [until]: tagger, tagger
collection#viewer user:*: everybody, everybody
collection#viewer group#member [until]: tagger, tagger
collection#viewer organization#member: tagger, tagger
collection#sensitive user:*: tagger, security
collection#blocked user: tagger, tagger
collection#blocked group#member: tagger, tagger
collection#not_blocked user: nobody, nobody
collection#writer service: security, security
collection#tagger service: security, security
collection#organization organization: security, security
collection#delegated_to delegation: nobody, nobody
collection#granted_by grant: nobody, nobody
group#member user [until]: directory, directory
group#member group#member: directory, directory
organization#admin user: directory, directory
organization#member user: directory, directory
organization#member group#member: directory, directory
organization#blocked user: directory, directory
organization#blocked group#member: directory, directory
organization#delegated_to delegation: nobody, nobody
agent#acting_for user: nobody, nobody
delegation#delegator user [until]: nobody, nobody
delegation#agent agent: nobody, nobody
delegation#sub_agent agent: nobody, nobody
delegation#presented user: nobody, nobody
grant#grantor user [until]: nobody, nobody
grant#agent agent: nobody, nobody
grant#presented user: nobody, nobody
fence#turn turn: nobody, nobody
watermark#at turn: nobody, nobody
`
  .trim()
  .split('\n')

describe('model.allow-list.yaml', () => {
  const model = compileModel(readDsl(dsl))
  const types = [...model.types.keys(), 'thing']
  const relations = [...new Set([...model.types.values()].flatMap((of) => [...of.keys()])), 'stranger']
  const kinds = types.flatMap((type) => [
    type,
    `${type}:*`,
    ...[...(model.types.get(type)?.keys() ?? []), 'stranger'].map((relation) => `${type}#${relation}`),
  ])

  test('lets write and delete exactly this, of every type, relation and kind of subject', () => {
    const until = { name: 'until' as const, context: { expires_at: '2027-01-01T00:00:00Z' } }
    const found = types.flatMap((type) =>
      relations.flatMap((relation) =>
        kinds.flatMap((kind) => {
          const user = kind.includes('#')
            ? kind.replace('#', ':s#')
            : kind.endsWith(':*')
              ? kind
              : `${kind}:s`
          const tuple: Tuple = { user, relation, object: `${type}:o` }
          const ends = misfitOf({ ...tuple, condition: until }, 'write') === undefined
          if (misfitOf(tuple, 'write') !== undefined) {
            expect(ends).toBe(false)
            return []
          }
          const [write, deletes] = (['write', 'delete'] as const).map(
            (operation) => requirementOf(tuple, operation).kind,
          )
          return [`${type}#${relation} ${kind}${ends ? ' [until]' : ''}: ${write}, ${deletes}`]
        }),
      ),
    )
    expect(found.sort()).toEqual([...everything].sort())
  })

  test('has a row for all that model.fga can store, but for what the service alone writes', () => {
    expect(problemsOf(readAllowList(text), model)).toEqual([])
    for (const { object, relation } of requestOnly) expect(list.has(object, relation)).toBe(false)
  })
})

describe('a list that is no list names the line', () => {
  test.each([
    [
      'an unknown member',
      'schema: 1\ntypes:\n  folder:\n    viewer: { subjects: [user], write: tagger, reads: all }',
      4,
    ],
    [
      'an unknown caller',
      'schema: 1\ntypes:\n  folder:\n    viewer: { subjects: [user], write: anybody }',
      4,
    ],
    [
      'a row without subjects',
      'schema: 1\ntypes:\n  folder:\n    viewer: { subjects: [], write: tagger }',
      4,
    ],
    ['any type at all', 'schema: 1\ntypes:\n  folder:\n    viewer: { subjects: ["*"], write: tagger }', 4],
    [
      'another condition',
      'schema: 1\ntypes:\n  folder:\n    viewer:\n      subjects: [user with always]\n      write: tagger',
      5,
    ],
    ['another schema', '\nschema: 2\ntypes: {}', 2],
    [
      'a row that stands twice',
      'schema: 1\ntypes:\n  folder:\n    a: { subjects: [user], write: tagger }\n    a: { subjects: [user], write: tagger }',
      5,
    ],
  ])('%s', (_, content, line) => {
    expect(() => readAllowList(content)).toThrow(TextError)
    expect(() => readAllowList(content)).toThrow(new RegExp(`allow_list:${line}:|at line ${line}`))
  })

  test('an alias, which could not stay where its anchor is left out', () => {
    const aliased = text
      .replace('    owner: {', '    owner: &o {')
      .replace('    blocked: {', '    second: *o\n    blocked: {')
    expect(() => readAllowList(aliased)).toThrow(TextError)
    expect(() => readAllowList(aliased)).toThrow(/^allow_list:25: \*o/)
  })

  test('one that is longer than anybody writes', () => {
    expect(() => readAllowList(`${text}${'#'.repeat(70_000)}`)).toThrow('at most')
  })
})

test.each<[string, string | undefined]>([
  ['missing', undefined],
  ['unreadable', 'schema: ['],
  ['another model’s', `${text}  team:\n    member: { subjects: [user], write: directory }\n`],
])('a list that is %s lets nobody write', (_, allowList) => {
  expect(() => compileAllowList({ id: 'm', json: readDsl(dsl), allowList })).toThrow(
    expect.objectContaining({ code: 'authorization_unavailable' }),
  )
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
    ['write', 'collection:c filed_in folder:f', { kind: 'filing', object: 'folder:f', collection: 'c' }],
    ['delete', 'collection:c filed_in folder:f', { kind: 'nobody' }],
    ['write', 'collection:c parent folder:f', { kind: 'tagger', object: 'folder:f', parent: 'collection:c' }],
    ['write', 'user:a viewer collection:c', { kind: 'tagger', object: 'collection:c' }],
    ['delete', 'user:* sensitive folder:f', { kind: 'security', object: 'folder:f' }],
    ['write', 'user:* viewer document:d', { kind: 'everybody', object: 'document:d', right: 'writer' }],
    ['write', 'user:* viewer folder:f', { kind: 'everybody', object: 'folder:f', right: 'tagger' }],
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
