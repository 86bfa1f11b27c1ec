import type { Benched } from './bench.ts'
import type { Measured } from './measure.ts'
import { quantile } from './statistics.ts'

/** One row of what the search is held to. */
export interface Figure {
  readonly name: string
  /** In words, with the cell that it comes from. */
  readonly seen: string
  readonly least: string
  readonly aim: string
  readonly verdict: 'aim' | 'reached' | 'missed' | 'not measured'
}

const search = 'ours, search'
const fresh = 'ours, fresh'
const hot = 'ours, hot'
const filter50 = 'FGAFilter, fetch 50'
const refill = 'over-fetch ×3, refill'

/**
 * Compares what was measured with what is to be reached; `before`: the same from a run over fewer passages.
 */
export function figuresOf(
  benched: Benched,
  before?: { readonly measured: readonly Measured[] },
): readonly Figure[] {
  const { measured, extras, service, worlds } = benched
  const rows = (way: string): readonly Measured[] => measured.filter((row) => row.way === way)
  const grid = (way: string): readonly Measured[] => rows(way).filter(({ filter }) => filter === 1)
  const beside = (row: Measured, way: string): Measured | undefined =>
    measured.find(
      (one) =>
        one.way === way &&
        one.policy === row.policy &&
        one.topic === row.topic &&
        one.level === row.level &&
        one.filter === row.filter,
    )
  const ratio = (row: Measured, way: string): number => row.p50 / (beside(row, way)?.p50 ?? Number.NaN)
  const excludes = new Set(worlds.filter((world) => world.excludes).map(({ policy }) => policy as string))
  const ours = measured.filter(({ way }) => way.startsWith('ours'))

  const leaks =
    ours.reduce((sum, row) => sum + row.leaks, 0) + (extras?.churn.leaks ?? 0) + (service?.leaks ?? 0)
  const released = ours.reduce((sum, row) => sum + row.released, 0) + (extras?.churn.released ?? 0)
  const tooFew = ours.filter(({ way }) => way !== search).reduce((sum, row) => sum + row.short, 0)
  const worst = (
    of: readonly Measured[],
    value: (row: Measured) => number,
    isWorse: (one: number, other: number) => boolean,
  ): readonly [number, Measured | undefined] => {
    const known = of.map((row) => [value(row), row] as const).filter(([one]) => !Number.isNaN(one))
    const [first] = known.toSorted(([one], [other]) => (isWorse(one, other) ? -1 : 1))
    return first ?? [Number.NaN, undefined]
  }
  const most = (of: readonly Measured[], value: (row: Measured) => number) =>
    worst(of, value, (a, b) => a > b)
  const fewest = (of: readonly Measured[], value: (row: Measured) => number) =>
    worst(of, value, (a, b) => a < b)
  const within = (topics: 'outside' | 'others') => (row: Measured) =>
    (row.topic === 'outside') === (topics === 'outside')

  const figures: Figure[] = [
    figure('leaks, changes on', [leaks, undefined], {
      least: 0,
      aim: 0,
      text: `${leaks} in ${released} passages${released < 1_000_000 ? ' (fewer than a million)' : ''}`,
    }),
    figure(
      'recall@10, mean of the worst cell',
      fewest([...rows(fresh), ...rows(hot)], ({ recall }) => recall),
      { least: 0.99, aim: 0.995, isMore: true, digits: 4 },
    ),
    figure('fewer than ten though ten are visible', [tooFew, undefined], {
      least: 0,
      aim: 0,
      text: `${tooFew} answers`,
    }),
  ]
  for (const topics of ['others', 'outside'] as const) {
    const limits = topics === 'others' ? { least: 3, aim: 1.5 } : { least: 6, aim: 3 }
    figures.push(
      figure(
        `search p50 ÷ raw99, ${topics === 'others' ? 'worst cell not outside the topic' : 'worst cell outside the topic'}`,
        most(rows(search).filter(within(topics)), (row) => ratio(row, 'raw99')),
        limits,
      ),
    )
  }
  for (const topics of ['others', 'outside'] as const) {
    const limits = topics === 'others' ? { least: 3, aim: 1.5 } : { least: 6, aim: 3 }
    figures.push(
      figure(
        `… by processor time, ${topics === 'others' ? 'not outside' : 'outside'}`,
        most(
          rows(search).filter(within(topics)),
          (row) => row.processor / (beside(row, 'raw99')?.processor ?? Number.NaN),
        ),
        limits,
      ),
    )
  }
  // Each time beside the median of its own cell, and all cells of a policy and topic together: in one cell
  // chance has its say.
  const tailOf = (rows: readonly Measured[]): number =>
    quantile(
      rows.flatMap(({ times, p50 }) => times.map((time) => time / p50)),
      0.95,
    )
  const tail = ({ policy, topic }: Measured): number => {
    const of = (way: string) => rows(way).filter((row) => row.policy === policy && row.topic === topic)
    return tailOf(of(search)) / tailOf(of('raw99'))
  }
  figures.push(
    figure('p95 ÷ p50 of search, of raw99’s own, worst policy and topic', most(rows(search), tail), {
      least: 1.2,
      aim: 1,
    }),
    growth(
      grid(search),
      before?.measured.filter((row) => row.way === search && row.filter === 1),
    ),
  )
  for (const isExcluding of [false, true]) {
    const rows = grid(fresh).filter(({ policy }) => excludes.has(policy) === isExcluding)
    const limits = isExcluding ? { least: 2, aim: 1.05 } : { least: 1.2, aim: 1.05 }
    const suffix = isExcluding ? ', with exclusions' : ''
    figures.push(
      figure(
        `documents asked about, a document returned${suffix}`,
        most(rows, ({ checksEach }) => checksEach),
        limits,
      ),
      figure(
        `checks sent a document returned${suffix}`,
        most(rows, ({ partsEach }) => partsEach),
        limits,
      ),
    )
  }
  const freshLimits: readonly [string, (row: Measured) => boolean, number, number][] = [
    ['0.01 %', ({ level, topic }) => level < 0.0005 && topic !== 'outside', 2, 1.5],
    ['0.1 %', ({ level, topic }) => level >= 0.0005 && level < 0.003 && topic !== 'outside', 5, 3],
    ['above', ({ level, topic }) => level >= 0.003 && topic !== 'outside', 10, 5],
    ['outside the topic', ({ topic }) => topic === 'outside', 12, 6],
  ]
  for (const [name, is, least, aim] of freshLimits)
    figures.push(
      figure(
        `fresh answer ÷ raw40, ${name}`,
        most(grid(fresh).filter(is), (row) => ratio(row, 'raw40')),
        { least, aim },
      ),
    )
  figures.push(
    figure(
      'hot answer ÷ raw40, worst cell',
      most(rows(hot), (row) => ratio(row, 'raw40')),
      { least: 2, aim: 1.3 },
    ),
  )
  const faster = (way: string, peer: string, is: (row: Measured) => boolean) =>
    fewest(grid(way).filter(is), (row) => 1 / ratio(row, peer))
  figures.push(
    figure('FGAFilter ÷ fresh, not outside the topic', faster(fresh, filter50, within('others')), {
      least: 4,
      aim: 8,
      isMore: true,
    }),
    figure('FGAFilter ÷ fresh, outside the topic', faster(fresh, filter50, within('outside')), {
      least: 2,
      aim: 8,
      isMore: true,
    }),
    figure(
      'FGAFilter ÷ hot',
      faster(hot, filter50, () => true),
      { least: 20, aim: 40, isMore: true },
    ),
    figure(
      'refill ÷ fresh at 10 %, independent and outside',
      faster(fresh, refill, ({ level, topic }) => level === 0.1 && topic !== 'inside'),
      { least: 5, aim: 10, isMore: true },
    ),
    figure(
      'refill ÷ fresh at 1 %, independent and outside',
      faster(fresh, refill, ({ level, topic }) => level === 0.01 && topic !== 'inside'),
      { least: 50, aim: 100, isMore: true },
    ),
  )
  const rate = (way: string): number => extras?.throughput.find((one) => one.way === way)?.ofRaw ?? Number.NaN
  const churn = extras?.churn
  figures.push(
    figure('16 clients, a tenth visible, of raw40’s throughput: fresh', [100 * rate(fresh), undefined], {
      least: 3,
      aim: 6,
      isMore: true,
      unit: ' %',
    }),
    figure('… hot core', [100 * rate('ours, fast'), undefined], {
      least: 50,
      aim: 65,
      isMore: true,
      unit: ' %',
    }),
    figure(
      'whole /retrieve hot, p50 ÷ empty route + raw + row',
      [(service?.retrieve.p50 ?? Number.NaN) / (service?.least.p50 ?? Number.NaN), undefined],
      { least: 1.5, aim: 1.15 },
    ),
    figure(
      '… the least’s throughput ÷ its own, 16 clients',
      [(service?.leastRate ?? Number.NaN) / (service?.retrieveRate ?? Number.NaN), undefined],
      { least: 1.5, aim: 1.15 },
    ),
    figure(
      'index bytes ÷ raw HNSW’s',
      [(extras?.indexes.ours ?? Number.NaN) / (extras?.indexes.hnsw ?? Number.NaN), undefined],
      { least: 1.5, aim: 1.1 },
    ),
    figure(
      `granted → visible, p99 of ${churn?.grantVisible.count ?? 0}`,
      [churn?.grantVisible.p99 ?? Number.NaN, undefined],
      { least: 1_000, aim: 200, unit: ' ms', digits: 0 },
    ),
    figure(
      `revoked → in force, p99 of ${churn?.removalInForce.count ?? 0}`,
      [churn?.removalInForce.p99 ?? Number.NaN, undefined],
      { least: 1_000, aim: 200, unit: ' ms', digits: 0 },
    ),
  )
  return figures
}

