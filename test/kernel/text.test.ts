import { isPlain, visible } from '@remit/contract/text'
import { describe, expect, test } from 'vitest'
import { shownName } from '../../src/delegation/registry/record-names.ts'

/** Hides a text in variation selectors, a byte in each: nothing of it is drawn. */
const hidden = (text: string): string =>
  [...Buffer.from(text)]
    .map((byte) => String.fromCodePoint(byte < 16 ? 0xfe00 + byte : 0xe0100 + byte - 16))
    .join('')

describe('text of somebody else', () => {
  const nothing = [
    ...[0x34f, 0x115f, 0x1160, 0x17b4, 0x180b, 0x2065, 0x3164, 0xfe00, 0xfe0f, 0xffa0, 0xe0100, 0xe0fff],
    ...[0xad, 0x200b, 0x202e, 0xe0041, 0xe000, 0x2028, 0x85],
  ]

  test.each(nothing)('with character %i is not plain, and is said by its number', (point) => {
    const one = `a${String.fromCodePoint(point)}b`
    expect(isPlain(one, 100)).toBe(false)
    expect(visible(one)).toBe(`a⟨U+${point.toString(16).toUpperCase().padStart(4, '0')}⟩b`)
  })

  test('carries nothing that its reader does not see', () => {
    const note = `Thanks!${hidden('the minutes of the board')}`
    expect(isPlain(note, 500)).toBe(false)
    expect(visible(note)).toMatch(/^Thanks!(⟨U\+[0-9A-F]+⟩){24}$/)
  })

  test.each(['\u3164', '\u2800', ' \u00a0', ''])('is no words where nothing is drawn (%#)', (blank) => {
    expect(isPlain(blank, 100)).toBe(false)
    expect(shownName([blank.replaceAll('\u2800', '')], 'somebody')).toBe('somebody')
  })

  test.each(['⚠️ für Ölwechsel', '❤︎', 'Nr. 1️⃣', '한국어', 'हिन्दी', 'עברית', 'e\u0301'])(
    'in its own script stays: %s',
    (one) => {
      expect(isPlain(one, 100)).toBe(true)
      expect(visible(one)).toBe(one)
    },
  )
})
