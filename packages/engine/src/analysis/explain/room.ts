import type { Holds, Reason } from './reasons.ts'

/** Branches beside each other that are shown. */
const widthMax = 20

/** One attempt at a tree, or at a refutation inside it. */
interface Attempt {
  /** Questions on top of each other that are opened. */
  readonly levels: number
  readonly reasonsMax: number
  made: number
  /** Whether something was left out for want of levels. */
  isShallow: boolean
  readonly seen: Set<string | object>
}

const newAttempt = (levels: number, reasonsMax: number, alreadySeen: Iterable<string | object>): Attempt => ({
  levels,
  reasonsMax,
  made: 0,
  isShallow: false,
  seen: new Set(alreadySeen),
})

/** How much of a tree of reasons is shown. */
export type Room = ReturnType<typeof createRoom>

/** Room for at most so many reasons, and for each question once. */
export function createRoom(reasonsMax: number) {
  let attempt = newAttempt(Infinity, reasonsMax, [])

  return {
    /** As many levels as fit, so that what is near is shown before what is far. */
    fit(innerMax: number, build: () => readonly Reason[]): readonly Reason[] {
      const outer = attempt
      let bestReasons: readonly Reason[] = []
      for (let levels = 1; ; levels++) {
        // What stands around it counts as shown: exclusions may lead into each other in a circle.
        attempt = newAttempt(levels, innerMax, outer.seen)
        const reasons = build()
        const { made: reasonCount, isShallow } = attempt
        attempt = outer
        if (levels === 1 || reasonCount <= innerMax) bestReasons = reasons
        if (!isShallow || reasonCount > innerMax) return bestReasons
      }
    },

    branches<T>(
      candidates: readonly T[],
      holds: Holds,
      show: (candidate: T) => readonly Reason[],
    ): readonly Reason[] {
      const reasons: Reason[] = []
      for (const [index, candidate] of candidates.entries()) {
        if (index === widthMax || attempt.made > attempt.reasonsMax)
          return [...reasons, { kind: 'cut', holds, count: candidates.length - index }]
        const reasonsShown = show(candidate)
        attempt.made += reasonsShown.length
        reasons.push(...reasonsShown)
      }
      return reasons
    },

    /** Whether a question below so many others is opened. */
    opens(level: number): boolean {
      if (level < attempt.levels) return true
      attempt.isShallow = true
      return false
    },

    /** Whether this was not shown before. It is from now on. */
    isFirst(key: string | object): boolean {
      if (attempt.seen.has(key)) return false
      attempt.seen.add(key)
      return true
    },
  }
}
