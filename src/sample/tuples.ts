import type { Tuple } from '../authz/fga.ts'
import type { FgaObject } from '../kernel/ids.ts'
import { dateAfter, timestamp } from './dates.ts'
import type { Company, Viewer } from './schema.ts'

/** Who belongs where. */
export function directoryTuples({ organization, groups }: Company): Tuple[] {
  const home: FgaObject = `organization:${organization.id}`
  return [
    ...groups.flatMap(({ id, members }) =>
      members.map((user): Tuple => ({ user, relation: 'member', object: `group:${id}` })),
    ),
    ...organization.admins.map((user): Tuple => ({ user, relation: 'admin', object: home })),
    ...organization.members.map((user): Tuple => ({ user, relation: 'member', object: home })),
  ]
}

/** The tuples of the sample's collections. */
export function collectionTuples({ organization, collections }: Company, now: Date): Tuple[] {
  return collections.flatMap(({ id, viewers, sensitive }) => {
    const object: FgaObject = `collection:${id}`
    return [
      { user: `organization:${organization.id}`, relation: 'organization', object },
      ...readers(object, viewers, sensitive, now),
    ]
  })
}

/** The tuples of the sample's folders. */
export function folderTuples({ folders }: Company, now: Date): Tuple[] {
  return folders.flatMap(({ id, collection, parent, viewers, sensitive }) => {
    const object: FgaObject = `folder:${id}`
    return [
      { user: `collection:${collection}`, relation: 'filed_in', object },
      ...(parent ? [{ user: parent, relation: 'parent', object }] : []),
      ...readers(object, viewers, sensitive, now),
    ]
  })
}

function readers(object: FgaObject, viewers: readonly Viewer[], sensitive: boolean, now: Date): Tuple[] {
  return [
    ...viewers.map((viewer) => viewerTuple(object, viewer, now)),
    ...(sensitive ? [{ user: 'user:*', relation: 'sensitive', object }] : []),
  ]
}

function viewerTuple(object: FgaObject, viewer: Viewer, now: Date): Tuple {
  if (typeof viewer === 'string') return { user: viewer, relation: 'viewer', object }
  const expires_at = timestamp(dateAfter(now, viewer.expires_in))
  return {
    user: viewer.user,
    relation: 'viewer',
    object,
    condition: { name: 'until', context: { expires_at } },
  }
}
