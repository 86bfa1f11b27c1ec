import { createHash } from 'node:crypto'
import { CursorExpired } from '@remit/connector'
import { z } from 'zod'

/** The same for the same facts. */
export const digestOf = (facts: unknown): string =>
  createHash('sha256').update(JSON.stringify(facts)).digest('base64url').slice(0, 22)

const cursorShape = z.object({ rights: z.string(), versions: z.array(z.tuple([z.string(), z.string()])) })
type Cursor = z.output<typeof cursorShape>

/** Where a reading came to: by which rights, of an empty digest where it is not at its end. */
export const cursorOf = (rights: string, versions: ReadonlyMap<string, string>): string =>
  JSON.stringify({ rights, versions: [...versions] } satisfies Cursor)

/** @throws CursorExpired where it is none of these. */
export function readCursor(cursor: string | undefined): Cursor {
  if (cursor === undefined) return { rights: '', versions: [] }
  try {
    return cursorShape.parse(JSON.parse(cursor))
  } catch (error) {
    throw new CursorExpired('The cursor is none of this source.', { cause: error })
  }
}
