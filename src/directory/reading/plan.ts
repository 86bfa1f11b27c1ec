import type { BringingDirectory } from '../directories.ts'
import { keyOf, type PersonKey, type PersonLife, type ReadDirectoryPerson } from '../people.ts'
import type { Reading, ReadPerson } from './kind.ts'
import type { Said, Waiting } from './waiting.ts'

/** Somebody whom the service reads by itself, as the row has them. */
export interface PersonRow extends ReadDirectoryPerson {
  readonly immutableId: string
}

/** What is to become of the people of a directory. */
export interface PeoplePlan {
  readonly added: readonly (PersonKey & { readonly immutableId: string; readonly isActive: boolean })[]
  readonly turns: readonly { readonly row: PersonRow; readonly to: PersonLife }[]
  /** Who would end, or come back, by somebody's word only; with those of whom somebody said it. */
  readonly waiting: readonly Waiting[]
  readonly problems: readonly string[]
}

// More than a tenth, or than a thousand, end by somebody's word only; five always may. Out of reach they are
// at once.
const withoutAWord = 5
const withoutAWordMax = 1_000

/** Whether so many of all are missing that the directory may be wrong. */
export const isTooMany = (missing: number, all: number): boolean =>
  missing > Math.max(withoutAWord, Math.min(withoutAWordMax, Math.floor(all / 10)))

/**
 * Whether so many of those who were ended come back that the directory may be wrong: it may not tell any more
 * who is locked, or list people who left. More than one, and more than a tenth or than a thousand: one wrong
 * end costs less than one wrong way back.
 */
const isTooManyBack = (back: number, ended: number): boolean =>
  back > Math.max(1, Math.min(withoutAWordMax, Math.floor(ended / 10)))

/**
 * A person is an immutable id with a key: the same entry under another key is another person, and the first
 * is missing. A key that was somebody's is nobody else's. What cannot be told shuts out and ends nothing.
 */
export function planPeople(
  directory: BringingDirectory,
  { people, isCertain }: Pick<Reading, 'people' | 'isCertain'>,
  rows: readonly PersonRow[],
  { isConfirmed, isWaiting }: Said,
): PeoplePlan {
  const keyed = people.map((person) => ({
    person,
    key: person.key === undefined ? undefined : keyOf(directory, person.key),
  }))
  const unclear = new Set(keyed.flatMap(({ person, key }) => (key === undefined ? [person.id] : [])))
  const candidates = Map.groupBy(
    keyed.flatMap(({ person, key }) => (key === undefined ? [] : [{ person, key }])),
    ({ key }) => key.sub,
  )
  const rowsBySub = new Map(rows.map((row) => [row.sub, row]))
  const told = new Map<PersonRow, PersonLife>()
  /** Whose end is for good, and whom the directory has. */
  let endedThere = 0
  const added: PeoplePlan['added'][number][] = []
  const problems = keyed.flatMap(({ person, key }) =>
    person.key !== undefined && key === undefined ? [`${person.key} is no key of a person.`] : [],
  )
  for (const [sub, found] of candidates) {
    const [{ person, key } = noCandidate] = found
    const row = rowsBySub.get(sub)
    if (found.length > 1) {
      const whoIsOut = row === undefined ? 'nobody is brought by it' : 'whoever comes by it is shut out'
      problems.push(`${found.length} entries have the key ${sub}: ${whoIsOut}.`)
      if (row !== undefined) told.set(row, 'held')
    } else if (row === undefined) {
      if (person.isActive !== undefined)
        added.push({ ...key, immutableId: person.id, isActive: person.isActive })
    } else if (row.immutableId !== person.id)
      problems.push(`${sub} is the key of ${row.immutableId}, and was given to ${person.id}: refused.`)
    else {
      if (lifeOfRow(row) === 'ended') endedThere += 1
      if (person.isLeftOut === undefined) told.set(row, lifeOf(person))
    }
  }
  const others = rows.filter((row) => !told.has(row))
  for (const row of others) if (unclear.has(row.immutableId)) told.set(row, 'held')
  const missing = others.filter((row) => !told.has(row) && (row.isActive || row.isHeld))
  const all = rows.filter((row) => row.isActive || row.isHeld).length
  const isHeldBack = !isCertain || missing.length === all || isTooMany(missing.length, all)
  const ends = missing
    .map((row) => ({ row, waits: waitingOf('end', row) }))
    .filter(({ waits }) => isHeldBack || isWaiting(waits))
  const held = ends.filter(({ waits }) => !isConfirmed(waits))
  for (const row of missing) told.set(row, 'ended')
  for (const { row } of held) told.set(row, 'held')
  if (held.length > 0)
    problems.push(
      `${held.length} of ${all} people are missing. They are shut out; what they have ends by your word.`,
    )
  const back = [...told].flatMap(([row, to]) => (to === 'active' && lifeOfRow(row) === 'ended' ? [row] : []))
  const isCrowd = isTooManyBack(back.length, endedThere)
  const returns = back
    .map((row) => ({ row, waits: waitingOf('return', row) }))
    .filter(({ waits }) => isCrowd || isWaiting(waits))
  const heldOut = returns.filter(({ waits }) => !isConfirmed(waits))
  for (const { row } of heldOut) told.delete(row)
  if (heldOut.length > 0)
    problems.push(
      `${heldOut.length} of ${endedThere} people whom the directory had ended would come back at once. They stay out until you say that they do.`,
    )
  return {
    added,
    turns: [...told].map(([row, to]) => ({ row, to })).filter(({ row, to }) => to !== lifeOfRow(row)),
    waiting: [...ends, ...returns].map(({ waits }) => waits),
    problems,
  }
}

const noCandidate: { readonly person: ReadPerson; readonly key: PersonKey } = {
  person: { id: '', key: undefined, isActive: undefined },
  key: { sub: '', account: '' },
}

const waitingOf = (what: 'end' | 'return', { id }: PersonRow): Waiting => ({ what, memberId: id })

const lifeOf = ({ isActive }: ReadPerson): PersonLife =>
  isActive === undefined ? 'held' : isActive ? 'active' : 'ended'

const lifeOfRow = ({ isActive, isHeld }: PersonRow): PersonLife =>
  isActive ? 'active' : isHeld ? 'held' : 'ended'
