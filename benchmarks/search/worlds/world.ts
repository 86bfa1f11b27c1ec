import type { Tuple } from '../../../src/authz/fga.ts'

export const policies = ['tree', 'drive', 'doors', 'kubernetes'] as const
export type Policy = (typeof policies)[number]

/** How documents were put together: by a draw, or with those beside them that say the like. */
export type Layout = 'strewn' | 'topics'

/** Who may read what, as tuples of model.fga, and whom to ask as. */
export interface World {
  readonly policy: Policy
  readonly layout: Layout
  readonly tuples: readonly Tuple[]
  readonly askers: readonly Asker[]
  /** Some of what a person is given is taken away again by `blocked`. */
  readonly excludes: boolean
}

export interface Asker {
  /** `user:…` */
  readonly person: `user:${string}`
  /**
   * The share of all passages that the person is meant to see; what it is in truth is the oracle's to say.
   */
  readonly level: number
}

export const levelsAll = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001, 0.0001] as const

// Where the service puts people of a trusted issuer: the same ones ask over HTTP.
export const personOf = (name: string): `user:${string}` => `user:bench/${name}`
