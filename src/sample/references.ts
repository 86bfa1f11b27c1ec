import { splitObject } from '../kernel/ids.ts'
import { isDate } from './dates.ts'
import type { Company, RawDocument, Viewer } from './schema.ts'

/**
 * Everything in the sample that names something which is not there, or not where it should be, one line each.
 * A misspelt group would otherwise only make its members see less, which nobody notices in a demo of access.
 */
export function brokenReferences(company: Company, documents: readonly RawDocument[]): string[] {
  const knownIds = knownObjects(company, documents)
  return [
    ...duplicates(company, documents),
    ...mentions(company, documents)
      .filter(({ object }) => !knownIds.has(object))
      .map(({ location, object }) => `${location}: ${object} does not exist`),
    ...misplacedFolders(company),
    ...circles(company),
    ...unwritableIds(company),
    ...documents.flatMap((document) => documentProblems(company, document)),
  ]
}

/** Its first segment says where a document is filed. */
export const collectionOf = (path: string): string => path.slice(0, path.indexOf('/'))

interface Mention {
  readonly location: string
  readonly object: string
}

function mentions(company: Company, documents: readonly RawDocument[]): Mention[] {
  const { organization, groups, collections, folders, agents, delegations, administrators, services } =
    company
  return [
    ...mentionsOf('organization', [...organization.admins, ...organization.members]),
    ...groups.flatMap(({ id, members }) => mentionsOf(`group ${id}`, members)),
    ...collections.flatMap(({ id, viewers }) => mentionsOf(`collection ${id}`, viewers.map(userOf))),
    ...folders.flatMap(({ id, collection, parent, viewers }) =>
      mentionsOf(`folder ${id}`, [
        `collection:${collection}`,
        ...(parent ? [parent] : []),
        ...viewers.map(userOf),
      ]),
    ),
    ...agents.flatMap(({ id, owner }) => mentionsOf(`agent ${id}`, [owner])),
    ...delegations.flatMap(({ id, subject, agent, scope, sub_agents }) =>
      mentionsOf(`delegation ${id}`, [subject, agent, ...scope, ...sub_agents]),
    ),
    ...mentionsOf(
      'administrators',
      administrators.map(({ subject }) => subject),
    ),
    ...services.flatMap((service) =>
      mentionsOf(
        service.id,
        service.collections.map((id) => `collection:${id}`),
      ),
    ),
    ...documents.flatMap(({ path, head: { access } }) =>
      mentionsOf(path, [
        `collection:${collectionOf(path)}`,
        access.owner,
        ...access.parents,
        ...access.viewers.map(userOf),
        ...access.blocked,
      ]),
    ),
  ]
}

const mentionsOf = (location: string, subjects: readonly string[]): Mention[] =>
  subjects.map((subject) => ({ location, object: subject.replace(/#member$/, '') }))

const userOf = (viewer: Viewer): string => (typeof viewer === 'string' ? viewer : viewer.user)

function objects(company: Company, documents: readonly RawDocument[]): string[] {
  const named = (type: string, entities: readonly { readonly id: string }[]) =>
    entities.map(({ id }) => `${type}:${id}`)
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
  const seenObjects = new Set<string>()
  return objects(company, documents)
    .filter((object) => seenObjects.size === seenObjects.add(object).size)
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
  const reaches = (origin: string, goal: string, visited: Set<string>): boolean =>
    (up.get(origin) ?? []).some((parent) => {
      if (parent === goal) return true
      if (visited.has(parent)) return false
      visited.add(parent)
      return reaches(parent, goal, visited)
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
