import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../src/core/condition-values.ts'
import {
  askCheck,
  askObjects,
  askUsers,
  createStore,
  engineTarget,
  parseDsl,
  serverTarget,
  type Target,
  type Verdict,
  writeModel,
} from './support/target.ts'

/** Each promise is put to the engine and, where OPENFGA_TEST_URL names one, to the real server. */
const targets: readonly (readonly [string, () => Target | undefined])[] = [
  ['engine', engineTarget],
  ['real server', serverTarget],
]

const isAbsent = (name: string): boolean => name === 'real server' && serverTarget() === undefined

interface Place {
  readonly target: Target
  readonly store: string
}

async function open(make: () => Target | undefined, dsl: string, tuples: readonly string[]): Promise<Place> {
  const target = make()
  if (target === undefined) throw new Error('no target')
  const store = await createStore(target)
  await writeModel(target, store, parseDsl(dsl))
  for (let at = 0; at < tuples.length; at += 50) {
    const tuple_keys = tuples.slice(at, at + 50).map(tupleOf)
    const answer = await target.call('POST', `${store}/write`, { writes: { tuple_keys } })
    expect(answer.status, answer.text).toBe(200)
  }
  return { target, store }
}

/** `user:a viewer doc:1` or `user:a viewer doc:1 with soon {"y":1}`. */
function tupleOf(text: string): JsonObject {
  const [, user = '', relation = '', object = '', condition, context] =
    /^(\S+) (\S+) (\S+)(?: with (\S+) (.*))?$/.exec(text) ?? []
  return {
    user,
    relation,
    object,
    ...(condition === undefined
      ? {}
      : { condition: { name: condition, context: JSON.parse(context ?? '{}') } }),
  }
}

interface Extra {
  readonly context?: JsonObject
  readonly contextual?: readonly string[]
}

const check = (
  { target, store }: Place,
  question: string,
  { context = {}, contextual = [] }: Extra = {},
): Promise<Verdict> =>
  askCheck(target, store, {
    tuple_key: tupleOf(question),
    context,
    contextual_tuples: { tuple_keys: contextual.map(tupleOf) },
  })

const objects = (
  { target, store }: Place,
  user: string,
  relation: string,
  type: string,
  { context = {}, contextual = [] }: Extra = {},
): Promise<Verdict> =>
  askObjects(target, store, {
    user,
    relation,
    type,
    context,
    contextual_tuples: { tuple_keys: contextual.map(tupleOf) },
  })

const header = 'model\n  schema 1.1\ntype user\n'

