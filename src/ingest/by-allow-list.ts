import type { AllowList, Operation } from '../authz/allow-list/allow-list.ts'
import type { Tuple } from '../authz/fga.ts'
import { AppError } from '../kernel/errors.ts'
import { collectionObject, type FgaObject } from '../kernel/ids.ts'
import { type Tag, tagKey, toTuple } from './desired-tuples.ts'

/** What a document's access can name, and where. */
const members: ReadonlyMap<string, string> = new Map([
  ['owner', 'access.owner'],
  ['parent', 'access.parents'],
  ['viewer', 'access.viewers'],
  ['blocked', 'access.blocked'],
  ['sensitive', 'access.sensitive'],
])

/** Whether the writer of a document may, whichever collection it is filed in. */
function isWriters(list: AllowList, tuple: Tuple, operation: Operation): boolean {
  if (list.misfitOf(tuple, operation) !== undefined) return false
  const requirement = list.requirementOf(tuple, operation)
  return (
    requirement.kind === 'document_writer' ||
    (requirement.kind === 'everybody' && requirement.right === 'writer')
  )
}

/**
 * Why the writer of a document may not set these tags, or file these folders and zones with it; undefined: it
 * may.
 */
export function settingRefused(
  list: AllowList,
  object: FgaObject,
  newTags: readonly Tag[],
  filing: { readonly objects: readonly FgaObject[]; readonly collection: string },
): AppError | undefined {
  const wrong = newTags.find(
    (tag) => members.has(tag.relation) && !isWriters(list, toTuple(object, tag), 'write'),
  )
  if (wrong !== undefined) return refusedTag(wrong, 'The allow-list lets no writer of the document set this')
  const unfiled = filing.objects.find((object) => {
    const tuple = { user: collectionObject(filing.collection), relation: 'filed_in', object }
    return list.requirementOf(tuple, 'write').kind !== 'filing'
  })
  return unfiled === undefined
    ? undefined
    : refusedTag({ relation: 'parent', subject: unfiled }, 'The allow-list lets nobody file it')
}

/**
 * What stays of a document's tags where its writer says anew who may read it: what that cannot name, and what
 * keeps others from reading and is not the writer's to take back. `refused`: the writer would take away what
 * it may only add. `sensitive` has a rule of its own (sensitivity.ts).
 */
export function leftBy(
  list: AllowList,
  object: FgaObject,
  storedTags: readonly Tag[],
  requestedTags: readonly Tag[],
): { readonly kept: readonly Tag[]; readonly refused: AppError | undefined } {
  const named = new Set(requestedTags.map(tagKey))
  const lost = new Map(
    storedTags
      .filter((tag) => tag.relation !== 'filed_in' && tag.relation !== 'sensitive' && !named.has(tagKey(tag)))
      .map((tag) => [tagKey(tag), tag]),
  )
  const keptTags: Tag[] = []
  for (const tag of lost.values()) {
    const { relation, subject } = tag
    if (!members.has(relation)) keptTags.push(tag)
    else if (isWriters(list, { user: subject, relation, object }, 'delete')) continue
    else if (!list.isWidening('document', relation)) keptTags.push(tag)
    else
      return {
        kept: [],
        refused: refusedTag(tag, 'The allow-list lets no writer of the document take this away'),
      }
  }
  return { kept: keptTags, refused: undefined }
}

/**
 * What keeps others from reading a document, and is not its writer's to take back: it outlives a withdrawal.
 */
export function keptOf(
  list: AllowList | undefined,
  object: FgaObject,
  storedTags: readonly Tag[],
): readonly Tag[] {
  const distinct = new Map(storedTags.map((tag) => [tagKey(tag), tag]))
  return [...distinct.values()].filter(({ relation, subject }) => {
    if (relation === 'filed_in' || relation === 'sensitive') return false
    if (list === undefined) return relation === 'blocked' || !members.has(relation)
    return (
      !list.isWidening('document', relation) &&
      !isWriters(list, { user: subject, relation, object }, 'delete')
    )
  })
}

const refusedTag = ({ relation, subject }: Pick<Tag, 'relation' | 'subject'>, reason: string): AppError =>
  new AppError('forbidden', {
    field: members.get(relation) ?? 'access',
    public: `${reason}: ${subject}.`,
  })
