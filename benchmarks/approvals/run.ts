import { setTimeout as delay } from 'node:timers/promises'
import { ask, use, wait } from './asking.ts'
import { agentsCount, openPairTarget, openPgliteTarget, type Target } from './target.ts'

/**
 * Approvals in blocking mode: from the moment in which a person's yes is sent until the agent that waits has
 * its answer, and until it has read what was agreed to; beside the time that the yes itself takes. And how
 * many of 20 parallel uses of a grant for one use are let through. On PGlite in one process, and on native
 * Postgres with two (the agent asks and waits at one, the person decides at the other), where
 * TEST_DATABASE_URL (a database is made there), OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN are set.
 * EMBEDDINGS_MODEL_PATH: a folder with the local model. Ends with 1 where a figure is missed.
 */
const { TEST_DATABASE_URL, OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN, EMBEDDINGS_MODEL_PATH } = process.env

// An agent is made ten offers an hour. Who loses a race is offered the same once more: a race takes all ten.
const perAgent = 10
const racers = 5
const parallelUses = 20

interface Sample {
  readonly decided: number
  readonly answered: number
  readonly released: number
}

const missed: string[] = []
if (EMBEDDINGS_MODEL_PATH === undefined) throw new Error('Set EMBEDDINGS_MODEL_PATH.')
await measure(await openPgliteTarget(EMBEDDINGS_MODEL_PATH))
if (TEST_DATABASE_URL !== undefined && OPENFGA_TEST_URL !== undefined && OPENFGA_TEST_TOKEN !== undefined)
  await measure(await openPairTarget(TEST_DATABASE_URL, { url: OPENFGA_TEST_URL, token: OPENFGA_TEST_TOKEN }))
else console.log('Postgres × OpenFGA: left out, it is not set up here')
if (missed.length > 0) {
  console.log(`missed: ${missed.join(', ')}`)
  process.exitCode = 1
}

async function measure(opened: Target): Promise<void> {
  await using target = opened
  const samples: Sample[] = []
  const passed: number[] = []
  const askers = agentsCount - racers
  for (let index = 0; index < askers * perAgent; index += 1)
    samples.push(await approve(target, `bench-bot-${index % askers}`))
  for (let racer = askers; racer < agentsCount; racer += 1)
    passed.push(await race(target, `bench-bot-${racer}`))
  // The first ones warm up.
  const counted = samples.slice(askers)
  const of = (pick: (sample: Sample) => number) => counted.map(pick)
  console.log(`${target.name}, ${counted.length} approvals`)
  console.log(`  the yes is answered:              ${quantiles(of(({ decided }) => decided))}`)
  console.log(`  the waiting agent is answered:    ${quantiles(of(({ answered }) => answered))}`)
  console.log(`  it has read what was agreed to:   ${quantiles(of(({ released }) => released))}`)
  const beyond = quantile(
    of(({ decided, answered }) => answered / decided),
    0.5,
  )
  console.log(`  waiting agent / the yes itself:   p50 ${beyond.toFixed(2)}`)
  console.log(
    `  ${parallelUses} parallel uses of a grant for one use, ${passed.length} times: ${passed.join(' ')} let through`,
  )
  if (passed.some((count) => count !== 1)) missed.push(`${target.name}: one use is one use`)
  if (
    quantile(
      of(({ answered }) => answered),
      0.95,
    ) > 1_000
  )
    missed.push(`${target.name}: answered within 1 s`)
}

async function approve(target: Target, agent: string): Promise<Sample> {
  const { question, id, decide } = await ask(target, agent)
  const waiting = wait(target, agent, id)
  await delay(100)
  const began = performance.now()
  const deciding = decide().then(() => performance.now() - began)
  const grant = await waiting
  const answered = performance.now() - began
  const count = await use(target, await target.agentToken(agent), { question, grant })
  const released = performance.now() - began
  if (count !== 1) throw new Error('What was agreed to was not released.')
  return { decided: await deciding, answered, released }
}

/** How many of so many uses at once are let through, half of them at each process. */
async function race(target: Target, agent: string): Promise<number> {
  const { question, id, decide } = await ask(target, agent)
  const waiting = wait(target, agent, id)
  await decide()
  const grant = await waiting
  const token = await target.agentToken(agent)
  const urls = [target.agentUrl, target.personUrl]
  const uses = Array.from({ length: parallelUses }, (_, at) =>
    use({ agentUrl: urls[at % 2] ?? '' }, token, { question, grant }),
  )
  return (await Promise.all(uses)).reduce((sum, count) => sum + count, 0)
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

function quantiles(values: readonly number[]): string {
  return [0.5, 0.95, 1].map((share) => `p${share * 100} ${quantile(values, share).toFixed(1)} ms`).join(', ')
}
