import { agentName, type Running } from '../support/running.ts'
import type { KubernetesData } from './data.ts'
import type { ExactSearch } from './exact.ts'
import { lendAll } from './load.ts'
import type { Random } from './random.ts'

/** A person of the data set as reports name them. */
export interface Asker {
  readonly handle: string
  readonly pseudonym: string
  readonly visible: ReadonlySet<string>
}

export interface Asked {
  readonly questions: number
  readonly asAgent: number
  /** Released documents that are not in the person's truth, by pseudonym. */
  readonly leaks: readonly string[]
  /** Answers with fewer passages than the person may read, or that say that they are not complete. */
  readonly short: number
  /** Mean over the questions in `vector`: passages found of those that an exact search finds. */
  readonly recall: number
  readonly milliseconds: { readonly vector: readonly number[]; readonly hybrid: readonly number[] }
}

export interface AskOptions {
  readonly running: Running
  readonly data: KubernetesData
  readonly exact: ExactSearch
  readonly askers: readonly Asker[]
  readonly queriesEach: number
  readonly random: Random
  readonly say: (text: string) => void
}

const topK = 10
// One question of five is asked by the agent, on the person's behalf.
const agentShare = 0.2
// The database rounds vectors and adds in another order: passages this near the last one are as good.
const tie = 1e-6

/** Asks every question twice, by vectors alone and hybrid, as people and as the agent that acts for them. */
export async function ask(options: AskOptions): Promise<Asked> {
  const { running, data, exact, askers, queriesEach, random, say } = options
  const embedder = embedderOf(running)
  const leaks: string[] = []
  const recalls: number[] = []
  const milliseconds = { vector: [] as number[], hybrid: [] as number[] }
  let short = 0
  let asAgent = 0
  for (const [index, asker] of askers.entries()) {
    const delegation = await lendAll(running, asker.handle, data)
    for (const { text } of random.pick(data.queries, queriesEach)) {
      const byAgent = random.next() < agentShare
      if (byAgent) asAgent += 1
      const best = exact.best(await embedder.embedQuery(text), asker.visible, topK)
      for (const mode of ['vector', 'hybrid'] as const) {
        const token = await running.token({
          sub: asker.handle,
          ...(byAgent && {
            client_id: agentName,
            act: { sub: agentName, iss: running.issuer.issuer },
            delegation,
          }),
        })
        const started = performance.now()
        const answer = await retrieve(running, token, text, mode)
        milliseconds[mode].push(performance.now() - started)
        for (const { document_id } of answer.results) {
          if (!asker.visible.has(document_id))
            leaks.push(`${asker.pseudonym} (${mode}${byAgent ? ', agent' : ''})`)
        }
        if (!answer.complete || answer.results.length < best.chunkIds.size) short += 1
        if (mode === 'vector' && best.chunkIds.size > 0) recalls.push(recallOf(answer, best))
      }
    }
    if ((index + 1) % 10 === 0) say(`${index + 1} of ${askers.length} people have asked`)
  }
  return {
    questions: recalls.length,
    asAgent,
    leaks,
    short,
    recall: recalls.reduce((sum, value) => sum + value, 0) / Math.max(1, recalls.length),
    milliseconds,
  }
}

/** People spread evenly over the counts of what they can view, the fewest and the most included. */
export function chooseAskers(
  people: readonly Omit<Asker, 'pseudonym'>[],
  count: number,
  random: Random,
): Asker[] {
  // Numbers are drawn, so that they say nothing of a place in the list of handles.
  const numbered = random
    .pick(people, people.length)
    .map((person, index) => ({ ...person, pseudonym: `person-${index + 1}` }))
  const sorted = numbered
    .filter(({ visible }) => visible.size > 0)
    .sort((a, b) => a.visible.size - b.visible.size)
  if (sorted.length <= count) return sorted
  return Array.from(
    { length: count },
    (_, index) => sorted[Math.round((index * (sorted.length - 1)) / (count - 1))],
  ).flatMap((asker) => (asker === undefined ? [] : [asker]))
}

interface RetrieveAnswer {
  readonly results: readonly { readonly chunk_id: string; readonly document_id: string }[]
  readonly complete: boolean
  readonly mode_used: string
}

async function retrieve(
  running: Running,
  token: string,
  query: string,
  mode: string,
): Promise<RetrieveAnswer> {
  const body = JSON.stringify({ query, mode, top_k: topK })
  const answer = (await running.call('POST', '/retrieve', token, body)) as RetrieveAnswer
  if (answer.mode_used !== mode) throw new Error(`Asked for ${mode}, answered by ${answer.mode_used}.`)
  return answer
}

function recallOf({ results }: RetrieveAnswer, best: ReturnType<ExactSearch['best']>): number {
  const found = results.filter(
    ({ chunk_id }) =>
      best.chunkIds.has(chunk_id) || (best.score(chunk_id) ?? Number.NEGATIVE_INFINITY) >= best.least - tie,
  )
  return Math.min(found.length, best.chunkIds.size) / best.chunkIds.size
}

function embedderOf({ ground }: Running) {
  if (!ground.embeddings.available) throw new Error('There is no embedding model.')
  return ground.embeddings.embedder
}
