import { readFileSync } from 'node:fs'
import { compileModel, createTupleStore, ulidFloor } from '@remit/engine'
import { expect, test } from 'vitest'
import { writingOf } from '../../src/authz/allow-list/findings.ts'
import { holdersUnder } from '../../src/authz/allow-list/holders.ts'
import { readAllowList } from '../../src/authz/allow-list/read.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { replaceOnce } from '../model/mutants.ts'

const fileOf = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')
const dsl = fileOf('model.fga')
const list = fileOf('model.allow-list.yaml')
const taggers = (rule: string) => replaceOnce(dsl, 'define tagger: [service]', `define tagger: ${rule}`).dsl

/** `service:crm writer collection:npm` */
function tuplesOf(lines: readonly string[]) {
  const store = createTupleStore()
  for (const [place, line] of lines.entries()) {
    const [user = '', relation = '', object = ''] = line.split(' ')
    store.add({ user, relation, object }, ulidFloor(place + 1))
  }
  return store
}
/** Without the time that its condition needs: whoever asks for it gets an error. */
function withBroken(store: ReturnType<typeof tuplesOf>, lines: readonly string[]) {
  for (const [place, line] of lines.entries()) {
    const [user = '', relation = '', object = ''] = line.split(' ')
    const condition = { name: 'until', context: {} }
    store.add({ user, relation, object, condition }, ulidFloor(1000 + place))
  }
  return store
}

async function told(
  from: { readonly model?: string; readonly list?: string },
  to: { readonly model?: string; readonly list?: string },
  ...lines: readonly string[]
): Promise<readonly string[]> {
  return toldOn(tuplesOf(lines), from, to)
}

async function toldOn(
  tuples: ReturnType<typeof tuplesOf>,
  from: { readonly model?: string; readonly list?: string },
  to: { readonly model?: string; readonly list?: string },
): Promise<readonly string[]> {
  const input = {
    tuples,
    context: { current_time: '2026-01-01T00:00:00Z' },
    pause: async () => undefined,
  }
  const [before, after] = await Promise.all(
    [from, to].map(async (version) => {
      const model = compileModel(readDsl(version.model ?? dsl))
      const rows = readAllowList(version.list ?? list)
      return { model, rows, holders: await holdersUnder(model, input) }
    }),
  )
  if (before === undefined || after === undefined) throw new Error('two versions')
  return writingOf(before, after)
    .filter(({ rule }) => rule !== 'nobody_may_write')
    .map(({ rule, relation, detail }) => `${rule} ${relation}: ${detail}`)
}

const ruleOfTaggers =
  'writers_follow_another_rule collection#tagger: Which services are tagger of a collection follows another rule. They may write what the allow-list lets a tagger write (folder#filed_in, folder#parent, folder#viewer, folder#blocked, folder#sensitive and 10 more).'

test('a rule that makes taggers of all writers is told with the services that it lets write more', async () => {
  const wider = { model: taggers('[service] or writer') }
  const tuples = ['service:crm writer collection:hr', 'service:files tagger collection:npm']
  expect(await told({}, wider, ...tuples)).toEqual([
    ruleOfTaggers,
    "may_now_write collection#tagger: By the other rule, on today's tuples, they may now write as its tagger: service:crm in collection:hr.",
  ])
  expect(await told(wider, {}, ...tuples)).toEqual([
    ruleOfTaggers,
    "may_no_longer_write collection#tagger: By the other rule, on today's tuples, they may no longer write as its tagger: service:crm in collection:hr.",
  ])
})

test('such a rule is told also where today it lets nobody write more', async () => {
  const both = ['service:crm writer collection:hr', 'service:crm tagger collection:hr']
  expect(await told({}, { model: taggers('[service] or writer') }, ...both)).toEqual([ruleOfTaggers])
  // An `and` that goes leaves every tuple where it was.
  expect(await told({ model: taggers('[service] and writer') }, {}, ...both)).toEqual([ruleOfTaggers])
})

test('what a right rests on further off is part of its rule, its condition too', async () => {
  const trusted = (members: string) =>
    replaceOnce(
      taggers('[service, team#trusted]'),
      'type turn\n',
      `type turn\n\ntype team\n  relations\n    define trusted: ${members}\n`,
    ).dsl
  expect(
    await told(
      { model: trusted('[service]') },
      { model: trusted('[service, service:*]') },
      'team:a#trusted tagger collection:hr',
      'service:* trusted team:a',
    ),
  ).toEqual([
    ruleOfTaggers,
    "may_now_write collection#tagger: By the other rule, on today's tuples, they may now write as its tagger: any service in collection:hr.",
  ])
  const until = taggers('[service with until]')
  expect(
    await told(
      { model: until },
      { model: replaceOnce(until, 'current_time < expires_at', 'current_time <= expires_at').dsl },
    ),
  ).toEqual([ruleOfTaggers])
})

test('a tuple that cannot be evaluated hides no gain of its service elsewhere, and is told as a possible one', async () => {
  const tuples = withBroken(
    tuplesOf(['service:crm writer collection:hr', 'service:crm tagger collection:npm']),
    ['service:crm tagger collection:old'],
  )
  const ends = taggers('[service, service with until]')
  const wider = taggers('[service, service with until] or writer')
  expect(await toldOn(tuples, { model: ends }, { model: wider })).toEqual([
    ruleOfTaggers,
    "may_now_write collection#tagger: By the other rule, on today's tuples, they may now write as its tagger: service:crm in collection:hr, service:crm in collection:old (could not be evaluated).",
  ])
  expect(await toldOn(tuples, { model: wider }, { model: ends })).toEqual([
    ruleOfTaggers,
    "may_now_write collection#tagger: By the other rule, on today's tuples, they may now write as its tagger: service:crm in collection:old (could not be evaluated).",
    "may_no_longer_write collection#tagger: By the other rule, on today's tuples, they may no longer write as its tagger: service:crm in collection:hr.",
  ])
})

test('a change of other rules says nothing of who may write', async () => {
  expect(
    await told(
      {},
      { model: replaceOnce(dsl, 'define can_read: viewer but not blocked', 'define can_read: viewer').dsl },
    ),
  ).toEqual([])
})

test('a row names who holds its right by the rules, not only by tuples of its own', async () => {
  const wider = taggers('[service] or writer')
  expect(
    await told(
      { model: wider },
      {
        model: wider,
        list: list.replace('write: tagger, delete: administrator', 'write: tagger, delete: tagger'),
      },
      'service:crm writer collection:hr',
    ),
  ).toEqual([
    'may_now_write folder#sensitive: Services that are tagger of its collection (service:crm now) may now delete it for user:*.',
    'may_no_longer_write folder#sensitive: Administrators may no longer delete it for user:*.',
  ])
})

test('a kind of subject that opens an object is told apart from people, and where it no longer opens is told as wider', async () => {
  const closed = list.replace(
    `      subjects: [user, user:*, group#member, organization#member, user with until, group#member with until]
      write: writer`,
    `      subjects: [user, group#member, organization#member, user with until, group#member with until]
      write: writer`,
  )
  expect(closed).not.toBe(list)
  expect(await told({ list: closed }, {}, 'service:crm writer collection:hr')).toEqual([
    'may_now_write document#viewer: Administrators and services that are writer of its collection (service:crm now), where that may be opened to everybody, may now write it for user:*.',
    'may_now_write document#viewer: Administrators and services that are writer of its collection (service:crm now) may now delete it for user:*.',
  ])
})
