import type { z } from 'zod'

/** Settings that are about one thing, and what the configuration says of it. */
export interface Group<Shape extends z.ZodRawShape, Part> {
  /** Each with its default and what it is for. */
  readonly settings: Shape
  readonly read: (value: Values<Shape>, derived: Derived, env: Environment) => Part
  readonly contradictions?: (
    value: Values<Shape>,
    derived: Derived,
    env: Environment,
  ) => readonly Contradiction[]
}

type Values<Shape extends z.ZodRawShape> = z.output<z.ZodObject<Shape>>

/** What follows from several groups together. */
export interface Derived {
  readonly publicUrl: string
  /** Nobody but this machine reaches the service. */
  readonly loopback: boolean
  /** Nothing outside the process is needed. */
  readonly embedded: boolean
  readonly demo: boolean
}

/** Names and texts of settings, as a process gets them. */
export type Environment = Readonly<Record<string, string | undefined>>

export interface Contradiction {
  readonly isSo: boolean
  /** The settings that it is about: one that could not be read was reported as that already. */
  readonly of: readonly string[]
  readonly problem: string
}

/** A group of settings, with the types of its members inferred. */
export const group = <Shape extends z.ZodRawShape, Part>(definition: Group<Shape, Part>): typeof definition =>
  definition
