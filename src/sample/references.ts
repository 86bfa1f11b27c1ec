import { splitObject } from '../kernel/ids.ts'
import { isDate } from './dates.ts'
import type { Company, RawDocument, Viewer } from './schema.ts'

/**
 * Everything in the sample that names something which is not there, or not where it should be, one line each.
 * A misspelt group would otherwise only make its members see less, which nobody notices in a demo of access.
 */
export function brokenReferences(company: Company, documents: readonly RawDocument[]): string[] {
  const known = knownObjects(company, documents)
  return [
    ...duplicates(company, documents),
    ...mentions(company, documents)
      .filter(({ object }) => !known.has(object))
      .map(({ at, object }) => `${at}: ${object} does not exist`),
    ...misplacedFolders(company),
    ...circles(company),
    ...unwritableIds(company),
    ...documents.flatMap((document) => documentProblems(company, document)),
  ]
}

/** Its first segment says where a document is filed. */
export const collectionOf = (path: string): string => path.slice(0, path.indexOf('/'))

interface Mention {
  readonly at: string
  readonly object: string
}

function mentions(company: Company, documents: readonly RawDocument[]): Mention[] {
  const { organization, groups, collections, folders, agents, delegations, administrators, services } =
    company
  return [
    ...all('organization', [...organization.admins, ...organization.members]),
    ...groups.flatMap(({ id, members }) => all(`group ${id}`, members)),
    ...collections.flatMap(({ id, viewers }) => all(`collection ${id}`, viewers.map(userOf))),
    ...folders.flatMap(({ id, collection, parent, viewers }) =>
      all(`folder ${id}`, [`collection:${collection}`, ...(parent ? [parent] : []), ...viewers.map(userOf)]),
    ),
    ...agents.flatMap(({ id, owner }) => all(`agent ${id}`, [owner])),
    ...delegations.flatMap(({ id, subject, agent, scope, sub_agents }) =>
      all(`delegation ${id}`, [subject, agent, ...scope, ...sub_agents]),
    ),
    ...all(
      'administrators',
      administrators.map(({ subject }) => subject),
    ),
    ...services.flatMap((service) =>
      all(
        service.id,
        service.collections.map((id) => `collection:${id}`),
      ),
    ),
    ...documents.flatMap(({ path, head: { access } }) =>
      all(path, [
        `collection:${collectionOf(path)}`,
        access.owner,
        ...access.parents,
        ...access.viewers.map(userOf),
        ...access.blocked,
      ]),
    ),
  ]
}

const all = (at: string, subjects: readonly string[]): Mention[] =>
  subjects.map((subject) => ({ at, object: subject.replace(/#member$/, '') }))

const userOf = (viewer: Viewer): string => (typeof viewer === 'string' ? viewer : viewer.user)

function objects(company: Company, documents: readonly RawDocument[]): string[] {
  const named = (type: string, items: readonly { readonly id: string }[]) =>
    items.map(({ id }) => `${type}:${id}`)
  return [
    `organization:${company.organization.id}`,
    ...named('user', company.people),
    ...named('group', company.groups),
    ...named('collection', company.collections),
    ...named('folder', company.folders),
    ...named('agent', company.agents),
    ...named('delegation', company.delegations),
    ...company.services.map(({ id }) => id),
    ...documents.map(({ head }) => `document:${head.id}`),
  ]
}

const knownObjects = (company: Company, documents: readonly RawDocument[]): ReadonlySet<string> =>
  new Set(objects(company, documents))

function duplicates(company: Company, documents: readonly RawDocument[]): string[] {
  const seen = new Set<string>()
  return objects(company, documents)
    .filter((object) => seen.size === seen.add(object).size)
    .map((object) => `${object} is there twice`)
}

function misplacedFolders({ folders }: Company): string[] {
  const home = new Map(folders.map(({ id, collection }) => [`folder:${id}`, collection]))
  return folders
    .filter(({ collection, parent }) => parent !== undefined && !isWithin(parent, collection, home))
    .map(({ id, parent }) => `folder ${id}: ${parent} lies in another collection`)
}

function isWithin(parent: string, collection: string, home: ReadonlyMap<string, string>): boolean {
  return parent === `collection:${collection}` || home.get(parent) === collection
}

/** Groups and folders that contain themselves. */
function circles({ groups, folders }: Company): string[] {
  const up = new Map<string, readonly string[]>([
    ...groups.map(
      ({ id, members }) => [`group:${id}`, members.map((m) => m.replace(/#member$/, ''))] as const,
    ),
    ...folders.map(({ id, parent }) => [`folder:${id}`, parent ? [parent] : []] as const),
  ])
  const reaches = (from: string, goal: string, seen: Set<string>): boolean =>
    (up.get(from) ?? []).some((next) => {
      if (next === goal) return true
      if (seen.has(next)) return false
      seen.add(next)
      return reaches(next, goal, seen)
    })
  return [...up.keys()]
    .filter((object) => reaches(object, object, new Set()))
    .map((object) => `${object} contains itself`)
}

/** What the sample's own service could not write through the API, the demo must not plant behind its back. */
function unwritableIds({ organization, groups, collections, services }: Company): string[] {
  const prefixes = services.flatMap((service) => service.directory_prefixes)
  const writable = new Set(services.flatMap((service) => service.collections))
  return [
    ...[organization, ...groups]
      .filter(({ id }) => !prefixes.some((prefix) => id.startsWith(prefix)))
      .map(({ id }) => `${id}: no service may write it, by directory_prefixes`),
    ...collections
      .filter(({ id }) => !writable.has(id))
      .map(({ id }) => `collection ${id}: no service writes it`),
  ]
}

function documentProblems({ folders, fields }: Company, { path, head }: RawDocument): string[] {
  const home = new Map(folders.map(({ id, collection }) => [`folder:${id}`, collection]))
  return [
    ...(head.id === path ? [] : [`${path}: its id is ${head.id}`]),
    ...head.access.parents
      .filter((parent) => !isWithin(parent, collectionOf(path), home))
      .map((parent) => `${path}: ${splitObject(parent).id} lies in another collection`),
    ...Object.entries(head.metadata)
      .filter(([name, value]) => !fits(value, fields[name]))
      .map(([name]) => `${path}: metadata.${name} is not declared so`),
  ]
}

function fits(value: string | number | boolean, type: string | undefined): boolean {
  return type === 'date' ? typeof value === 'string' && isDate(value) : typeof value === type
}
