import type { CellSet, Lookers } from '@remit/vector-index'
import { findNearBy } from '@remit/vector-index'
import type { Database } from '../../../store/sql.ts'
import type { FoundChunk } from '../port.ts'
import { type Costs, createCosts } from './costs.ts'
import { exact } from './exact.ts'
import { graph } from './hnsw.ts'
import { cells, looseOf } from './ivf.ts'
import type { Ask, OnPlan } from './plan.ts'
import { type Choice, pick } from './planner.ts'

export interface NearestDeps {
  readonly database: Database
  /** Undefined: there are never any. */
  readonly cells?: { sets(): readonly CellSet[]; readonly lookers?: Pick<Lookers, 'look'> } | undefined
  readonly onPlan?: OnPlan | undefined
  readonly costs?: Costs
  /** Milliseconds of a clock that never goes back. */
  readonly ticks?: () => number
}

/** Nearest by inner product of unit vectors, best first; never fewer than there are, up to the limit. */
export type Nearest = (ask: Ask) => Promise<FoundChunk[]>

/** Picks a plan for each question, and takes another where the first finds too little. */
export function createNearest({
  database,
  cells: corpusCells,
  onPlan,
  costs = createCosts(),
  ticks = () => performance.now(),
}: NearestDeps): Nearest {
  /** Questions that are searched for now. */
  let asked = 0

  return async (ask) => {
    asked += 1
    try {
      return await search(ask)
    } finally {
      asked -= 1
    }
  }

  async function search(ask: Ask): Promise<FoundChunk[]> {
    const { visible, limit, like } = ask
    const started = ticks()
    const sets = corpusCells?.sets() ?? []
    const loose = sets.length === 0 ? undefined : looseOf(sets, visible)
    // Where there is more of it than of what it is to be like, that would take too long.
    const by = like === undefined || like.chunks < visible.chunks ? visible : like
    const choice = pick(
      {
        visible: by.chunks,
        documents: by.size,
        corpus: by.corpusChunks,
        limit,
        ...(loose && {
          loose: by === visible ? loose.length : looseOf(sets, by).length,
          cells: Math.min(...sets.map(({ codes }) => codes.cells)),
          untold: Math.max(...sets.map(({ untold }) => untold)),
        }),
      },
      costs,
    )
    const ran = await run(choice, ask, sets, loose)
    let { found } = ran
    if (like !== undefined) return found
    const alone = ticks() - started
    // How many others asked at the same time says nothing of what the plan takes.
    costs.learn(choice.plan, choice.predictedMs, alone - ran.waitedMs)
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
    return found
  }

  async function run(
    choice: Choice,
    ask: Ask,
    sets: readonly CellSet[],
    loose: Int32Array = new Int32Array(),
  ): Promise<{ readonly found: FoundChunk[]; readonly waitedMs: number }> {
    switch (choice.plan) {
      case 'exact':
        return { found: await exact(database, ask), waitedMs: 0 }
      case 'graph':
        return { found: await graph(database, ask, choice.walk), waitedMs: 0 }
      case 'cells': {
        // Alone, a question is answered sooner where nobody has to be woken for it.
        const lookers = asked > 1 ? corpusCells?.lookers : undefined
        const near = await nominate(lookers, sets, ask, choice.rows)
        if (near === undefined) return { found: [], waitedMs: 0 }
        return { found: await cells(database, ask, near, loose), waitedMs: near.waitedMs }
      }
    }
  }
}

/** Undefined: there is no memory to look at codes in. */
async function nominate(
  lookers: Pick<Lookers, 'look'> | undefined,
  sets: readonly CellSet[],
  { visible, embedding }: Ask,
  rows: number,
): Promise<Awaited<ReturnType<typeof findNearBy>> | undefined> {
  try {
    return await findNearBy(lookers, sets, visible, embedding, rows)
  } catch (error) {
    // What WebAssembly throws where its memory cannot grow; comparing all needs none of it.
    if (error instanceof RangeError) return undefined
    throw error
  }
}
