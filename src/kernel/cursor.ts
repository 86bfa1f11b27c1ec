import { invalid } from './errors.ts'

/**
 * A position in a list, as callers get it: opaque, but neither secret nor signed, since it is a right to
 * nothing. `position`: what {@link positionIn} gives back.
 */
export const cursorAt = (position: readonly (string | number)[]): string =>
  Buffer.from(JSON.stringify(position)).toString('base64url')

/**
 * The position that a cursor names, by `read`, which gives undefined for what is no position of its list.
 * Undefined for the first page, which has no cursor. Throws `invalid_request` for a cursor of another list,
 * and for what is none.
 */
export function positionIn<T>(
  cursor: string | undefined,
  read: (members: readonly unknown[]) => T | undefined,
): T | undefined {
  if (cursor === undefined) return undefined
  const position = read(membersOf(cursor))
  if (position === undefined) throw invalid('cursor', 'This cursor is not of this list.')
  return position
}

function membersOf(cursor: string): readonly unknown[] {
  try {
    const members: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
    return Array.isArray(members) ? members : []
  } catch {
    return []
  }
}

const timePattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/

/**
 * Whether it is a time in UTC with microseconds that Postgres takes: the 30th of February has the form of
 * one.
 */
export function isCursorTime(text: string): boolean {
  const time = timePattern.test(text) ? Date.parse(text) : Number.NaN
  return (
    Number.isFinite(time) &&
    new Date(time).toISOString().startsWith(text.slice(0, 19)) &&
    !text.startsWith('0000')
  )
}
