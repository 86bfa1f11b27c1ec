import { readFileSync } from 'node:fs'
import { type AccessTuple, type DocumentAccess, NotFound, RemitError, type Writer } from '@remit/client'
import {
  changesByListing,
  type Directory,
  type ItemChange,
  itemByListing,
  type Source,
  type SourceAccess,
  type SourceSubject,
} from '@remit/connector'
import { check, compileModel, createTupleStore } from '@remit/engine'
import type { Random } from '../../packages/engine/test/support/random.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'

/** What a source holds: accounts `0`…, of which those that are mapped are `user:0`… in Remit. */
export interface SourceState {
  readonly mapped: ReadonlySet<string>
  readonly groups: ReadonlyMap<string, readonly Member[]>
  readonly folders: ReadonlyMap<string, Folder>
  readonly zones: ReadonlyMap<string, Zone>
  readonly items: ReadonlyMap<string, Item>
}
type Member = { readonly account: string } | { readonly group: string }
interface Folder {
  readonly parents: readonly string[]
  readonly viewers: readonly SourceSubject[]
  readonly blocked: readonly SourceSubject[]
}
interface Zone {
  readonly audience: readonly SourceSubject[]
  readonly gates: readonly (readonly SourceSubject[])[]
  readonly blocked: readonly SourceSubject[]
}
interface Item {
  readonly text: string
  readonly access: SourceAccess
}

export const accounts = ['0', '1', '2', '3', '4']
const groups = ['g0', 'g1', 'g2']
const folders = ['f0', 'f1', 'f2', 'f3', 'f4']
const zones = ['z0', 'z1']
const items = ['i0', 'i1', 'i2', 'i3', 'i4', 'i5']

export const emptyState: SourceState = {
  mapped: new Set(accounts.slice(0, 4)),
  groups: new Map(),
  folders: new Map(),
  zones: new Map(),
  items: new Map(),
}

const some = <T>(random: Random, pool: readonly T[], max: number): T[] => [
  ...new Set(Array.from({ length: pool.length === 0 ? 0 : random.below(max + 1) }, () => random.pick(pool))),
]

/** One more change, of whatever a source can change. */
export function changed(state: SourceState, random: Random): SourceState {
  const subject = (): SourceSubject =>
    random.below(3) === 0 ? `group:${random.pick(groups)}#member` : { account: random.pick(accounts) }
  const subjects = (max: number): SourceSubject[] => Array.from({ length: random.below(max + 1) }, subject)
  const readers = (): SourceSubject[] => (random.below(5) === 0 ? ['user:*'] : subjects(3))
  const blocked = (): SourceSubject[] => (random.below(3) === 0 ? subjects(1) : [])
  const places = [...folders.map((id) => `folder:${id}`), ...zones.map((id) => `zone:${id}`)]
  const present = places.filter((place) => {
    const [type, id = ''] = place.split(':')
    return (type === 'folder' ? state.folders : state.zones).has(id)
  })
  const parents = (): string[] => some(random, present, 2)
  const changes: readonly (() => SourceState)[] = [
    () => {
      const id = random.pick(groups)
      const members = some(random, accounts, 3).map((account): Member => ({ account }))
      // Nested one way only: a group in itself is another's subject.
      const nested = groups.filter((group) => group > id && random.below(4) === 0)
      return {
        ...state,
        groups: with_(state.groups, id, [...members, ...nested.map((group): Member => ({ group }))]),
      }
    },
    () => {
      const id = random.pick(folders)
      const above = parents().filter((parent) => !isAbove(state, parent, `folder:${id}`))
      return {
        ...state,
        folders: with_(state.folders, id, { parents: above, viewers: readers(), blocked: blocked() }),
      }
    },
    () => {
      const id = random.pick(folders)
      const folder = state.folders.get(id)
      const above = parents().filter((parent) => !isAbove(state, parent, `folder:${id}`))
      return folder === undefined
        ? state
        : { ...state, folders: with_(state.folders, id, { ...folder, parents: above }) }
    },
    () => {
      const gates = Array.from({ length: random.below(random.below(6) === 0 ? 5 : 4) }, () => readers())
      const zone = { audience: readers(), gates, blocked: blocked() }
      return { ...state, zones: with_(state.zones, random.pick(zones), zone) }
    },
    () => {
      const access = { viewers: readers(), parents: parents(), blocked: blocked() }
      return {
        ...state,
        items: with_(state.items, random.pick(items), { text: `${random.below(100)}`, access }),
      }
    },
    () => ({ ...state, items: without(state.items, random.pick(items)) }),
    () => {
      const account = random.pick(accounts)
      const mapped = new Set(state.mapped)
      if (!mapped.delete(account)) mapped.add(account)
      return { ...state, mapped }
    },
  ]
  return random.pick(changes)()
}

