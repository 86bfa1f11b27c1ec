import { readFileSync } from 'node:fs'
import { compileModel, type TupleKey } from '@remit/engine'
import type { Random } from '../../packages/engine/test/support/random.ts'
import type { Question } from '../../src/authz/gate/question.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'

/** model.fga, as it is. */
export const ownJson = readDsl(readFileSync(new URL('../../model.fga', import.meta.url), 'utf8'))
export const ownModel = compileModel(ownJson)

/** What {@link drawOwnTuple} may name. */
export const drawn = {
  people: names('user', 4),
  groups: names('group', 3),
  organizations: names('organization', 2),
  collections: names('collection', 3),
  zones: names('zone', 3),
  folders: names('folder', 4),
  documents: names('document', 6),
} as const

const past = '1969-01-01T00:00:00Z'
const future = '2099-01-01T00:00:00Z'
const until = (expires_at: string) => ({ name: 'until', context: { expires_at } })

/**
 * A tuple that model.fga takes, of a small company: groups in groups, folders below folders, collections and
 * zones, with blocks at every level. Nothing lies in a circle, so that every engine gives the same answers.
 */
export function drawOwnTuple(random: Random): TupleKey {
  const { people, groups, organizations, collections, zones, folders, documents } = drawn
  const members = groups.map((group) => `${group}#member`)
  const blockable = [...documents, ...folders, ...zones, ...collections, ...organizations]
  const some = random.pick
  const readers = [...people, ...members, 'user:*', 'organization:1#member']
  const gates = [...people.slice(0, 2), ...members, 'user:*', 'user:*', 'user:*']
  const lower = (all: readonly string[]): [string, string] => {
    const at = 1 + random.below(all.length - 1)
    return [all[random.below(at)] ?? '', all[at] ?? '']
  }
  const make = some<() => readonly [string, string, string]>([
    () => [some(people), 'member', some(groups)],
    () => [some(people), 'member', some(groups)],
    () => {
      const [above, below] = lower(groups)
      return [`${below}#member`, 'member', above]
    },
    () => [some([...people, ...members]), 'member', some(organizations)],
    () => [some(people), 'admin', some(organizations)],
    () => [some(readers), 'viewer', some(documents)],
    () => [some(readers), 'viewer', some([...folders, ...collections])],
    () => [some(readers), 'viewer', some([...folders, ...collections])],
    () => [some(people), 'owner', some(documents)],
    () => [some([...folders, ...zones, ...collections]), 'parent', some(documents)],
    () => [some([...folders, ...zones]), 'parent', some(documents)],
    () => [some([...zones, ...collections]), 'parent', some(folders)],
    () => {
      const [above, below] = lower(folders)
      return [above, 'parent', below]
    },
    () => [some(collections), 'filed_in', some(documents)],
    () => [some(collections), 'filed_in', some(zones)],
    () => [some(organizations), 'organization', some(collections)],
    () => [some(readers), 'audience', some(zones)],
    () => [some(readers), 'audience', some(zones)],
    ...[1, 2, 3].flatMap((nth) =>
      Array.from({ length: 2 }, () => () => [some(gates), `gate_${nth}`, some(zones)] as const),
    ),
    () => [some([...people, ...members]), 'blocked', some(blockable)],
    () => [some([...people, ...members]), 'blocked', some(blockable)],
    () => ['user:*', 'sensitive', some([...documents, ...folders, ...zones, ...collections])],
    () => [
      'delegation:1',
      'delegated_to',
      some([...documents, ...folders, ...collections, ...organizations]),
    ],
  ])
  const [user, relation, object] = make()
  const isGroupRow = relation === 'member' && object.startsWith('group:') && user.startsWith('user:')
  const mayEnd = isGroupRow || (['viewer', 'audience'].includes(relation) && /^(user:\d|group:)/.test(user))
  const condition = mayEnd && random.chance(0.15) ? until(some([past, future])) : undefined
  return { user, relation, object, ...(condition && { condition }) }
}

/** One of those that this is about, a block above a document or part of a zone, more often than by chance. */
export function drawTelling(random: Random): TupleKey {
  let key = drawOwnTuple(random)
  for (let tries = 0; tries < 20 && random.chance(0.9) && !isTelling(key); tries++) key = drawOwnTuple(random)
  return key
}

const isTelling = ({ relation, object }: TupleKey): boolean =>
  relation === 'blocked' ? !object.startsWith('document:') : object.startsWith('zone:')

