import type { Model } from '@remit/engine'
import type { Finding } from '../model/invariants.ts'
import { polarityOf } from '../write-order.ts'
import { changedRights, type Holders, onlyIn, type Right, serviceName } from './holders.ts'
import { problemsOf } from './problems.ts'
import type { Holder, Row } from './read.ts'
import { isReserved } from './reserved.ts'

/** What may not be let write, whatever the list says: line by line. */
export const refusedRows = (rows: readonly Row[], model: Model): readonly Finding[] =>
  problemsOf(rows, model).map(({ row: { key, line }, detail }) => ({
    rule: 'allow_list_refused',
    relation: key,
    detail: `Line ${line} of the allow-list: ${detail}`,
  }))

/** Who may write under one version of the model. */
export interface Writing {
  readonly rows: readonly Row[]
  readonly model: Model
  /** By its rules, on today's tuples. */
  readonly holders: Holders
}

/**
 * What whoever confirms a plan should know of who may write: whom it lets, whom no longer, and what nobody
 * may.
 */
export function writingOf(oldWriting: Writing, newWriting: Writing): readonly Finding[] {
  const changed = changedRights(oldWriting.model, newWriting.model)
  return [
    ...changed.map((writeRight) => ruleChanged(writeRight, newWriting)),
    ...changed.flatMap((writeRight) => heldAnew(writeRight, oldWriting, newWriting)),
    ...beyond(newWriting, oldWriting, 'may_now_write', 'may now'),
    ...beyond(oldWriting, newWriting, 'may_no_longer_write', 'may no longer'),
    ...nobodyIn(newWriting),
  ]
}

function nobodyIn({ rows, model }: Writing): Finding[] {
  const rowIn = new Set(rows.map(({ key }) => key))
  return [...model.types.values()]
    .flatMap((relations) => [...relations.values()])
    .filter(
      ({ type, name, key, restrictions }) =>
        restrictions.length > 0 && !isReserved(type, name) && !rowIn.has(key),
    )
    .map(({ key }) => ({
      rule: 'nobody_may_write',
      relation: key,
      detail: 'No row of the allow-list lets anybody write it.',
    }))
}

/** Also where today's tuples let nobody more or fewer: those of tomorrow may. */
function ruleChanged(writeRight: Right, { rows }: Writing): Finding {
  const named = rows
    .filter((row) => row.write === writeRight || row.delete === writeRight)
    .map(({ key }) => key)
  return {
    rule: 'writers_follow_another_rule',
    relation: `collection#${writeRight}`,
    detail: `Which services are ${writeRight} of a collection follows another rule. They may write what the allow-list lets a ${writeRight} write (${listOf(named)})${writeRight === 'writer' ? ', and send and withdraw documents' : ''}.`,
  }
}

function heldAnew(
  writeRight: Right,
  { holders: oldHolders }: Writing,
  { holders: newHolders }: Writing,
): Finding[] {
  const relation = `collection#${writeRight}`
  const gained = pairsOnlyIn(newHolders[writeRight], oldHolders[writeRight])
  const lost = pairsOnlyIn(
    oldHolders[writeRight],
    newHolders[writeRight],
    ({ verdict }) => verdict === 'held',
  )
  const changes: readonly [Finding['rule'], readonly string[], string][] = [
    ['may_now_write', gained, 'may now write'],
    ['may_no_longer_write', lost, 'may no longer write'],
  ]
  return changes
    .filter(([, pairs]) => pairs.length > 0)
    .map(([rule, pairs, may]) => ({
      rule,
      relation,
      detail: `By the other rule, on today's tuples, they ${may} as its ${writeRight}: ${listOf(pairs)}.`,
    }))
}

const pairsOnlyIn = (
  gaining: Holders[Right],
  losing: Holders[Right],
  counts: (pair: ReturnType<typeof onlyIn>[number]) => boolean = () => true,
): string[] =>
  onlyIn(gaining, losing)
    .filter(counts)
    .map(
      ({ service, collection, verdict }) =>
        `${serviceName(service)} in ${collection}${verdict === 'unknown' ? ' (could not be evaluated)' : ''}`,
    )

/** What the rows of one version let and those of the other do not. */
function beyond(
  writing: Writing,
  otherWriting: Writing,
  rule: 'may_now_write' | 'may_no_longer_write',
  may: string,
): Finding[] {
  const otherRights = new Set(rightsOf(otherWriting).map(keyOf))
  const found = rightsOf(writing).filter((right) => !otherRights.has(keyOf(right)))
  const grouped = Map.groupBy(found, groupOf)
  return [...grouped.values()].flatMap(([firstRight, ...moreRights]) =>
    firstRight === undefined
      ? []
      : [
          {
            rule,
            relation: firstRight.key,
            detail: `${inWords(firstRight, writing.holders)} ${may} ${firstRight.operation} it for ${[firstRight, ...moreRights].map(({ subject }) => subject).join(', ')}.`,
          },
        ],
  )
}

interface OneRight {
  readonly key: string
  readonly subject: string
  readonly operation: 'write' | 'delete'
  readonly holder: Holder
  /** Whether it opens the object to everybody. */
  readonly isOpening: boolean
}

/** Rights of the same holders over the same relation. */
const groupOf = ({ key, operation, holder, isOpening }: OneRight): string =>
  JSON.stringify([key, operation, holder, isOpening])
const keyOf = (right: OneRight): string => `${groupOf(right)} ${right.subject}`

function rightsOf({ rows, model }: Writing): readonly OneRight[] {
  const polarity = polarityOf(model)
  return rows.flatMap(({ type, relation, key, subjects, write, delete: deletes }) =>
    subjects.flatMap(({ text: subject, isWildcard }) => {
      // As the list asks for it (`everybody`): whether it opens an object is the model's to say.
      const mayOpen = isWildcard && polarity.opens({ user: '', relation, object: `${type}:x` })
      const rightTo = (operation: OneRight['operation'], holder: Holder): OneRight => ({
        key,
        subject,
        operation,
        holder,
        isOpening: mayOpen && isRight(holder),
      })
      return [rightTo('write', write), ...(deletes === undefined ? [] : [rightTo('delete', deletes)])]
    }),
  )
}

const isRight = (holder: Holder): holder is Right => holder === 'writer' || holder === 'tagger'

function inWords({ holder, isOpening, operation }: OneRight, holders: Holders): string {
  if (holder === 'administrator') return 'Administrators'
  if (holder === 'directory') return 'Services with directory.write and a prefix of its id'
  const names = [...holders[holder].keys()].map(serviceName)
  const currently = names.length === 0 ? 'none now' : `${listOf(names)} now`
  const services = `ervices that are ${holder} of its collection (${currently})`
  if (!isOpening) return `S${services}`
  return `Administrators and s${services}${operation === 'write' ? ', where that may be opened to everybody,' : ''}`
}

const namesMax = 5

function listOf(names: readonly string[]): string {
  const unnamed = names.length - namesMax
  return `${names.slice(0, namesMax).join(', ')}${unnamed > 0 ? ` and ${unnamed} more` : ''}`
}
