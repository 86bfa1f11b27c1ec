import { z } from 'zod'

/**
 * Text of `least` to `most` UTF-16 units that Postgres can hold and UTF-8 can carry: no NUL, no lone
 * surrogate.
 */
export const text = (least: number, maxLength: number) =>
  z
    .string()
    .min(least)
    .max(maxLength)
    .refine((value) => !value.includes('\0') && value.isWellFormed(), 'must not hold NUL or lone surrogates')

/**
 * An object of at most `most` members that are named by whoever sends it. Refused in words of ours: the
 * schema's own are about records and keys, which nobody sent.
 */
export const named = <Value extends z.ZodType>(value: Value, maxLength: number) =>
  z
    .record(text(1, nameMax), value, {
      error: ({ code, path }) =>
        code !== 'invalid_key'
          ? 'must be an object'
          : path?.at(-1) === ''
            ? 'an empty name is no field'
            : `a name has at most ${nameMax} characters, no NUL and no lone surrogate`,
    })
    .refine((members) => Object.keys(members).length <= maxLength, `at most ${maxLength} fields`)

const nameMax = 100

/**
 * What nobody sees as what it is: control, format (bidirectional, zero-width), surrogate, private-use, line
 * and paragraph separator characters, and whatever else may be drawn as nothing (fillers, joiners, variation
 * selectors: 256 of those can carry a hidden text, byte by byte). Not: the one selector that makes a sign an
 * emoji.
 */
const unseen = String.raw`[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]|\p{DI}(?<!\p{ExtPict}[\uFE0E\uFE0F]|[#*0-9]\uFE0F(?=\u20E3))`
const oneUnseen = new RegExp(unseen, 'u')
const allUnseen = new RegExp(unseen, 'gu')

/**
 * Whether text of somebody else can be shown on one line as what it is: 1 to `most` characters, nothing but
 * spaces not among them, none that controls, is invisible, turns the direction around, is private, or is half
 * of one.
 */
export const isPlain = (value: string, maxLength: number): boolean =>
  value.length <= maxLength && !/^[\s\u2800]*$/u.test(value) && hasPlainCharacters(value)

/**
 * No character that controls, turns the direction around, is drawn as nothing, is private, or is half of one.
 */
export const hasPlainCharacters = (value: string): boolean => !oneUnseen.test(value)

/** What of a text {@link hasPlainCharacters}: it is read as it looks. May be empty. */
export const plainCharacters = (value: string): string => value.replaceAll(allUnseen, '')

/**
 * Text of several lines to be read to the letter: whatever of it is not {@link isPlain} stands as its number.
 */
export const visible = (value: string): string =>
  value.replaceAll(allUnseen, (character) =>
    character === '\n' || character === '\t'
      ? character
      : `⟨U+${character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}⟩`,
  )

/** Text that {@link isPlain}. */
export const plain = (maxLength: number) =>
  z
    .string()
    .min(1)
    .max(maxLength)
    .refine(
      (value) => isPlain(value, maxLength),
      'must be words on one line, without control or formatting characters',
    )
