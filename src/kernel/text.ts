import { z } from 'zod'

/** Text of `least` to `most` UTF-16 units that Postgres can hold and UTF-8 can carry: no NUL, no lone surrogate. */
export const text = (least: number, most: number) =>
  z
    .string()
    .min(least)
    .max(most)
    .refine((value) => !value.includes('\0') && value.isWellFormed(), 'must not hold NUL or lone surrogates')

/**
 * Whether text of somebody else can be shown on one line as what it is: 1 to `most` characters, nothing but spaces not
 * among them, none that controls, is invisible, turns the direction around, is private, or is half of one.
 */
export const isPlain = (value: string, most: number): boolean =>
  value.length <= most && value.trim() !== '' && hasPlainCharacters(value)

/** No control, format (bidirectional, zero-width), surrogate, private-use, or line or paragraph separator character. */
export const hasPlainCharacters = (value: string): boolean =>
  !/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/u.test(value)

/** Text of several lines to be read to the letter: whatever of it is not {@link isPlain} stands as its number. */
export const visible = (value: string): string =>
  value.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, (one) =>
    one === '\n' || one === '\t'
      ? one
      : `⟨U+${one.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}⟩`,
  )

/** Text that {@link isPlain}. */
export const plain = (most: number) =>
  z
    .string()
    .min(1)
    .max(most)
    .refine(
      (value) => isPlain(value, most),
      'must be words on one line, without control or formatting characters',
    )
