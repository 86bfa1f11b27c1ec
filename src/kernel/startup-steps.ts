/** Does the work, and tells what it is once it takes so long that one wonders. */
export type Step = <T>(doing: string, work: () => Promise<T>) => Promise<T>

const afterMsDefault = 2_000

/** Steps of a start, which says nothing else until it is over: on a busy machine that looks as if it hung. */
export const createStartupSteps =
  (tell: (doing: string) => void, afterMs = afterMsDefault): Step =>
  async (doing, task) => {
    const timer = setTimeout(tell, afterMs, doing)
    try {
      return await task()
    } finally {
      clearTimeout(timer)
    }
  }
