import type { Model, TupleView } from '@remit/engine'
import type { Finding } from '../model/invariants.ts'
import { problemsOf } from './problems.ts'
import type { Holder, Row } from './read.ts'
import { isReserved } from './reserved.ts'

/** Services that hold the right on some collection now. */
export type Services = Readonly<Record<'writer' | 'tagger', readonly string[]>>

export function servicesIn(tuples: TupleView): Services {
  const found = { writer: new Set<string>(), tagger: new Set<string>() }
  for (const { object, relation, user } of tuples.after(''))
    if ((relation === 'writer' || relation === 'tagger') && object.type === 'collection')
      found[relation].add(user.name)
  return { writer: [...found.writer].sort(), tagger: [...found.tagger].sort() }
}

/** What may not be let write, whatever the list says: line by line. */
export const refusedRows = (rows: readonly Row[], model: Model): readonly Finding[] =>
  problemsOf(rows, model).map(({ row: { key, line }, detail }) => ({
    rule: 'allow_list_refused',
    relation: key,
    detail: `Line ${line} of the allow-list: ${detail}`,
  }))

/** What whoever confirms a plan should know of who may write: whom it lets, whom no longer, and what nobody may. */
export function writingOf(
  before: readonly Row[],
  after: readonly Row[],
  model: Model,
  services: Services,
): readonly Finding[] {
  const rowIn = new Set(after.map(({ key }) => key))
  const nobody = [...model.types.values()]
    .flatMap((relations) => [...relations.values()])
    .filter(
      ({ type, name, key, restrictions }) =>
        restrictions.length > 0 && !isReserved(type, name) && !rowIn.has(key),
    )
    .map(
      ({ key }): Finding => ({
        rule: 'nobody_may_write',
        relation: key,
        detail: 'No row of the allow-list lets anybody write it.',
      }),
    )
  return [
    ...nobody,
    ...beyond(after, before, services, 'may_now_write', 'may now'),
    ...beyond(before, after, services, 'may_no_longer_write', 'may no longer'),
  ]
}

/** What `rows` let and `others` do not. */
function beyond(
  rows: readonly Row[],
  others: readonly Row[],
  services: Services,
  rule: 'may_now_write' | 'may_no_longer_write',
  may: string,
): Finding[] {
  const known = new Set(others.flatMap(rightsOf).map(({ right }) => right))
  const found = rows.flatMap(rightsOf).filter(({ right }) => !known.has(right))
  const grouped = Map.groupBy(found, ({ key, operation, holder }) => `${key} ${operation} ${holder}`)
  return [...grouped.values()].flatMap(([first, ...more]) =>
    first === undefined
      ? []
      : [
          {
            rule,
            relation: first.key,
            detail: `${inWords(first.holder, services)} ${may} ${first.operation} it for ${[first, ...more].map(({ subject }) => subject).join(', ')}.`,
          },
        ],
  )
}

const rightsOf = ({ key, subjects, write, delete: deletes }: Row) =>
  subjects.flatMap(({ text: subject }) =>
    (
      [
        ['write', write],
        ['delete', deletes],
      ] as const
    ).flatMap(([operation, holder]) =>
      holder === undefined
        ? []
        : [{ key, subject, operation, holder, right: `${key} ${subject} ${operation} ${holder}` }],
    ),
  )

const namesMax = 5

function inWords(holder: Holder, services: Services): string {
  switch (holder) {
    case 'administrator':
      return 'Administrators'
    case 'directory':
      return 'Services with directory.write and a prefix of its id'
    default: {
      const names = services[holder]
      const shown = names.slice(0, namesMax).join(', ')
      const rest = names.length - namesMax
      const now = names.length === 0 ? 'none now' : `${shown}${rest > 0 ? ` and ${rest} more` : ''} now`
      return `Services that are ${holder} of its collection (${now})`
    }
  }
}
