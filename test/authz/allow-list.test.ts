import { readFileSync } from 'node:fs'
import { compileModel } from '@remit/engine'
import { describe, expect, test } from 'vitest'
import { compileAllowList, type Operation } from '../../src/authz/allow-list/allow-list.ts'
import { fitted } from '../../src/authz/allow-list/fitted.ts'
import { problemsOf } from '../../src/authz/allow-list/problems.ts'
import { AllowListError, readAllowList } from '../../src/authz/allow-list/read.ts'
import { requestOnly } from '../../src/authz/allow-list/reserved.ts'
import type { Tuple } from '../../src/authz/fga.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { reachable } from '../../src/authz/model/reachable.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'

const fileOf = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')
const dsl = fileOf('model.fga')
const text = fileOf('model.allow-list.yaml')
const list = compileAllowList({ id: 'm', json: readDsl(dsl), allowList: text })
const { misfitOf, requirementOf } = list

const parse = (line: string): Tuple => {
  const [user = '', relation = '', object = ''] = line.split(' ')
  return { user, relation, object: object as FgaObject }
}

/** Kind of subject → who may write and who may delete it. `[until]`: also with an end. */
const everything = `
document#filed_in collection: nobody, nobody
document#owner user: document_writer, document_writer
document#parent folder: document_writer, document_writer
document#parent collection: document_writer, document_writer
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
folder#viewer user [until]: tagger, tagger
folder#viewer user:*: everybody, everybody
folder#viewer group#member [until]: tagger, tagger
folder#viewer organization#member: tagger, tagger
folder#sensitive user:*: tagger, security
folder#delegated_to delegation: nobody, nobody
folder#granted_by grant: nobody, nobody
collection#viewer user [until]: tagger, tagger
collection#viewer user:*: everybody, everybody
collection#viewer group#member [until]: tagger, tagger
collection#viewer organization#member: tagger, tagger
collection#sensitive user:*: tagger, security
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
    expect(() => readAllowList(content)).toThrow(AllowListError)
    expect(() => readAllowList(content)).toThrow(new RegExp(`allow_list:${line}:|at line ${line}`))
  })

  test('an alias, which could not stay where its anchor is left out', () => {
    const aliased = text
      .replace('    owner: {', '    owner: &o {')
      .replace('    blocked: {', '    second: *o\n    blocked: {')
    expect(() => readAllowList(aliased)).toThrow(AllowListError)
    expect(() => readAllowList(aliased)).toThrow(/^allow_list:25: \*o/)
  })

  test('one that is longer than anybody writes', () => {
    expect(() => readAllowList(`${text}${'#'.repeat(70_000)}`)).toThrow('at most')
  })
})

/** The default list with rows more, beside model.fga with other lines. */
function problems(rows: string, edit: (model: string) => string = (model) => model): readonly string[] {
  const model = compileModel(readDsl(edit(dsl)))
  return problemsOf(readAllowList(withRows(rows)), model).map(
    ({ kind, row, detail }) => `${kind} ${row.key}: ${detail}`,
  )
}

/** `folder#label user, group#member: tagger, administrator` is one row. */
function withRows(rows: string): string {
  return rows
    .trim()
    .split('\n')
    .reduce((content, row) => {
      const [, type, relation, subjects, write, deletes] =
        /^(\w+)#(\w+) (.+): (\w+)(?:, (\w+))?$/.exec(row.trim()) ?? []
      const line = `    ${relation}: { subjects: [${subjects}], write: ${write}${deletes === undefined ? '' : `, delete: ${deletes}`} }\n`
      return content.includes(`\n  ${type}:\n`)
        ? content.replace(`\n  ${type}:\n`, (found) => found + line)
        : `${content}  ${type}:\n${line}`
    }, text)
}

const define =
  (type: string, line: string) =>
  (model: string): string =>
    model.replace(new RegExp(`(type ${type}\n  relations\n)`), `$1    define ${line}\n`)
const newType =
  (type: string, line: string) =>
  (model: string): string =>
    model.replace('\ncondition until', `\ntype ${type}\n  relations\n    define ${line}\n\ncondition until`)
const change =
  (from: string, to: string) =>
  (model: string): string => {
    expect(model).toContain(from)
    return model.replaceAll(from, to)
  }
const all =
  (...edits: ((model: string) => string)[]) =>
  (model: string): string =>
    edits.reduce((changed, edit) => edit(changed), model)

