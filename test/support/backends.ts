import { describe, type TestOptions } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { needsOpenfga, needsPostgres } from './native.ts'

/** One way to run the service: which database, which authorizer. */
export interface Backend {
  readonly name: string
  readonly database: 'pglite' | 'postgres'
  readonly openfga: 'engine' | 'server'
  /** Skips, and says what is missing, where this machine lacks one of the two. */
  readonly options: TestOptions
}

/**
 * The embedded database: a process is alone with it. It takes over at once what another one held, and there
 * is one clock, which a test may move.
 */
export const alone = { database: 'pglite', openfga: 'engine' } as const

/** All four; those that this machine lacks stay in the list, to be reported as skipped instead of missing. */
export const backends: readonly Backend[] = [
  { name: 'PGlite × engine', database: 'pglite', openfga: 'engine', options: {} },
  { name: 'PGlite × OpenFGA', database: 'pglite', openfga: 'server', options: needsOpenfga },
  { name: 'Postgres × engine', database: 'postgres', openfga: 'engine', options: needsPostgres },
  {
    name: 'Postgres × OpenFGA',
    database: 'postgres',
    openfga: 'server',
    options: needsPostgres.skip ? needsPostgres : needsOpenfga,
  },
]

/**
 * The same promises on every backend: one suite each, named `title on Postgres × OpenFGA`. With `BACKENDS=2`
 * on two that have both databases and both authorizers among them; the seed and the title draw which.
 */
export function describeBackends(title: string, promises: (backend: Backend) => void): void {
  for (const backend of process.env['BACKENDS'] === '2' ? pairOf(title) : backends)
    describe(`${title} on ${backend.name}`, backend.options, () => promises(backend))
}

function pairOf(title: string): readonly Backend[] {
  const drawn = [...title].reduce((sum, letter) => sum + letter.charCodeAt(0), seed) % 2
  return backends.filter((_, at) => (at === 1 || at === 2) === (drawn === 1))
}

/** The same promises on both databases: one suite each, named `title on postgres`. */
export function describeDatabases(title: string, promises: (kind: Backend['database']) => void): void {
  describe(`${title} on pglite`, () => promises('pglite'))
  describe(`${title} on postgres`, needsPostgres, () => promises('postgres'))
}
