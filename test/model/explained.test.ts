import { readFileSync } from 'node:fs'
import { compileModel, createTupleStore, explain, type Reason, type TupleKey } from '@remit/engine'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseDsl } from '../../packages/engine/test/support/target.ts'

const text = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const model = compileModel(parseDsl(text('model.fga')))

interface Table {
  readonly tuples?: readonly TupleKey[]
  readonly tests: readonly {
    readonly name: string
    readonly tuples?: readonly TupleKey[]
    readonly check?: readonly {
      readonly user?: string
      readonly users?: readonly string[]
      readonly object?: string
      readonly objects?: readonly string[]
      readonly context?: Readonly<Record<string, string>>
      readonly assertions: Readonly<Record<string, boolean>>
    }[]
  }[]
}

// Its shape is checked where the table is put to both authorizers: model.test.ts.
const table = parse(text('model.fga.yaml')) as Table

const stepsIn = (reason: Reason): readonly TupleKey[] => [
  ...(reason.kind === 'tuple' ? [reason.tuple] : []),
  ...('because' in reason ? reason.because.flatMap(stepsIn) : []),
]

describe('what the truth table says is explained', () => {
  for (const { name, tuples = [], check = [] } of table.tests) {
    test(name, () => {
      const stored = createTupleStore()
      for (const [order, tuple] of [...(table.tuples ?? []), ...tuples].entries())
        stored.add(tuple, String(order).padStart(26, '0'))
      for (const { user, users = [], object, objects = [], context, assertions } of check) {
        for (const who of user === undefined ? users : [user]) {
          for (const what of object === undefined ? objects : [object]) {
            for (const [relation, expected] of Object.entries(assertions)) {
              const where = `${who} ${relation} ${what}`
              const { allowed, cut, reason } = explain(model, stored, {
                user: who,
                relation,
                object: what,
                context,
              })
              expect({ where, allowed, cut }).toEqual({ where, allowed: expected, cut: 0 })
              const steps = stepsIn(reason)
              if (allowed) expect(steps.length, where).toBeGreaterThan(0)
              for (const step of steps) expect(stored.get(step), where).toBeDefined()
            }
          }
        }
      }
    })
  }
})
