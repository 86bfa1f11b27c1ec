import { isDeepStrictEqual } from 'node:util'
import { isId } from '@remit/contract/id'
import { checkTuple, type Model, type TupleKey, type TupleView } from '@remit/engine'
import { invalid } from '../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import { isEnd } from '../allow-list/allow-list.ts'
import { requestOnlyKeys } from '../allow-list/reserved.ts'
import type { LiveDelegation } from '../compare/askers.ts'
import { isOwnMark } from '../own-marks.ts'

/** Tuples as they would be written and deleted, whoever may do so or nobody. */
export interface SupposedChange {
  readonly writes: readonly TupleKey[]
  readonly deletes: readonly TupleKey[]
}

/**
 * Refuses what could not be stored at all: ids that break the rule, tuples that do not fit the model, and
 * those that only come with a request. Grants too: nobody asks with one here, so that one would seem to
 * change nothing.
 */
export function assertSupposable({ writes, deletes }: SupposedChange, model: Model): void {
  for (const [index, tuple] of writes.entries()) {
    assertForm(`writes.${index}`, tuple)
    const misfit = checkTuple(model, tuple)
    const { condition } = tuple
    // Of a mistyped end the engine speaks as OpenFGA does, of a context parameter that it failed to convert.
    if (misfit !== undefined && condition?.name === 'until' && !isEnd(condition.context['expires_at']))
      throw invalid(
        `writes.${index}.condition.context.expires_at`,
        'The end is no ISO 8601 time, as 2027-01-01T00:00:00Z is one.',
      )
    if (misfit !== undefined) throw invalid(`writes.${index}`, sentence(misfit.reason))
    // It would win over the clock that a check sends.
    if (condition !== undefined && 'current_time' in condition.context)
      throw invalid(`writes.${index}.condition.context.current_time`, 'This member is not allowed.')
  }
  for (const [index, tuple] of deletes.entries()) assertForm(`deletes.${index}`, tuple)
}

/** Writes of what is stored as it is, and deletes of what is not: they change nothing. */
export function unchangedBy({ writes, deletes }: SupposedChange, tuples: TupleView): SupposedChange {
  return {
    writes: writes.filter((tuple) => {
      const stored = tuples.get(tuple)
      return stored !== undefined && isDeepStrictEqual(stored.condition, tuple.condition)
    }),
    deletes: deletes.filter((tuple) => tuples.get(tuple) === undefined),
  }
}

/** Delegations that the change makes, or adds somebody to: as if they were in force. */
export function supposedDelegations(
  changed: readonly TupleKey[],
  views: readonly TupleView[],
): LiveDelegation[] {
  const ids = new Set(
    changed
      .filter(({ object }) => object.startsWith('delegation:'))
      .map(({ object }) => splitObject(object).id),
  )
  return [...ids].flatMap((id) => {
    const named = (relation: string, type: string): string[] =>
      views.flatMap((view) => {
        const node = view.node(`delegation:${id}`)
        const found = node === undefined ? [] : (view.at(node, relation)?.concrete ?? [])
        return found.filter(({ user }) => user.type === type).map(({ user }) => user.name)
      })
    const agents = [...named('agent', 'agent'), ...named('sub_agent', 'agent')].map(
      (name) => splitObject(name).id,
    )
    return named('delegator', 'user').map(
      (subject): LiveDelegation => ({ id, subject: subject as FgaObject, agents }),
    )
  })
}

function assertForm(field: string, { user, relation, object }: TupleKey): void {
  const [type = '', id = '', ...extraParts] = object.split(':')
  if (extraParts.length > 0 || type === '' || !isId(id))
    throw invalid(`${field}.object`, 'must be TYPE:ID, such as document:handbook/travel.md')
  if (!isSubject(user))
    throw invalid(
      `${field}.user`,
      'must be TYPE:ID, TYPE:* or TYPE:ID#RELATION, such as user:anne or group:eng#member',
    )
  if (requestOnlyKeys.has(`${type}#${relation}`))
    throw invalid(`${field}.relation`, 'This comes with a request and is never stored.')
  if (isOwnMark(object))
    throw invalid(`${field}.object`, 'The service keeps this for itself: it decides nothing.')
  if (type === 'grant' || relation === 'granted_by')
    throw invalid(
      `${field}.relation`,
      'Nobody is supposed to present a grant here: an approval says what it opens.',
    )
}

function isSubject(user: string): boolean {
  const [object = '', relation, ...moreParts] = user.split('#')
  const [type = '', id = '', ...restParts] = object.split(':')
  return (
    moreParts.length === 0 &&
    restParts.length === 0 &&
    type !== '' &&
    relation !== '' &&
    (isId(id) || (id === '*' && relation === undefined))
  )
}

const sentence = (reason: string): string => `${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`
