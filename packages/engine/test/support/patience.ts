import { performance } from 'node:perf_hooks'
import type { Target } from './target.ts'

/** The server was too slow to answer, which says nothing of what it would have said. */
export class Overdue extends Error {}

/**
 * What the server gives a call. After it, lists are cut without a word, and other calls end in whatever broke
 * first.
 */
const deadlineMs = 3_000

/** The same target; throws `Overdue` where it met its own deadline, in the call or in one item of a batch. */
export const insisting = (target: Target, now: () => number = () => performance.now()): Target => ({
  name: target.name,
  async call(method, path, body) {
    const begun = now()
    const answer = await target.call(method, path, body)
    const isLate = now() - begun >= deadlineMs
    if (isLate || answer.text.includes('"deadline_exceeded"')) throw new Overdue(`${method} ${path}`)
    return answer
  },
})

/** What the work gives, begun again where the server was too slow for it. undefined: it was, each time. */
export async function patiently<T>(
  work: () => Promise<T>,
  again: () => void = () => {},
): Promise<T | undefined> {
  for (let tries = 3; ; tries -= 1) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof Overdue)) throw error
      if (tries === 1) return undefined
      again()
    }
  }
}
