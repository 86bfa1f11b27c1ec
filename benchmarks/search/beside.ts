import type { Benched } from './bench.ts'
import type { Delay } from './churn.ts'
import type { Measured } from './measure.ts'
import { mean, quantile } from './statistics.ts'

/** A table of what each way did in all cells that ask for no field; its first two rows are a head. */
export function besideOf({ measured, extras }: Pick<Benched, 'measured' | 'extras'>): string[][] {
  const grid = measured.filter(({ filter }) => filter === 1)
  const nameOf = ({ policy, topic, level }: Measured): string => `${policy} ${topic} ${level}`
  const raw = new Map(grid.filter(({ way }) => way === 'raw40').map((row) => [nameOf(row), row]))
  const head = [
    'way',
    'leaks, of passages released',
    'recall@10: mean, worst cell',
    'fewer, of answers',
    'p50 ÷ raw40',
    'p95 ÷ raw40',
    'given: ms',
    'taken: ms',
  ]
  const rows = [...Map.groupBy(grid, ({ way }) => way)].map(([way, rows]) => {
    const sum = (pick: (row: Measured) => number): number => rows.reduce((all, row) => all + pick(row), 0)
    const beside = (pick: (row: Measured) => number): string => {
      const ratios = rows.map((row) => pick(row) / pick(raw.get(nameOf(row)) ?? row))
      return `${quantile(ratios, 0.5).toPrecision(3)}, ${Math.max(...ratios).toPrecision(3)}`
    }
    const recalls = rows.map(({ recall }) => recall)
    const [fewer, owned] = [sum(({ short }) => short), sum(({ owned }) => owned)]
    const turned = extras?.turned.find((one) => one.way === way)
    const leaks = sum(({ leaks }) => leaks)
    const released = sum(({ released }) => released)
    return [
      way,
      released === 0 ? '' : leaks > 0 ? `**${leaks}** of ${released}` : `0 of ${released}`,
      `${mean(recalls).toFixed(3)}, ${Math.min(...recalls).toFixed(3)}`,
      `${fewer} of ${sum(({ asked }) => asked)}${Number.isNaN(owned) ? '' : `; ${owned} said so`}`,
      beside(({ p50 }) => p50),
      beside(({ p95 }) => p95),
      delayed(turned?.grantVisible),
      turned?.missed ?? delayed(turned?.removalInForce),
    ]
  })
  return [head, head.map(() => '---'), ...rows]
}

const delayed = (delay: Delay | undefined): string =>
  delay === undefined || delay.count === 0
    ? ''
    : `${delay.p50.toFixed(0)}, ${delay.most.toFixed(0)} (${delay.count})`
