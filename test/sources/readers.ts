import type { Directory, SourceSubject, SourceZone } from '@remit/connector'

/** Who reads by a zone, as OpenFGA would work it out: in the audience, in each gate, and not denied. */
export function readersOf(zone: SourceZone, directory: Directory): ReadonlySet<string> {
  const subjects = new Map(directory.accounts.map(({ id, subject }) => [id, subject]))
  const members = (subject: SourceSubject): readonly (string | undefined)[] => {
    if (typeof subject !== 'string') return [subjects.get(subject.account)]
    if (subject.startsWith('user:')) return [subject]
    const group = directory.groups.find(({ id }) => `group:${id}#member` === subject)
    if (group === undefined) throw new Error(`The directory does not tell ${subject}.`)
    return group.members.map((member) => ('account' in member ? subjects.get(member.account) : undefined))
  }
  const all = (list: readonly SourceSubject[]) => new Set(list.flatMap(members))
  const gates = zone.gates.map(all)
  const denied = all(zone.blocked ?? [])
  return new Set(
    [...all(zone.audience)].filter(
      (subject): subject is string =>
        subject !== undefined && gates.every((gate) => gate.has(subject)) && !denied.has(subject),
    ),
  )
}
