import { type RunningOptions, startService } from '../support/running.ts'
import { ask, chooseAskers } from './ask.ts'
import { readKubernetes, sample } from './data.ts'
import { readVectors } from './exact.ts'
import { loadKubernetes } from './load.ts'
import { createOracle, verifyOracle } from './oracle.ts'
import { createRandom } from './random.ts'
import type { Report } from './report.ts'

export interface RunOptions extends RunningOptions {
  /** Folder of the data set. */
  readonly data: string
  /** Of the documents, 0 to 1. */
  readonly share: number
  readonly seed: number
  readonly people: number
  readonly queriesEach: number
  readonly say: (text: string) => void
}

/** Starts the service, takes the data in, asks as its people, and compares with what they may see. */
export async function runKubernetes(options: RunOptions): Promise<Report> {
  const { say } = options
  const random = createRandom(options.seed)
  const whole = await readKubernetes(options.data)
  // Over all documents, where the digests are; then narrowed to those that are taken in.
  const oracle = createOracle(whole.tuples)
  const verified = verifyOracle(oracle, whole)
  const data = sample(whole, options.share, random)
  const taken = new Set(data.documents.map(({ id }) => id))
  const people = whole.people.map((handle) => ({ handle, visible: narrowed(oracle.visible(handle), taken) }))
  const askers = chooseAskers(people, options.people, random)

  await using running = await startService(options)
  say(`Taking in ${data.documents.length} documents on ${running.backend}`)
  const loaded = await loadKubernetes(running, data, say)
  // Before the comparison's own copy of all vectors: service, database and data set, in one process.
  const peakMegabytes = process.resourceUsage().maxRSS / 1_024
  const exact = await readVectors(running.ground.database)
  const asked = await ask({ running, data, exact, askers, queriesEach: options.queriesEach, random, say })
  return {
    ...loaded,
    backend: running.backend,
    chunks: exact.chunks,
    people: askers.length,
    asked,
    verified,
    peakMegabytes,
  }
}

const narrowed = (ids: ReadonlySet<string>, taken: ReadonlySet<string>): ReadonlySet<string> =>
  new Set([...ids].filter((id) => taken.has(id)))
