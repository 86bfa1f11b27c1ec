import { setTimeout as sleep } from 'node:timers/promises'

/** What one request of a kind did: its latency counts from when it was due, not from when it could begin. */
export interface Done {
  readonly kind: string
  readonly atMs: number
  readonly tookMs: number
  /** `refused`: 429, 503, or no answer. `wrong`: neither what was asked for nor a refusal. */
  readonly outcome: 'done' | 'refused' | 'wrong'
}

export interface Task {
  readonly kind: string
  readonly perSecond: number
  /** Gives what became of it. What it throws counts as wrong, by its message. */
  run(): Promise<Done['outcome']>
}

const atOnceMax = 40

/**
 * Runs each task at its own pace, however late the answers are (no coordinated omission), until `isOver`. Of
 * one kind {@link atOnceMax} are under way at most: one more is counted as refused.
 */
export async function pace(
  tasks: readonly Task[],
  isOver: () => boolean,
  note: (done: Done, why?: string) => void,
): Promise<void> {
  await Promise.all(
    tasks.map(async ({ kind, perSecond, run }) => {
      const underWay = new Set<Promise<void>>()
      const gapMs = 1_000 / perSecond
      for (let due = performance.now() + Math.random() * gapMs; !isOver(); due += gapMs) {
        await sleep(Math.max(0, due - performance.now()))
        const ended = (outcome: Done['outcome'], why?: string): void =>
          note({ kind, atMs: due, tookMs: performance.now() - due, outcome }, why)
        if (underWay.size >= atOnceMax) {
          ended('refused')
          continue
        }
        const one = run()
          .then((outcome) => ended(outcome))
          .catch((error: unknown) => ended('wrong', String(error)))
          .finally(() => underWay.delete(one))
        underWay.add(one)
      }
      await Promise.all(underWay)
    }),
  )
}