interface Limits {
  readonly least: number
  readonly aim: number
  /** More is better. */
  readonly isMore?: boolean
  readonly digits?: number
  readonly unit?: string
  /** Instead of the number. */
  readonly text?: string
}

function figure(
  name: string,
  [value, row]: readonly [number, Measured | undefined],
  { least, aim, isMore = false, digits = 2, unit = '', text }: Limits,
): Figure {
  const meets = (limit: number): boolean => (isMore ? value >= limit : value <= limit)
  const sign = isMore ? '≥' : '≤'
  const cell =
    row === undefined
      ? ''
      : ` (${row.policy}, ${row.topic}, ${100 * row.level} %${row.filter === 1 ? '' : `, one of ${row.filter}`})`
  return {
    name,
    seen: Number.isNaN(value) ? '' : `${text ?? `${value.toFixed(digits)}${unit}`}${cell}`,
    least: `${sign} ${least}${unit}`,
    aim: `${sign} ${aim}${unit}`,
    verdict: Number.isNaN(value) ? 'not measured' : meets(aim) ? 'aim' : meets(least) ? 'reached' : 'missed',
  }
}

function growth(now: readonly Measured[], before: readonly Measured[] | undefined): Figure {
  const worst = (of: readonly Measured[]): number => Math.max(...of.map(({ p50 }) => p50))
  const value = before === undefined || before.length === 0 ? Number.NaN : worst(now) / worst(before)
  return figure('worst cell ÷ worst cell of the smaller run, search p50', [value, undefined], {
    least: 1.5,
    aim: 1.1,
  })
}