/** Distinct tuples, among them what lets an agent act for `user:1` and `user:2`. */
export function drawOwnTuples(random: Random, size: number): TupleKey[] {
  const lent = ['user:1', 'user:2'].map(
    (user): TupleKey => ({
      user,
      relation: 'delegator',
      object: 'delegation:1',
      condition: until(future),
    }),
  )
  const agent: TupleKey = { user: 'agent:1', relation: 'agent', object: 'delegation:1' }
  // A zone of one gate that somebody comes through: by chance alone few do.
  const zone = [
    'user:1 member group:1',
    'group:1#member audience zone:1',
    'group:1#member gate_1 zone:1',
    'user:* gate_2 zone:1',
    'user:* gate_3 zone:1',
    'zone:1 parent document:6',
  ].map((line): TupleKey => {
    const [user = '', relation = '', object = ''] = line.split(' ')
    return { user, relation, object }
  })
  const all = [agent, ...lent, ...zone, ...Array.from({ length: size }, () => drawOwnTuple(random))]
  return [...new Map(all.map((key) => [`${key.user} ${key.relation} ${key.object}`, key])).values()]
}

/** What a person asks, and what an agent of theirs does. */
export const ownQuestions: readonly Question[] = drawn.people.flatMap((person): Question[] => {
  const user = person as Question['user']
  const contextual: Question['contextual'] = [
    { user, relation: 'acting_for', object: 'agent:1' },
    { user, relation: 'presented', object: 'delegation:1' },
  ]
  return [
    { user, relation: 'can_read', contextual: [] },
    { user, relation: 'can_read_delegated', contextual },
  ]
})

function names(type: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, at) => `${type}:${at + 1}`)
}

/** What model.fga is meant to say, written once more without any engine. */
export function createOracle(keys: readonly TupleKey[], nowMs: number) {
  const on = Map.groupBy(
    keys.filter(({ condition }) => {
      const end = condition?.context['expires_at']
      return typeof end !== 'string' || nowMs < Date.parse(end)
    }),
    ({ relation, object }) => `${object}#${relation}`,
  )
  const users = (object: string, relation: string): readonly string[] =>
    (on.get(`${object}#${relation}`) ?? []).map(({ user }) => user)
  const isIn = (person: string, subject: string): boolean => {
    if (subject === person || subject === 'user:*') return true
    const [group = '', relation] = subject.split('#')
    if (relation === undefined) return false
    const relations = group.startsWith('organization:') ? ['member', 'admin'] : ['member']
    return relations.some((name) => isAmong(person, group, name))
  }
  const isAmong = (person: string, object: string, relation: string): boolean =>
    users(object, relation).some((subject) => isIn(person, subject))
  /** Where deny, scope and sensitivity come from. */
  const above = (object: string): readonly string[] => [
    ...users(object, 'parent'),
    ...(object.startsWith('folder:') ? [] : users(object, 'filed_in')),
    ...users(object, 'organization'),
  ]
  /** The levels at which the person is blocked. */
  const blockedAt = (person: string, object: string): readonly string[] => [
    ...(isAmong(person, object, 'blocked') ? [object.split(':')[0] ?? ''] : []),
    ...above(object).flatMap((upper) => blockedAt(person, upper)),
  ]
  const isThrough = (person: string, zone: string): boolean =>
    ['audience', 'gate_1', 'gate_2', 'gate_3'].every((relation) => isAmong(person, zone, relation))
  const views = (person: string, object: string): boolean =>
    object.startsWith('zone:')
      ? isThrough(person, object)
      : isAmong(person, object, 'viewer') ||
        isAmong(person, object, 'owner') ||
        users(object, 'parent').some((parent) => views(person, parent))
  const hasAbove = (object: string, has: (object: string) => boolean): boolean =>
    has(object) || above(object).some((upper) => hasAbove(upper, has))
  const isSensitive = (object: string): boolean =>
    hasAbove(object, (one) => !one.startsWith('organization:') && users(one, 'sensitive').length > 0)
  const isLent = (person: string, object: string): boolean =>
    users('delegation:1', 'delegator').includes(person) &&
    users('delegation:1', 'agent').includes('agent:1') &&
    hasAbove(object, (one) => users(one, 'delegated_to').includes('delegation:1'))
  const reads = (person: string, document: string): boolean =>
    views(person, document) && blockedAt(person, document).length === 0
  return {
    blockedAt,
    views,
    holds: ({ user, relation }: Question, document: string): boolean =>
      reads(user, document) &&
      (relation === 'can_read' || (isLent(user, document) && !isSensitive(document))),
  }
}
