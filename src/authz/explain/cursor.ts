import { cursorAt, positionIn } from '../../kernel/cursor.ts'

/** What a cursor is for: it cannot be used with another question. */
interface Listed {
  readonly object: string
  readonly relation: string
  readonly cursor?: string
}

/** The cursor of the page that begins after this user. */
export const cursorAfter = ({ object, relation }: Listed, user: string): string =>
  cursorAt([object, relation, user])

/** The user after whom the page begins; undefined for the first page. Throws `invalid_request` for another list's cursor. */
export const placeOf = ({ object, relation, cursor }: Listed): string | undefined =>
  positionIn(cursor, ([itsObject, itsRelation, user, ...extraParts]) =>
    itsObject === object && itsRelation === relation && typeof user === 'string' && extraParts.length === 0
      ? user
      : undefined,
  )
