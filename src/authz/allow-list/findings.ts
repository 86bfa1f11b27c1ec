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

/** What whoever confirms a plan should know of who may write: whom it lets, whom no longer, and what nobody may. */
export function writingOf(before: Writing, after: Writing): readonly Finding[] {
  const changed = changedRights(before.model, after.model)
  return [
    ...changed.map((right) => ruleChanged(right, after)),
    ...changed.flatMap((right) => heldAnew(right, before, after)),
    ...beyond(after, before, 'may_now_write', 'may now'),
    ...beyond(before, after, 'may_no_longer_write', 'may no longer'),
    ...nobodyIn(after),
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
function ruleChanged(right: Right, { rows }: Writing): Finding {
  const named = rows.filter((row) => row.write === right || row.delete === right).map(({ key }) => key)
  return {
    rule: 'writers_follow_another_rule',
    relation: `collection#${right}`,
    detail: `Which services are ${right} of a collection follows another rule. They may write what the allow-list lets a ${right} write (${listOf(named)})${right === 'writer' ? ', and send and withdraw documents' : ''}.`,
  }
}

function heldAnew(right: Right, { holders: before }: Writing, { holders: after }: Writing): Finding[] {
  const relation = `collection#${right}`
  const gained = pairsOnlyIn(after[right], before[right])
  const lost = pairsOnlyIn(before[right], after[right], ({ held }) => held === 'held')
  const changes: readonly [Finding['rule'], readonly string[], string][] = [
    ['may_now_write', gained, 'may now write'],
    ['may_no_longer_write', lost, 'may no longer write'],
  ]
  return changes
    .filter(([, pairs]) => pairs.length > 0)
    .map(([rule, pairs, may]) => ({
      rule,
      relation,
      detail: `By the other rule, on today's tuples, they ${may} as its ${right}: ${listOf(pairs)}.`,
    }))
}

const pairsOnlyIn = (
  some: Holders[Right],
  others: Holders[Right],
  counts: (pair: ReturnType<typeof onlyIn>[number]) => boolean = () => true,
): string[] =>
  onlyIn(some, others)
    .filter(counts)
    .map(
      ({ service, collection, held }) =>
        `${serviceName(service)} in ${collection}${held === 'unknown' ? ' (could not be evaluated)' : ''}`,
    )

/** What the rows of one version let and those of the other do not. */
function beyond(
  writing: Writing,
  other: Writing,
  rule: 'may_now_write' | 'may_no_longer_write',
  may: string,
): Finding[] {
  const known = new Set(rightsOf(other).map(({ right }) => right))
  const found = rightsOf(writing).filter(({ right }) => !known.has(right))
  const grouped = Map.groupBy(found, ({ key, operation, who }) => `${key} ${operation} ${who}`)
  return [...grouped.values()].flatMap(([first, ...more]) =>
    first === undefined
      ? []
      : [
          {
            rule,
            relation: first.key,
            detail: `${inWords(first, writing.holders)} ${may} ${first.operation} it for ${[first, ...more].map(({ subject }) => subject).join(', ')}.`,
          },
        ],
  )
}

interface OneRight {
  readonly key: string
  readonly subject: string
  readonly operation: 'write' | 'delete'
  readonly holder: Holder
  /** Whom it lets: the holder, and how far. */
  readonly who: string
  readonly isOpening: boolean
  readonly right: string
}

function rightsOf({ rows, model }: Writing): readonly OneRight[] {
  const polarity = polarityOf(model)
  return rows.flatMap(({ type, relation, key, subjects, write, delete: deletes }) =>
    subjects.flatMap(({ text: subject, isWildcard }) =>
      (
        [
          ['write', write],
          ['delete', deletes],
        ] as const
      ).flatMap(([operation, holder]) => {
        if (holder === undefined) return []
        // As the list asks for it (`everybody`): whether it opens an object is the model's to say.
        const isOpening =
          isWildcard && isRight(holder) && polarity.grants({ user: '', relation, object: `${type}:x` })
        const who = `${holder}${isOpening ? ' opening' : ''}`
        return [
          { key, subject, operation, holder, who, isOpening, right: `${key} ${subject} ${operation} ${who}` },
        ]
      }),
    ),
  )
}

const isRight = (holder: Holder): holder is Right => holder === 'writer' || holder === 'tagger'

function inWords({ holder, isOpening, operation }: OneRight, holders: Holders): string {
  if (holder === 'administrator') return 'Administrators'
  if (holder === 'directory') return 'Services with directory.write and a prefix of its id'
  const names = [...holders[holder].keys()].map(serviceName)
  const now = names.length === 0 ? 'none now' : `${listOf(names)} now`
  const services = `ervices that are ${holder} of its collection (${now})`
  if (!isOpening) return `S${services}`
  return `Administrators and s${services}${operation === 'write' ? ', where that may be opened to everybody,' : ''}`
}

const namesMax = 5

function listOf(names: readonly string[]): string {
  const rest = names.length - namesMax
  return `${names.slice(0, namesMax).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`
}
