import { invalid } from '../../kernel/errors.ts'

/** What a cursor is for: it cannot be used with another question. */
interface Listed {
  readonly object: string
  readonly relation: string
  readonly cursor?: string
}

/** Opaque to callers. A place in a list, no right to anything: it need not be secret or signed. */
export const cursorAfter = ({ object, relation }: Listed, user: string): string =>
  Buffer.from(JSON.stringify([object, relation, user])).toString('base64url')

/** The user after whom the page begins; undefined for the first page. Throws `invalid_request` for another list's cursor. */
export function placeOf({ object, relation, cursor }: Listed): string | undefined {
  if (cursor === undefined) return undefined
  const [itsObject, itsRelation, user, ...rest] = partsOf(cursor)
  if (itsObject !== object || itsRelation !== relation || typeof user !== 'string' || rest.length > 0)
    throw invalid('cursor', 'This cursor is not of this list.')
  return user
}

function partsOf(cursor: string): readonly unknown[] {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
    return Array.isArray(parts) ? parts : []
  } catch {
    return []
  }
}
