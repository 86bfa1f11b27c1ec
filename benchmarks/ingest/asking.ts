import { setTimeout as sleep } from 'node:timers/promises'

export interface Asked {
  /** Milliseconds of each answer, shortest first. */
  readonly ms: readonly number[]
  /** Answers that were no 200, or held no passage. */
  readonly bad: number
}

const topics = [
  'how to join a group',
  'what a proposal needs',
  'roles of a release',
  'upgrade of a cluster',
  'reporting of a weakness',
]
const pauseMs = 200

/**
 * Puts one question after the other, none of them twice, until it is over. `isOver` hears how many were
 * answered.
 */
export async function ask(url: string, token: string, isOver: (count: number) => boolean): Promise<Asked> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const ms: number[] = []
  let bad = 0
  while (!isOver(ms.length)) {
    const query = `${topics[ms.length % topics.length]} ${ms.length}`
    const since = performance.now()
    const response = await fetch(`${url}/retrieve`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ query }),
    })
    const answer = (await response.json()) as { readonly results?: readonly unknown[] }
    ms.push(performance.now() - since)
    if (!response.ok || (answer.results ?? []).length === 0) bad += 1
    await sleep(pauseMs)
  }
  return { ms: ms.sort((a, b) => a - b), bad }
}

export const quantile = ({ ms }: Asked, share: number): number =>
  ms[Math.min(ms.length - 1, Math.floor(ms.length * share))] ?? Number.NaN

export const shown = (asked: Asked): string =>
  `${asked.ms.length} questions, p50 ${quantile(asked, 0.5).toFixed(0)} ms, p95 ${quantile(asked, 0.95).toFixed(0)} ms, most ${quantile(asked, 1).toFixed(0)} ms, ${asked.bad} without an answer`
