import { setTimeout as pause } from 'node:timers/promises'

/** What this process is asked: work that nobody waits for gives way to it. */
export interface Questions {
  /** Whether somebody waits for an answer now. */
  isOpen(): boolean
  /** Whether anybody waited for one within the last second: they ask again before that. */
  areRecent(): boolean
  /** Resolves once nobody waits for an answer, or after so many milliseconds. */
  gap(msMax: number): Promise<void>
}

/** The same for whoever answers. */
export interface AnsweredQuestions extends Questions {
  during<T>(answer: () => Promise<T>): Promise<T>
}

const recentMs = 1_000

/** Nobody asks anything. */
export const noQuestions: Questions = {
  isOpen: () => false,
  areRecent: () => false,
  gap: async () => undefined,
}

/** Counts the questions that are answered {@link AnsweredQuestions.during}. */
export function createQuestions(): AnsweredQuestions {
  let open = 0
  let lastAt = Number.NEGATIVE_INFINITY
  let next = Promise.withResolvers<void>()
  return {
    isOpen: () => open > 0,
    areRecent: () => open > 0 || performance.now() - lastAt < recentMs,
    async gap(msMax) {
      if (open === 0 || msMax <= 0) return
      const over = new AbortController()
      await Promise.race([
        next.promise,
        pause(msMax, undefined, { signal: over.signal }).catch(() => undefined),
      ])
      over.abort()
    },
    async during(answer) {
      open += 1
      try {
        return await answer()
      } finally {
        open -= 1
        lastAt = performance.now()
        if (open === 0) {
          next.resolve()
          next = Promise.withResolvers()
        }
      }
    },
  }
}
