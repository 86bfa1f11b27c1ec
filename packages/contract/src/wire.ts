import type { z } from 'zod'

/**
 * What a schema's value is to whoever reads it: readonly all the way down; what is optional is absent, not
 * undefined.
 */
export type Wire<Schema extends z.ZodType> = Immutable<z.output<Schema>>

/** What a schema takes, likewise: members with a default may be left out. */
export type WireInput<Schema extends z.ZodType> = Immutable<z.input<Schema>>

type Immutable<Value> = Value extends string | number | boolean | null
  ? Value
  : Value extends readonly (infer Each)[]
    ? readonly Immutable<Each>[]
    : Value extends object
      ? { readonly [Name in keyof Value]: Immutable<Exclude<Value[Name], undefined>> }
      : Value
