import { z } from 'zod'

/** Text of `least` to `most` UTF-16 units that Postgres can hold and UTF-8 can carry: no NUL, no lone surrogate. */
export const text = (least: number, most: number) =>
  z
    .string()
    .min(least)
    .max(most)
    .refine((value) => !value.includes('\0') && value.isWellFormed(), 'must not hold NUL or lone surrogates')