describe('a row is refused that names what the model lacks:', () => {
  test.each([
    ['a type', 'team#lead user: directory'],
    ['a relation', 'folder#label user: tagger'],
    ['a relation that is computed', 'document#can_read user: administrator'],
  ])('%s', (_, row) => {
    expect(problems(row)).toEqual([expect.stringMatching(/^unknown/)])
  })

  test('a kind of subject, or one with an end where the model has none', () => {
    const label = define('folder', 'label: [user]')
    expect(problems('folder#label user, group#member, user with until: tagger', label)).toEqual([
      expect.stringMatching(/^unknown .*group#member/),
      expect.stringMatching(/^unknown .*user with until/),
    ])
  })

  test('and is left out, with its comments kept elsewhere, where a list is fitted to a model', () => {
    const model = compileModel(
      readDsl(
        all(
          change('    define blocked: [user, group#member]\n', ''),
          change('viewer but not blocked', 'viewer'),
        )(dsl),
      ),
    )
    const { text: left, dropped } = fitted(text, model)
    expect(dropped.map(({ row }) => row.key)).toEqual(['document#blocked'])
    expect(problemsOf(readAllowList(left), model)).toEqual([])
    expect(left).toContain('# At its first mention')
    expect(readAllowList(left)).toHaveLength(readAllowList(text).length - 1)
  })
})

describe('whatever a list says, no row lets anybody write', () => {
  const user = (name: string) => `${name}: [user]`
  test.each<[string, string, (model: string) => string]>([
    ['who a request acts for', 'agent#acting_for user: administrator', (model) => model],
    ['what a request presents', 'delegation#presented user: administrator', (model) => model],
    ['who lends', 'delegation#delegator user with until: administrator', (model) => model],
    ['to which agent', 'delegation#agent agent: directory', (model) => model],
    ['who approved', 'grant#grantor user with until: administrator', (model) => model],
    ['what was lent', 'folder#delegated_to delegation: tagger', (model) => model],
    ['what was approved', 'document#granted_by grant: writer', (model) => model],
    ['where a document is filed', 'document#filed_in collection: writer', (model) => model],
    ['a fence', 'fence#turn turn: administrator', (model) => model],
    ['a watermark', 'watermark#at turn: administrator', (model) => model],
    ['another relation on an agent', 'agent#helper user: directory', define('agent', user('helper'))],
    [
      'another way to what was lent',
      'document#lent_via delegation: tagger',
      define('document', 'lent_via: [delegation]'),
    ],
    ['another way to an approval', 'folder#allowed grant: tagger', define('folder', 'allowed: [grant]')],
    ['an agent into a group', 'group#bot agent: directory', define('group', 'bot: [agent]')],
    [
      'the name of what was lent, on another type',
      'team#delegated_to user: directory',
      newType('team', 'delegated_to: [user]'),
    ],
  ])('%s', (_, row, edit) => {
    expect(problems(row, edit)).toContainEqual(expect.stringMatching(/^refused .*the service alone/i))
  })

  test.each<[string, string, (model: string) => string]>([
    [
      'scope',
      'collection#open user: tagger',
      all(
        define('collection', 'open: [user]'),
        change(
          'in_scope: active from delegated_to or in_scope from organization',
          'in_scope: active from delegated_to or open or in_scope from organization',
        ),
      ),
    ],
    [
      'scope, from a group',
      'document#near group#member: writer',
      all(
        define('document', 'near: [group#member]'),
        change(
          'in_scope from parent or in_scope from filed_in',
          'in_scope from parent or in_scope from filed_in or near',
        ),
      ),
    ],
    [
      'scope, over a link',
      'document#room room: writer\nroom#guest user: directory',
      all(
        newType('room', 'guest: [user]'),
        define('document', 'room: [room]'),
        change(
          'in_scope from parent or in_scope from filed_in',
          'in_scope from parent or in_scope from filed_in or guest from room',
        ),
      ),
    ],
    [
      'an approval',
      'document#fine user: writer',
      all(
        define('document', 'fine: [user]'),
        change(
          'live from granted_by or granted from parent or granted from filed_in',
          'live from granted_by or fine or granted from parent or granted from filed_in',
        ),
      ),
    ],
    [
      'an approval of another name',
      'document#fine user: writer',
      all(
        define('document', 'fine: [user]'),
        change('released: can_be_told and granted', 'released: can_be_told and cleared'),
        define('document', 'cleared: granted or fine'),
      ),
    ],
    ['an emergency', 'document#emergency user: administrator', define('document', 'emergency: [user]')],
    [
      'an approval, over a link that the default list lets write',
      'organization#trusted user: directory',
      all(
        define('organization', 'trusted: [user]'),
        change(
          'granted: live from granted_by\n',
          'granted: live from granted_by or trusted from organization\n',
        ),
      ),
    ],
    [
      'the same, with what is let write today',
      'folder#note user: tagger',
      all(
        define('folder', 'note: [user]'),
        change(
          'live from granted_by or granted from parent or granted from filed_in',
          'live from granted_by or owner or granted from parent or granted from filed_in',
        ),
      ),
    ],
  ])('what stands in for %s', (_, rows, edit) => {
    expect(problems(rows, edit)).toContainEqual(
      expect.stringMatching(/^refused .*without a consent or an approval/),
    )
  })

  test.each<[string, RegExp, string, (model: string) => string]>([
    [
      'collection#organization',
      /    organization: \{ subjects: \[organization\].*\n/,
      'organization#trusted user: directory',
      all(
        define('organization', 'trusted: [user]'),
        change(
          'granted: live from granted_by\n',
          'granted: live from granted_by or trusted from organization\n',
        ),
      ),
    ],
    [
      'document#parent',
      /    parent: \{ subjects: \[folder, collection\], write: writer.*\n/,
      'folder#trusted user: tagger',
      all(
        define('folder', 'trusted: [user]'),
        change(
          'granted from parent or granted from filed_in',
          'granted from filed_in or trusted from parent',
        ),
      ),
    ],
  ])(
    'what stands in for an approval over links that are stored, though %s has no row',
    (link, linked, row, edit) => {
      const rows = readAllowList(withRows(row).replace(linked, ''))
      expect(rows.map(({ key }) => key)).not.toContain(link)
      const refused = problemsOf(rows, compileModel(readDsl(edit(dsl))))
      expect(refused.map(({ row: { key } }) => key)).toEqual([row.split(' ')[0]])
    },
  )

  test('a kind of subject that rests on what was lent', () => {
    const friend = change(
      'viewer: [user, user:*, group#member, organization#member, user with until, group#member with until] or owner',
      'viewer: [user, user:*, group#member, organization#member, organization#in_scope, user with until, group#member with until] or owner',
    )
    expect(
      problems(
        'document#watcher organization#in_scope: writer',
        all(friend, define('document', 'watcher: [organization#in_scope]')),
      ),
    ).toContainEqual(expect.stringMatching(/^refused document#watcher: organization#in_scope rests on/))
  })

  test.each<[string, string, (model: string) => string]>([
    [
      'by a writer',
      'document#hold user: administrator, writer',
      all(
        define('document', 'hold: [user]'),
        change('viewer but not blocked', 'viewer but not (blocked or hold)'),
      ),
    ],
    [
      'by a tagger, further up',
      'folder#hold user:*: tagger, tagger',
      all(
        define('folder', 'hold: [user:*]'),
        define('document', 'held: hold from parent'),
        change('collection]\n    define owner', 'collection]\n    define owner'),
        define('collection', 'hold: [user:*]'),
        change('viewer but not blocked', 'viewer but not (blocked or held)'),
      ),
    ],
    [
      'by a directory, on a type of its own',
      'legal#hold user, group#member: directory, directory\ndocument#on_hold legal: administrator',
      all(
        newType('legal', 'hold: [user, group#member]'),
        define('document', 'on_hold: [legal]'),
        define('document', 'held: hold from on_hold'),
        change('viewer but not blocked', 'viewer but not (blocked or held)'),
      ),
    ],
  ])('and no service delete what keeps others from reading: %s', (_, row, edit) => {
    expect(problems(row, edit)).toContainEqual(expect.stringMatching(/^refused \w+#hold: It keeps others/))
  })

  const exemptFromBlocked = (subjects: string) =>
    all(
      define('document', `exempt: [${subjects}]`),
      change('blocked: [user, group#member]', 'blocked: [user, group#member] but not exempt'),
    )
  test.each<[string, string, (model: string) => string]>([
    ['from what is blocked', 'document#exempt user: writer', exemptFromBlocked('user')],
    [
      'from what is sensitive',
      'document#exempt user: writer',
      all(
        define('document', 'exempt: [user]'),
        change(
          'sensitive: [user:*] or sensitive from parent or sensitive from filed_in',
          'sensitive: ([user:*] or sensitive from parent or sensitive from filed_in) but not exempt',
        ),
      ),
    ],
    [
      'by a directory, on a type of its own',
      'desk#exempt user: directory\ndocument#desk desk: administrator',
      all(
        newType('desk', 'exempt: [user]'),
        define('document', 'desk: [desk]'),
        change('blocked: [user, group#member]', 'blocked: [user, group#member] but not exempt from desk'),
      ),
    ],
  ])('and no service write what is an exception: %s', (_, row, edit) => {
    expect(problems(row, edit)).toEqual([
      expect.stringMatching(/^refused \w+#exempt: It takes away what keeps/),
    ])
  })

  const inScopeFromSecond = change(
    'in_scope: active from delegated_to\n',
    'in_scope: active from delegated_to or in_scope from second\n',
  )
  test.each<[string, string, (model: string) => string]>([
    [
      'by a tagger',
      'collection#second organization: tagger',
      all(
        define('collection', 'second: [organization]'),
        change('in_scope from organization', 'in_scope from organization or in_scope from second'),
      ),
    ],
    [
      'by a directory, from what is its own',
      'organization#second organization: directory',
      all(define('organization', 'second: [organization]'), inScopeFromSecond),
    ],
    [
      'by a directory, from what is filed',
      'organization#second collection: directory',
      all(define('organization', 'second: [collection]'), inScopeFromSecond),
    ],
  ])('and no service link objects over which what was lent passes: %s', (_, row, edit) => {
    expect(problems(row, edit)).toEqual([
      expect.stringMatching(/^refused \w+#second: What was lent or approved/),
    ])
  })

  test.each<[string, string, (model: string) => string]>([
    ['a writer on a folder', 'folder#label user: writer', define('folder', user('label'))],
    ['a tagger on a group', 'group#lead user: tagger', define('group', user('lead'))],
    ['a directory on a document', 'document#label user: directory', define('document', user('label'))],
    ['a directory for everybody', 'group#guest user:*: directory', define('group', 'guest: [user:*]')],
    [
      'a tagger what makes a writer',
      'collection#partner service: tagger',
      define('collection', 'partner: [service]'),
    ],
    [
      'a tagger what leads to a writer',
      'collection#twin collection: tagger',
      all(
        define('collection', 'twin: [collection]'),
        change('writer: [service]', 'writer: [service] or writer from twin'),
      ),
    ],
  ])('with a right that does not reach there: %s', (_, row, edit) => {
    expect(problems(row, edit)).toEqual([expect.stringMatching(/^refused/)])
  })

  test.each<[string, string, (model: string) => string]>([
    [
      'a tagger adds contractors with an end',
      'collection#contractor user with until: tagger, tagger',
      all(define('collection', 'contractor: [user with until]')),
    ],
    [
      'a directory keeps a new type',
      'team#member user: directory, directory',
      newType('team', 'member: [user]'),
    ],
    [
      'a writer adds a hold that an administrator takes away',
      'document#hold user:*: writer, administrator',
      all(
        define('document', 'hold: [user:*]'),
        change('viewer but not blocked', 'viewer but not (blocked or hold)'),
      ),
    ],
    [
      'an administrator adds an exception, for groups that a directory keeps',
      'document#exempt user, group#member: administrator, administrator',
      exemptFromBlocked('user, group#member'),
    ],
    [
      'a writer makes a document part of another, over which what was lent passes',
      'document#part_of document: writer, writer',
      all(
        define('document', 'part_of: [document]'),
        change(
          'in_scope from parent or in_scope from filed_in',
          'in_scope from parent or in_scope from filed_in or in_scope from part_of',
        ),
      ),
    ],
  ])('but this: %s', (_, row, edit) => {
    expect(problems(row, edit)).toEqual([])
  })
})

test('a document that leads to another asks for the right where that one is filed', () => {
  const model = define('document', 'part_of: [document]')(dsl)
  const rows = withRows('document#part_of document: writer, writer')
  const { requirementOf } = compileAllowList({ id: 'm', json: readDsl(model), allowList: rows })
  expect(requirementOf(parse('document:board part_of document:mine'), 'write')).toEqual({
    kind: 'document_writer',
    document: 'mine',
    parent: 'document:board',
  })
})

test('what can be reached asks of each relation only a few times, however they are ordered', () => {
  const length = 200
  const chain = Array.from({ length }, (_, at) =>
    define('document', `r${length - at}: [user] or r${length - at + 1}`),
  )
  const model = compileModel(readDsl(all(define('document', `r${length + 1}: [user]`), ...chain)(dsl)))
  let asked = 0
  const had = reachable(model, {
    stored: (relation) => {
      asked += 1
      return relation.key === `document#r${length + 1}`
    },
  })
  expect(had).toContain('document#r1')
  expect(asked).toBeLessThan(5 * length)
})

test('of very many rows by which an approval could be had none gets through', () => {
  const names = Array.from({ length: 60 }, (_, at) => `fine${at}`)
  const edit = all(
    ...names.map((name) => define('document', `${name}: [user]`)),
    change('granted from parent or granted from filed_in', `granted from filed_in or ${names.join(' or ')}`),
  )
  const found = problems(names.map((name) => `document#${name} user: writer`).join('\n'), edit).join('\n')
  for (const name of names) expect(found).toContain(`refused document#${name}: `)
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
    ['write', 'collection:c filed_in folder:f', { kind: 'filing', folder: 'f', collection: 'c' }],
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
