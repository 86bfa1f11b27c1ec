import type { AccessTuple, Writer } from '@remit/client'
import { endsSync, problemOf } from './failure.ts'
import type { Journal } from './journal.ts'
import type { Directory, SourceAccount, SourceFolder, SourceGroup } from './source.ts'

/** What a sync did to memberships and folders, in tuples. */
export interface DirectoryReport {
  readonly written: number
  readonly deleted: number
  /** Tuples that could not be written or deleted, and why. */
  readonly failed: readonly { readonly tuple: string; readonly problem: string }[]
  /** Accounts by the source's id that are a group's members and nobody in Remit. */
  readonly unmapped: readonly string[]
}

/** What `syncDirectory` needs. `onProgress` gets the count of tuples so far. */
export interface DirectoryDeps {
  readonly writer: Writer
  readonly journal: Journal
  readonly signal: AbortSignal | undefined
  readonly onProgress: (doneCount: number) => void
}

// One Write of OpenFGA takes 100, and the service adds one of its own.
const tuplesMax = 99

/** Brings memberships and folders to what the source says. What takes access away goes first. */
export async function syncDirectory(
  directory: Directory,
  dependencies: DirectoryDeps,
): Promise<DirectoryReport> {
  const { journal } = dependencies
  const { tuples, unmapped } = tuplesOf(directory)
  const { memory } = journal
  // A folder is filed once and for ever.
  const obsolete = [...memory.tuples.keys()].filter(
    (tuple) => !tuples.has(tuple) && !/ filed_in /.test(tuple),
  )
  const missing = [...tuples].filter((tuple) => memory.tuples.get(tuple) !== true)
  const failed: { tuple: string; problem: string }[] = []
  let doneCount = 0
  const change = async (kind: 'writes' | 'deletes', changedTuples: readonly string[]): Promise<number> => {
    const failedBefore = failed.length
    for (let offset = 0; offset < changedTuples.length; offset += tuplesMax) {
      const chunk = changedTuples.slice(offset, offset + tuplesMax)
      // Before it is written: a process that ends meanwhile leaves nothing that nobody remembers.
      if (kind === 'writes') await journal.write({ tuplesBegun: chunk })
      const rejected = await changeEach(kind, chunk, dependencies)
      failed.push(...rejected)
      const refusedTuples = new Set(rejected.map(({ tuple }) => tuple))
      const inForce = chunk.filter((tuple) => !refusedTuples.has(tuple))
      await journal.write(kind === 'writes' ? { tuplesSettled: inForce } : { tuplesForgotten: inForce })
      doneCount += chunk.length
      dependencies.onProgress(doneCount)
    }
    return changedTuples.length - (failed.length - failedBefore)
  }
  const deleted = await change('deletes', obsolete)
  const written = await change('writes', missing)
  return { written, deleted, failed, unmapped }
}

/** In one request; one by one where that is refused, so that the others go on. Those that are refused. */
async function changeEach(
  kind: 'writes' | 'deletes',
  tuples: readonly string[],
  dependencies: DirectoryDeps,
): Promise<readonly { readonly tuple: string; readonly problem: string }[]> {
  const { writer, signal } = dependencies
  try {
    await writer.changeAccess({ [kind]: tuples.map(parsed) }, { signal })
    return []
  } catch (error) {
    if (endsSync(error, signal)) throw error
    const [tuple] = tuples
    if (tuples.length === 1 && tuple !== undefined) return [{ tuple, problem: problemOf(error) }]
  }
  const rejected: { readonly tuple: string; readonly problem: string }[] = []
  for (const tuple of tuples) rejected.push(...(await changeEach(kind, [tuple], dependencies)))
  return rejected
}

/** In the order in which they can be written: a folder is filed before anything names it. */
function tuplesOf({ accounts, groups, folders }: Directory): {
  readonly tuples: ReadonlySet<string>
  readonly unmapped: readonly string[]
} {
  const subjects = new Map(accounts.map((account) => [account.id, account]))
  const unmapped = new Set<string>()
  const tuples = new Set<string>()
  for (const group of groups)
    for (const member of membersOf(group, subjects, unmapped))
      tuples.add(`${member} member group:${group.id}`)
  for (const { id, collection } of folders) tuples.add(`collection:${collection} filed_in folder:${id}`)
  for (const folder of folders) for (const tuple of readersOf(folder)) tuples.add(tuple)
  return { tuples, unmapped: [...unmapped] }
}

function membersOf(
  { members }: SourceGroup,
  accounts: ReadonlyMap<string, SourceAccount>,
  unmapped: Set<string>,
): readonly string[] {
  return members.flatMap((member) => {
    if ('group' in member) return [`group:${member.group}#member`]
    const subject = accounts.get(member.account)?.subject
    if (subject === undefined) unmapped.add(member.account)
    return subject === undefined ? [] : [subject]
  })
}

const readersOf = ({ id, parents, viewers }: SourceFolder): readonly string[] => [
  ...parents.map((parent) => `${parent} parent folder:${id}`),
  ...viewers.map((viewer) => `${viewer} viewer folder:${id}`),
]

/** No id holds a space. */
function parsed(tuple: string): AccessTuple {
  const [user = '', relation = '', object = ''] = tuple.split(' ')
  return { user, relation, object }
}
