import { cursorAt, isCursorTime, positionIn } from '../kernel/cursor.ts'

/** Where a page begins, and how many rows it has. */
export interface PageOf {
  readonly cursor?: string | undefined
  readonly limit: number
}

/**
 * Where a row stands in a list, newest first: its time in UTC with microseconds, then its id. Both are told
 * with the row; a number of all rows would tell a service how many there are of others.
 */
export interface Place {
  readonly place: string
  readonly id: string
}

const idPattern = /^[\x21-\x7e]{1,200}$/

/** The place after which a page goes on. Throws `invalid_request` for a cursor of another list. */
export const placeIn = (list: string, cursor: string | undefined): Place | undefined =>
  positionIn(cursor, ([name, place, id]) =>
    name === list &&
    typeof place === 'string' &&
    isCursorTime(place) &&
    typeof id === 'string' &&
    idPattern.test(id)
      ? { place, id }
      : undefined,
  )

/** The cursor after a page of so many rows, where one more row was read. */
export function nextOf(list: string, rows: readonly Place[], limit: number): string | undefined {
  const lastRow = rows.length > limit ? rows[limit - 1] : undefined
  return lastRow && cursorAt([list, lastRow.place, lastRow.id])
}
