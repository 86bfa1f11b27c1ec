import { compileModel } from '@remit/engine'
import { describe, expect, test } from 'vitest'
import { compileAllowList } from '../../src/authz/allow-list/allow-list.ts'
import { fitted, problemsOf } from '../../src/authz/allow-list/problems.ts'
import { readAllowList } from '../../src/authz/allow-list/read.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { reachable } from '../../src/authz/model/reachable.ts'
import { all, change, define, dsl, newType, parse, problems, text, withRows } from './allow-list-rows.ts'

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
          (former) => former.replaceAll(/^ {4}define blocked:.*\n/gm, ''),
          change('viewer but not blocked', 'viewer'),
        )(dsl),
      ),
    )
    const { text: left, dropped } = fitted(text, model)
    expect(dropped.map(({ row }) => row.key).sort()).toEqual(
      ['collection', 'document', 'folder', 'organization', 'zone'].map((type) => `${type}#blocked`),
    )
    expect(problemsOf(readAllowList(left), model)).toEqual([])
    expect(left).toContain('# At its first mention')
    expect(readAllowList(left)).toHaveLength(readAllowList(text).length - 5)
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
      /    parent: \{ subjects: \[folder, collection, zone\], write: writer.*\n/,
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
        change('can_read: viewer but not blocked', 'can_read: viewer but not (blocked or hold)'),
      ),
    ],
    [
      'by a tagger, further up',
      'folder#hold user:*: tagger, tagger',
      all(
        define('folder', 'hold: [user:*]'),
        define('document', 'held: hold from parent'),
        define('collection', 'hold: [user:*]'),
        change('can_read: viewer but not blocked', 'can_read: viewer but not (blocked or held)'),
      ),
    ],
    [
      'by a directory, on a type of its own',
      'legal#hold user, group#member: directory, directory\ndocument#on_hold legal: administrator',
      all(
        newType('legal', 'hold: [user, group#member]'),
        define('document', 'on_hold: [legal]'),
        define('document', 'held: hold from on_hold'),
        change('can_read: viewer but not blocked', 'can_read: viewer but not (blocked or held)'),
      ),
    ],
  ])('and no service delete what keeps others from reading: %s', (_, row, edit) => {
    expect(problems(row, edit)).toContainEqual(expect.stringMatching(/^refused \w+#hold: It keeps others/))
  })

  const blockedOnDocument = '[user, group#member] or blocked from parent or blocked from filed_in'
  const exemptFromBlocked = (subjects: string) =>
    all(
      define('document', `exempt: [${subjects}]`),
      change(blockedOnDocument, `(${blockedOnDocument}) but not exempt`),
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
        change(blockedOnDocument, `(${blockedOnDocument}) but not exempt from desk`),
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
        change('can_read: viewer but not blocked', 'can_read: viewer but not (blocked or hold)'),
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
