import assert from 'node:assert/strict'
import { cursorAt, isCursorTime, positionIn } from '../../../src/kernel/cursor.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import { textOf, unlessRefused } from '../oracles.ts'

/** What a caller calls a cursor is a position of the list or refused; its time is one that Postgres takes. */
export function fuzz(bytes: Uint8Array): void {
  const text = textOf(bytes)
  for (const cursor of [text, Buffer.from(bytes).toString('base64url')]) {
    const position = unlessRefused([AppError], () =>
      positionIn(cursor, ([time, id, ...rest]) =>
        typeof time === 'string' && typeof id === 'string' && rest.length === 0 && isCursorTime(time)
          ? [time, id]
          : undefined,
      ),
    )
    if (position === undefined) continue
    assert.deepEqual(
      positionIn(cursorAt(position), (members) => members),
      position,
    )
    assert.match(new Date(position[0] ?? '').toISOString(), /^\d{4}-/)
  }
}