describe.each(targets)('%s', (name, make) => {
  const here = test.skipIf(isAbsent(name))

  describe('depth', () => {
    const folders = `${header}
type group
  relations
    define member: [user, group#member]
type folder
  relations
    define parent: [folder]
    define viewer: [user, group#member] or viewer from parent
type document
  relations
    define parent: [folder]
    define viewer: viewer from parent
`
    const chain = (length: number): string[] => [
      'folder:1 parent document:1',
      ...Array.from({ length: length - 1 }, (_, i) => `folder:${i + 2} parent folder:${i + 1}`),
      `user:anne viewer folder:${length}`,
    ]

    here('follows 24 folders and errs from 25, but lists through 60', async () => {
      expect(await check(await open(make, folders, chain(24)), 'user:anne viewer document:1')).toBe(true)
      const deep = await open(make, folders, chain(25))
      expect(await check(deep, 'user:anne viewer document:1')).toBe(
        'code:authorization_model_resolution_too_complex',
      )
      expect(await objects(await open(make, folders, chain(60)), 'user:anne', 'viewer', 'document')).toEqual([
        'document:1',
      ])
    })

    const groups = (length: number): string[] => [
      ...Array.from({ length }, (_, i) => `group:${i + 1}#member member group:${i}`),
      `user:anne member group:${length}`,
      'user:carl member group:elsewhere',
    ]

    here(
      'follows 25 nested groups, errs at 26, and denies one without any membership instead of erring',
      async () => {
        expect(await check(await open(make, folders, groups(25)), 'user:anne member group:0')).toBe(true)
        const deep = await open(make, folders, groups(26))
        expect(await check(deep, 'user:anne member group:0')).toBe(
          'code:authorization_model_resolution_too_complex',
        )
        expect(await check(deep, 'user:carl member group:0')).toBe(
          'code:authorization_model_resolution_too_complex',
        )
        expect(await check(deep, 'user:bob member group:0')).toBe(false)
      },
    )
  })

  describe('cycles under an exclusion', () => {
    here('let a user through where the blocked groups only contain each other', async () => {
      const model = `${header}
type group
  relations
    define member: [user, group#member]
type document
  relations
    define blocked: [user, group#member]
    define viewer: [user] but not blocked
`
      const place = await open(make, model, [
        'user:anne viewer document:1',
        'group:a#member blocked document:1',
        'group:b#member member group:a',
        'group:a#member member group:b',
      ])
      expect(await check(place, 'user:anne viewer document:1')).toBe(true)
      expect(await objects(place, 'user:anne', 'viewer', 'document')).toEqual(['document:1'])
    })

    here('let a user through also where the groups may be assigned in two ways', async () => {
      const model = `${header}
type group
  relations
    define member: [user, group#member, group#member with soon]
type document
  relations
    define blocked: [user, group#member]
    define viewer: [user] but not blocked
condition soon(x: int, y: int) {
  x < y
}
`
      const place = await open(make, model, [
        'user:anne viewer document:1',
        'group:a#member blocked document:1',
        'group:b#member member group:a',
        'group:a#member member group:b',
      ])
      expect(await check(place, 'user:anne viewer document:1')).toBe(true)
      expect(await objects(place, 'user:anne', 'viewer', 'document')).toEqual(['document:1'])
    })

    here('let a user through also where the parents may be assigned in two ways', async () => {
      const model = `${header}
type folder
  relations
    define parent: [folder, folder with soon]
    define blocked: [user] or blocked from parent
    define viewer: [user] but not blocked
condition soon(x: int, y: int) {
  x < y
}
`
      const place = await open(make, model, [
        'user:anne viewer folder:1',
        'folder:2 parent folder:1',
        'folder:1 parent folder:2',
      ])
      expect(await check(place, 'user:anne viewer folder:1')).toBe(true)
      expect(await objects(place, 'user:anne', 'viewer', 'folder')).toEqual(['folder:1'])
    })

    here('deny in a check, and not in a list, where the blocked side is cyclic in two ways', async () => {
      const model = `${header}
type folder
  relations
    define parent: [folder]
    define blocked: [user, folder#blocked] or blocked from parent
    define viewer: [user] but not blocked
`
      const place = await open(make, model, [
        'user:anne viewer folder:1',
        'folder:2 parent folder:1',
        'folder:1 parent folder:2',
      ])
      expect(await check(place, 'user:anne viewer folder:1')).toBe(false)
      expect(await objects(place, 'user:anne', 'viewer', 'folder')).toEqual(['folder:1'])
    })
  })

  describe('contextual tuples', () => {
    const model = `${header}
type group
  relations
    define member: [user, user with soon]
type folder
  relations
    define viewer: [user, user with soon]
type document
  relations
    define parent: [folder, folder with soon]
    define viewer: [user, user with soon, user:*, user:* with soon, group#member, group#member with soon] or viewer from parent
condition soon(x: int, y: int) {
  x < y
}
`
    const no = ' with soon {"x":1,"y":0}'

    here('hide a stored tuple of the same key only straight from the user, and only in a check', async () => {
      const place = await open(make, model, [
        'user:anne viewer document:1',
        'user:* viewer document:2',
        'group:g#member viewer document:3',
        'user:anne member group:g',
        'folder:f parent document:4',
        'user:anne viewer folder:f',
      ])
      const ask = (object: string, tuple: string): Promise<Verdict> =>
        check(place, `user:anne viewer ${object}`, { contextual: [tuple + no] })
      expect(await ask('document:1', 'user:anne viewer document:1')).toBe(false)
      expect(await ask('document:2', 'user:* viewer document:2')).toBe(true)
      expect(await ask('document:3', 'group:g#member viewer document:3')).toBe(true)
      expect(await ask('document:4', 'folder:f parent document:4')).toBe(true)
      const listed = await objects(place, 'user:anne', 'viewer', 'document', {
        contextual: [`user:anne viewer document:1${no}`],
      })
      expect(listed).toEqual(['document:1', 'document:2', 'document:3', 'document:4'])
    })

    here('grant what is not stored, and leave nothing behind', async () => {
      const place = await open(make, model, ['folder:f parent document:4'])
      expect(
        await check(place, 'user:bob viewer document:4', { contextual: ['user:bob viewer folder:f'] }),
      ).toBe(true)
      expect(await check(place, 'user:bob viewer document:4')).toBe(false)
    })

    here('are refused when they do not fit the model', async () => {
      const place = await open(make, model, [])
      expect(
        await check(place, 'user:bob viewer document:4', { contextual: ['group:g viewer document:4'] }),
      ).toBe('code:invalid_tuple')
    })
  })

  describe('conditions', () => {
    const model = `${header}
type document
  relations
    define viewer: [user, user with soon, user:* with soon]
    define net: [user with net]
    define wait: [user with wait]
condition soon(x: int, y: int) {
  x < y || true
}
condition net(ip: ipaddress, range: string) {
  ip.in_cidr(range)
}
condition wait(since: timestamp, now: timestamp, least: duration) {
  now - since >= least
}
`
    here('err on any missing parameter, even where the expression would not look at it', async () => {
      const place = await open(make, model, ['user:anne viewer document:1 with soon {"y":1}'])
      expect(await check(place, 'user:anne viewer document:1')).toBe('code:validation_error')
      expect(await check(place, 'user:anne viewer document:1', { context: { x: '5' } })).toBe(true)
      expect(await check(place, 'user:anne viewer document:1', { context: { x: 1.5 } })).toBe(
        'code:validation_error',
      )
      expect(await objects(place, 'user:anne', 'viewer', 'document')).toBe('code:validation_error')
    })

    here('let the context of the tuple win over that of the request', async () => {
      const place = await open(make, model, ['user:anne net document:1 with net {"range":"10.0.0.0/8"}'])
      expect(await check(place, 'user:anne net document:1', { context: { ip: '10.1.2.3' } })).toBe(true)
      expect(await check(place, 'user:anne net document:1', { context: { ip: '::ffff:10.1.2.3' } })).toBe(
        true,
      )
      expect(
        await check(place, 'user:anne net document:1', { context: { ip: '11.1.2.3', range: '11.0.0.0/8' } }),
      ).toBe(false)
      expect(await check(place, 'user:anne net document:1', { context: { ip: 'nonsense' } })).toBe(
        'code:validation_error',
      )
    })

    here('take four octets within an IPv6 address at its end alone', async () => {
      const place = await open(make, model, ['user:anne net document:1 with net {"range":"::/0"}'])
      expect(await check(place, 'user:anne net document:1', { context: { ip: '1::10.1.2.3' } })).toBe(true)
      for (const ip of ['10.1.2.3::1', '10.1.2.3::'])
        expect(await check(place, 'user:anne net document:1', { context: { ip } }), ip).toBe(
          'code:validation_error',
        )
    })

    here('reckon with timestamps and durations', async () => {
      const place = await open(make, model, [
        'user:anne wait document:1 with wait {"since":"2026-01-01T00:00:00Z","least":"1h30m"}',
      ])
      expect(
        await check(place, 'user:anne wait document:1', {
          context: { now: '2026-01-01T03:29:59.999+02:00' },
        }),
      ).toBe(false)
      expect(
        await check(place, 'user:anne wait document:1', { context: { now: '2026-01-01T03:30:00+02:00' } }),
      ).toBe(true)
      expect(
        await check(place, 'user:anne wait document:1', { context: { now: '2026-02-30T00:00:00Z' } }),
      ).toBe('code:validation_error')
    })

    here('stop at a cost of 100', async () => {
      const lists = `${header}
type document
  relations
    define viewer: [user with member]
    define some: [user with exists]
condition member(one: string, all: list<string>) {
  one in all
}
condition exists(one: string, all: list<string>) {
  all.exists(x, x == one)
}
`
      const place = await open(make, lists, [
        'user:anne viewer document:1 with member {}',
        'user:anne some document:1 with exists {}',
      ])
      const many = (length: number): Extra => ({
        context: { one: 'zz', all: Array.from({ length }, (_, i) => `g${i}`) },
      })
      expect(await check(place, 'user:anne viewer document:1', many(98))).toBe(false)
      expect(await check(place, 'user:anne viewer document:1', many(99))).toBe('code:validation_error')
      expect(await check(place, 'user:anne some document:1', many(14))).toBe(false)
      expect(await check(place, 'user:anne some document:1', many(15))).toBe('code:validation_error')
    })
  })

  here('list a wildcard as itself and not those taken out of it', async () => {
    const model = `${header}
type document
  relations
    define blocked: [user]
    define viewer: [user, user:*] but not blocked
`
    const { target, store } = await open(make, model, [
      'user:* viewer document:1',
      'user:anne viewer document:1',
      'user:bob viewer document:1',
      'user:bob blocked document:1',
    ])
    const body = {
      object: { type: 'document', id: '1' },
      relation: 'viewer',
      user_filters: [{ type: 'user' }],
    }
    expect(await askUsers(target, store, body)).toEqual(['user:*', 'user:anne'])
  })
})
