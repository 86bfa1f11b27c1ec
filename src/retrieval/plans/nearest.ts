import type { Database } from '../../store/sql.ts'
import type { Candidate } from '../candidate.ts'
import type { CellSet } from '../cells/members.ts'
import { findNear, type Near } from '../cells/near.ts'
import type { Corpus } from '../corpus/corpus.ts'
import { cells, looseOf } from './cells.ts'
import { type Costs, createCosts } from './costs.ts'
import { exact } from './exact.ts'
import { graph } from './graph.ts'
import { named } from './names.ts'
import { type Choice, pick } from './pick.ts'
import type { Ask, Found, OnPlan } from './plan.ts'

export interface NearestDeps {
  readonly database: Database
  /** Undefined: there are never any. */
  readonly cells?: { sets(): readonly CellSet[] } | undefined
  /** Knows names of documents. Undefined: the database is asked for all. */
  readonly corpus?: Pick<Corpus, 'lastKnown'> | undefined
  readonly onPlan?: OnPlan | undefined
  readonly costs?: Costs
  /** Milliseconds of a clock that never goes back. */
  readonly ticks?: () => number
}

/** Nearest by inner product of unit vectors, best first; never fewer than there are, up to the limit. */
export type Nearest = (ask: Ask) => Promise<Candidate[]>

/** Picks a plan for each question, and takes another where the first finds too little. */
export function createNearest({
  database,
  cells: corpusCells,
  corpus,
  onPlan,
  costs = createCosts(),
  ticks = () => performance.now(),
}: NearestDeps): Nearest {
  return async (ask) => {
    const { visible, limit } = ask
    const started = ticks()
    const sets = corpusCells?.sets() ?? []
    const loose = sets.length === 0 ? undefined : looseOf(sets, visible)
    const choice = pick(
      {
        visible: visible.chunks,
        documents: visible.size,
        corpus: visible.corpusChunks,
        limit,
        ...(loose && { loose: loose.length, untold: Math.max(...sets.map(({ untold }) => untold)) }),
      },
      costs,
    )
    let found = await run(choice, ask, sets, loose)
    const alone = ticks() - started
    costs.learn(choice.plan, choice.predictedMs, alone)
    // pgvector gives up without a word, and cells may be behind: what is missing is found by comparing all.
    const fellBack = choice.plan !== 'exact' && found.length < Math.min(limit, visible.chunks)
    if (fellBack) found = await exact(database, ask)
    onPlan?.({
      plan: fellBack ? 'exact' : choice.plan,
      predictedMs: choice.predictedMs,
      actualMs: fellBack ? ticks() - started : alone,
      visible: visible.chunks,
      corpus: visible.corpusChunks,
      returned: found.length,
      fellBack,
    })
    return named(database, corpus?.lastKnown(), found)
  }

  async function run(
    choice: Choice,
    ask: Ask,
    sets: readonly CellSet[],
    loose: Int32Array = new Int32Array(),
  ): Promise<Found[]> {
    switch (choice.plan) {
      case 'exact':
        return exact(database, ask)
      case 'graph':
        return graph(database, ask, choice.walk)
      case 'cells': {
        const near = nominate(sets, ask, choice.rows)
        return near === undefined ? [] : cells(database, ask, near, loose)
      }
    }
  }
}

/** Undefined: there is no memory to look at codes in. */
function nominate(
  sets: readonly CellSet[],
  { visible, embedding, limit }: Ask,
  rows: number,
): Near | undefined {
  try {
    return findNear(sets, visible, embedding, { rows, limit })
  } catch (error) {
    // What WebAssembly throws where its memory cannot grow; comparing all needs none of it.
    if (error instanceof RangeError) return undefined
    throw error
  }
}
