import type { Database } from '../../store/sql.ts'
import type { Candidate } from '../candidate.ts'
import { type Costs, createCosts } from './costs.ts'
import { exact } from './exact.ts'
import { graph } from './graph.ts'
import { type Choice, pick } from './pick.ts'
import type { Ask, OnPlan, PlanName } from './plan.ts'

export interface NearestDeps {
  readonly database: Database
  readonly onPlan?: OnPlan | undefined
  readonly costs?: Costs
  /** Milliseconds of a clock that never goes back. */
  readonly ticks?: () => number
}

/** Nearest by inner product of unit vectors, best first; never fewer than there are, up to the limit. */
export type Nearest = (ask: Ask) => Promise<Candidate[]>

export function createNearest({
  database,
  onPlan,
  costs = createCosts(),
  ticks = () => performance.now(),
}: NearestDeps): Nearest {
  const sure = (_plan: 'exact' | 'cells', ask: Ask) => exact(database, ask)

  return async (ask) => {
    const { visible, limit } = ask
    const choice = pick(
      { visible: visible.chunks, documents: visible.docNos.length, corpus: visible.corpusChunks, limit },
      costs,
    )
    const started = ticks()
    let plan: PlanName = choice.plan
    let found = await run(choice, ask)
    const alone = ticks() - started
    costs.learn(choice.plan, choice.predictedMs, alone)
    // pgvector gives up without a word: what the walk lacks is found by a plan that does not.
    const fellBack = choice.plan === 'graph' && found.length < Math.min(limit, visible.chunks)
    if (fellBack) {
      plan = choice.otherwise
      found = await sure(choice.otherwise, ask)
    }
    onPlan?.({
      plan,
      predictedMs: choice.predictedMs,
      actualMs: fellBack ? ticks() - started : alone,
      visible: visible.chunks,
      corpus: visible.corpusChunks,
      returned: found.length,
      fellBack,
    })
    return found
  }

  function run(choice: Choice, ask: Ask): Promise<Candidate[]> {
    return choice.plan === 'graph' ? graph(database, ask, choice.walk) : sure(choice.plan, ask)
  }
}
