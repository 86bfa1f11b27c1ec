import {
  type Background,
  createPrioritySemaphore,
  currentBackground,
  inBackground,
} from '../kernel/background.ts'
import type { Questions } from '../kernel/questions.ts'
import type { IngestContext } from './context.ts'

/** Where questions never end, a piece of work is done so long after the one before it all the same. */
const standsMsMax = 500
/** Of what goes on together, documents or passages, while anybody asks: each piece is over soon. */
const pieceMax = 16

/** How ingestion gives way to questions. */
export interface GivingWay extends Pick<IngestContext, 'fewAtATime' | 'pieceOf'> {}

/**
 * Two pieces of work at a time. While anybody asks, smaller ones, one at a time, and each begins where nobody
 * waits for an answer: a question then meets no more than the rest of one piece. Who is waited for by
 * somebody gives way to nobody.
 */
export function createGivingWay(questions: Questions): GivingWay {
  // An import that is accepted is as patient as what is published.
  const patiently = (enter: () => Promise<() => void>, patience?: Background): Promise<() => void> =>
    currentBackground() === undefined ? inBackground(enter, patience) : enter()
  const [enter, enterAlone] = [createPrioritySemaphore(2), createPrioritySemaphore(1)]
  let endedAt = Number.NEGATIVE_INFINITY
  /** Gives what lets the next one in. */
  async function take(patience: Background | undefined): Promise<() => void> {
    const of = currentBackground() ?? patience
    for (;;) {
      const leave = await patiently(enter, patience)
      const leaveAlone = questions.areRecent() ? await patiently(enterAlone, patience) : undefined
      const leaveAll = (): void => {
        leaveAlone?.()
        leave()
      }
      const msLeft = endedAt + standsMsMax - performance.now()
      if (!questions.isOpen() || msLeft <= 0 || of?.isOver === true) return leaveAll
      // Nobody who may go on waits for one that does not.
      leaveAll()
      await questions.gap(msLeft)
    }
  }
  return {
    pieceOf: (most) => (questions.areRecent() ? Math.min(most, pieceMax) : most),
    async fewAtATime(work, patience) {
      const leave = await take(patience)
      try {
        return await work()
      } finally {
        endedAt = performance.now()
        leave()
      }
    },
  }
}