const with_ = <T>(map: ReadonlyMap<string, T>, id: string, value: T): ReadonlyMap<string, T> =>
  new Map([...map, [id, value]])
const without = <T>(map: ReadonlyMap<string, T>, id: string): ReadonlyMap<string, T> =>
  new Map([...map].filter(([name]) => name !== id))

/** Whether one place is another, or lies below it. */
function isAbove(state: SourceState, place: string, target: string): boolean {
  if (place === target) return true
  const folder = place.startsWith('folder:') ? state.folders.get(place.slice('folder:'.length)) : undefined
  return folder?.parents.some((parent) => isAbove(state, parent, target)) ?? false
}

/** Who reads what at the source itself, as `account item`, by its own rules and nothing of Remit. */
export const truthOf = (state: SourceState): ReadonlySet<string> =>
  readsBy(state, (list, account) =>
    list.some((named) => named === 'user:*' || isNamed(state, named, account)),
  )

/**
 * Who reads what in Remit once all is brought: whoever is nobody there reads what is open to everybody, and
 * what cannot be said is hidden.
 */
export function settledOf(state: SourceState): ReadonlySet<string> {
  const reads = readsBy(state, (list, account) =>
    list.some((named) => named === 'user:*' || (state.mapped.has(account) && isNamed(state, named, account))),
  )
  return new Set([...reads].filter((read) => !isHidden(state, read.split(' ')[1] ?? '')))
}

type Names = (list: readonly SourceSubject[], account: string) => boolean

function readsBy(state: SourceState, names: Names): ReadonlySet<string> {
  const lets = (place: string, account: string): boolean => {
    const [type, id = ''] = place.split(':')
    if (type === 'zone') {
      const zone = state.zones.get(id)
      return (
        zone !== undefined &&
        names(zone.audience, account) &&
        zone.gates.every((gate) => names(gate, account))
      )
    }
    const folder = state.folders.get(id)
    if (folder === undefined) return false
    return names(folder.viewers, account) || folder.parents.some((parent) => lets(parent, account))
  }
  const denies = (place: string, account: string): boolean => {
    const [type, id = ''] = place.split(':')
    if (type === 'zone') return names(state.zones.get(id)?.blocked ?? [], account)
    const folder = state.folders.get(id)
    if (folder === undefined) return false
    return names(folder.blocked, account) || folder.parents.some((parent) => denies(parent, account))
  }
  const reads = new Set<string>()
  for (const [id, { access }] of state.items)
    for (const account of accounts) {
      const { viewers = [], parents = [], blocked = [] } = access
      const isLet =
        names(viewers as SourceSubject[], account) || parents.some((parent) => lets(parent, account))
      if (isLet && !names(blocked, account) && !parents.some((parent) => denies(parent, account)))
        reads.add(`${account} ${id}`)
    }
  return reads
}

function isNamed(state: SourceState, named: SourceSubject, account: string): boolean {
  if (typeof named !== 'string') return named.account === account
  const group = named.startsWith('group:') ? named.slice('group:'.length).split('#')[0] : undefined
  return group !== undefined && membersOf(state, group).has(account)
}

function membersOf(state: SourceState, group: string): ReadonlySet<string> {
  const members = state.groups.get(group) ?? []
  return new Set(
    members.flatMap((member) =>
      'account' in member ? [member.account] : [...membersOf(state, member.group)],
    ),
  )
}

function isHidden(state: SourceState, item: string): boolean {
  const isInexact = (list: readonly SourceSubject[] = []): boolean =>
    accounts.some(
      (account) => !state.mapped.has(account) && list.some((named) => isNamed(state, named, account)),
    )
  const isClosed = (place: string): boolean => {
    const [type, id = ''] = place.split(':')
    if (type === 'zone') {
      const zone = state.zones.get(id)
      return zone !== undefined && (zone.gates.length > 3 || isInexact(zone.blocked))
    }
    const folder = state.folders.get(id)
    return folder !== undefined && (isInexact(folder.blocked) || folder.parents.some(isClosed))
  }
  const { blocked, parents = [] } = state.items.get(item)?.access ?? {}
  return isInexact(blocked) || parents.some(isClosed)
}

