import { isObject } from './ids.ts'
import type { Journal } from './journal.ts'
import { groupOf } from './people.ts'
import { remembered } from './remembered.ts'
import type { Directory } from './source.ts'
import { parsed } from './tuple-texts.ts'

/** What stands at Remit, where whoever syncs can ask. */
export interface Stored {
  /** The tuples on a group, a folder or a zone, as text: `user:anne viewer folder:x`. */
  readonly on: (object: string) => Promise<readonly string[]>
  /** True: all objects are compared. False: those of which the state knows no tuple yet. */
  readonly isAll: boolean
}

// What a sync writes, and takes away again. A place is filed once and for ever.
const compared: ReadonlySet<string> = new Set([
  ...['member', 'parent', 'viewer', 'blocked', 'audience', 'gate_1', 'gate_2', 'gate_3'],
])
const readsAtOnce = 8

/**
 * Makes the state unsure of every tuple that only it or only the service has, so that the sync writes or
 * deletes it: the service may be of a backup, or somebody may have written there.
 */
export async function compareStored(
  journal: Journal,
  directory: Directory,
  { on, isAll }: Stored,
): Promise<void> {
  const remembers = new Map<string, Set<string>>()
  for (const tuple of journal.memory.tuples.keys()) {
    const { object } = parsed(tuple)
    remembers.set(object, (remembers.get(object) ?? new Set()).add(tuple))
  }
  const objects = [...objectsOf(journal, directory)].filter(
    (object) => isObject(object) && (isAll || !remembers.has(object)),
  )
  for (let offset = 0; offset < objects.length; offset += readsAtOnce) {
    const group = objects.slice(offset, offset + readsAtOnce)
    const found = await Promise.all(
      group.map(async (object) => ({
        stored: new Set(await on(object)),
        known: remembers.get(object) ?? new Set<string>(),
      })),
    )
    const unsure = found.flatMap(({ stored, known: knownTuples }) => [
      ...[...stored].filter((tuple) => !knownTuples.has(tuple) && compared.has(parsed(tuple).relation)),
      ...[...knownTuples].filter((tuple) => !stored.has(tuple)),
    ])
    if (unsure.length > 0) await journal.write({ tuplesBegun: unsure })
  }
}

/** Everything that the source has now, and whatever is left or named of what it had. */
function objectsOf({ memory }: Journal, { groups, folders, zones = [] }: Directory): ReadonlySet<string> {
  const tuples = [...memory.tuples.keys()].map(parsed)
  const subjects = [
    ...tuples.map(({ user }) => user),
    ...[...memory.accesses.values()].flatMap((entry) => {
      const { viewers = [], blocked = [] } = remembered(entry).applied
      return [...viewers.map((viewer) => (typeof viewer === 'string' ? viewer : viewer.user)), ...blocked]
    }),
  ]
  return new Set([
    ...groups.map(({ id }) => `group:${id}`),
    ...folders.map(({ id }) => `folder:${id}`),
    ...zones.map(({ id }) => `zone:${id}`),
    ...tuples.map(({ object }) => object),
    ...subjects.flatMap((subject) => groupOf(subject) ?? []).map((id) => `group:${id}`),
  ])
}