/** The source that holds a state, listed. */
export function sourceOf(state: SourceState): Source {
  const list = async (): Promise<readonly ItemChange[]> =>
    [...state.items].map(([id, { text, access }]) => ({
      kind: 'item',
      id,
      version: JSON.stringify([text, access]),
      access,
      content: { collection: 'c', title: id, text },
    }))
  const directory: Directory = {
    accounts: accounts.map((id) => ({ id, ...(state.mapped.has(id) && { subject: `user:${id}` }) })),
    groups: [...state.groups].map(([id, members]) => ({ id, members })),
    folders: [...state.folders].map(([id, folder]) => ({ id, collection: 'c', ...folder })),
    zones: [...state.zones].map(([id, zone]) => ({ id, collection: 'c', ...zone })),
  }
  return {
    changes: (cursor) => changesByListing(list, cursor),
    item: (id) => itemByListing(list, id),
    directory: async () => directory,
  }
}

const model = compileModel(readDsl(readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')))

/**
 * Remit as a writer sees it: tuples in memory under the real model, each call at once. `step` stands around
 * each.
 */
export function openRemit() {
  const tuples = new Map<string, Set<string>>()
  const remit = {
    step: (): void => undefined,
    calls: [] as string[],
    /** Whether it takes no change of several objects, and how many it did not take. */
    refusesMany: false,
    refused: 0,
    /** Who reads what, as `account item`. */
    reads(): ReadonlySet<string> {
      const store = createTupleStore()
      for (const [object, lines] of tuples)
        for (const line of lines) {
          const [user = '', relation = ''] = line.split(' ')
          store.add({ user, relation, object }, '')
        }
      const found = new Set<string>()
      for (const id of items)
        for (const account of accounts) {
          const question = { user: `user:${account}`, relation: 'can_read', object: `document:${id}` }
          if (check(model, store, question)) found.add(`${account} ${id}`)
        }
      return found
    },
  }
  const linesOf = (object: string): Set<string> => {
    const lines = tuples.get(object) ?? new Set()
    tuples.set(object, lines)
    return lines
  }
  const around = async <T>(name: string, effect: () => T): Promise<T> => {
    remit.calls.push(name)
    remit.step()
    const result = effect()
    remit.step()
    return result
  }
  const set = (id: string, { viewers = [], parents = [], blocked = [], owner }: DocumentAccess): void => {
    const named = viewers.map((viewer) => (typeof viewer === 'string' ? viewer : viewer.user))
    tuples.set(
      `document:${id}`,
      new Set([
        'collection:c filed_in',
        ...named.map((user) => `${user} viewer`),
        ...parents.map((parent) => `${parent} parent`),
        ...blocked.map((user) => `${user} blocked`),
        ...(owner === undefined ? [] : [`${owner} owner`]),
      ]),
    )
  }
  const job = {
    id: 'j',
    state: 'done',
    done: 0,
    failed: 0,
    total: 0,
    withdrawn: 0,
    errors: [],
    notes: [],
  } as const
  const missing = () => new NotFound('not_found', { status: 404 }, {})
  const line = ({ user, relation }: AccessTuple): string => `${user} ${relation}`
  const writer: Writer = {
    put: (document) => around(`put ${document.id}`, () => (set(document.id, document.access ?? {}), job)),
    withdraw: (id) =>
      around(`withdraw ${id}`, () => {
        if (!tuples.delete(`document:${id}`)) throw missing()
        return job
      }),
    setAccess: (id, access) =>
      around(`access ${id}`, () => {
        if (!tuples.has(`document:${id}`)) throw missing()
        set(id, access)
        return { notes: [], txn: 't' }
      }),
    changeAccess: ({ writes = [], deletes = [] }) =>
      around(`tuples +${writes.length} -${deletes.length}`, () => {
        if (remit.refusesMany && new Set([...writes, ...deletes].map(({ object }) => object)).size > 1) {
          remit.refused += 1
          throw new RemitError('invalid_request', { status: 422, message: 'too many' }, {})
        }
        for (const tuple of deletes) linesOf(tuple.object).delete(line(tuple))
        for (const tuple of writes) linesOf(tuple.object).add(line(tuple))
        return { notes: [], txn: 't' }
      }),
    async importAll(documents) {
      if (typeof documents === 'function') throw new Error('no stream')
      // One after the other, as they are published.
      for (const { id, access = {} } of documents) await around(`import ${id}`, () => set(id, access))
      return job
    },
    waitFor: async () => job,
  }
  return Object.assign(remit, { writer })
}
