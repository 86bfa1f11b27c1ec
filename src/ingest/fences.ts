import type { Fga, Tuple } from '../authz/fga.ts'
import { eachOf } from '../kernel/each-of.ts'
import type { FgaObject } from '../kernel/ids.ts'

interface FencesDeps {
  readonly fga: Pick<Fga, 'read' | 'write'>
}

/**
 * What keeps a late Write of a hold out. Each Write of a hold brings a tuple along that must not exist yet,
 * its turn: who writes all turns of a hold that it does not know the end of has either come after a Write of
 * it, or keeps it out for good.
 */
export interface Fences {
  /** Keeps out all that this hold may still be about to write. */
  raise(hold: string): Promise<void>
  /** Whether the turn is taken. */
  has(hold: string, turn: number): Promise<boolean>
  /**
   * All Writes of this hold were answered, and there will be no more: its turns are swept a while later, in
   * the background. Until then they keep out what a proxy sends once more.
   */
  ended(hold: string, turns: number): void
}

/** Writes of one hold; more go under another id. With what a Write brings along, all turns fit one Write. */
export const turnsMax = 90
// A fence that was raised keeps out what is late by days; any other is of a hold that is over, or still has
// its leases. A day: a process by a clock that is hours off goes on with its work, though it answers nobody.
const sweepAfterMs = 24 * 3_600_000
// Longer than anything between us and OpenFGA tries a request again.
const sweepEndedAfterMs = 600_000
const sweepRaisedAfterMs = 7 * 24 * 3_600_000
const batchMax = 90
const triesMax = 3

/** Says when it was made. */
export const holdId = (now: number, random: string): string => `${now.toString(36)}.${random}`
const madeAt = (hold: string): number => Number.parseInt(hold.split('.')[0] ?? '', 36)

const fenceOf = (hold: string): FgaObject => `fence:${hold}`
/** The tuple that stands for a hold's turn, counted from 1. */
export const turnOf = (hold: string, turn: number): Tuple => ({
  user: `turn:${turn}`,
  relation: 'turn',
  object: fenceOf(hold),
})

const turnsOf = (hold: string, count: number): Tuple[] =>
  Array.from({ length: count }, (_, index) => turnOf(hold, index + 1))

/** Makes fences in OpenFGA, which keep a late Write of an ended hold out. */
export function createFences({ fga, now }: FencesDeps & { readonly now: () => number }): Fences {
  const endedFences: { readonly hold: string; readonly turns: number; readonly endedAt: number }[] = []

  return {
    async raise(hold) {
      for (let tries = 1; ; tries += 1) {
        try {
          return await fga.write({ writes: turnsOf(hold, turnsMax) })
        } catch (error) {
          // A Write that it races with makes OpenFGA refuse either of them.
          if (tries === triesMax) throw error
        }
      }
    },
    async has(hold, turn) {
      const { user, relation, object } = turnOf(hold, turn)
      for await (const _ of fga.read({ user, relation, object })) return true
      return false
    },
    ended(hold, turns) {
      if (turns > 0) endedFences.push({ hold, turns, endedAt: now() })
      // Each hold whole: the sweep, which finds what stays, looks for first turns.
      const deletes: Tuple[] = []
      let holds = 0
      for (const fence of endedFences) {
        if (now() - fence.endedAt < sweepEndedAfterMs) return
        if (deletes.length + fence.turns > batchMax) break
        deletes.push(...turnsOf(fence.hold, fence.turns))
        holds += 1
      }
      endedFences.splice(0, holds)
      void fga.write({ deletes }).catch(() => undefined)
    },
  }
}

/** Takes away the turns of holds that are long over. Gives how many. */
export async function sweepFences({ fga }: FencesDeps, now: number): Promise<number> {
  const old: string[] = []
  for await (const { object } of fga.read({ user: 'turn:1', relation: 'turn', object: 'fence:' })) {
    const hold = object.slice('fence:'.length)
    // One that tells no time is none of ours.
    if (!(now - madeAt(hold) < sweepAfterMs)) old.push(hold)
  }
  let swept = 0
  await eachOf(old, async (hold) => {
    const turns: Tuple[] = []
    for await (const turn of fga.read({ object: fenceOf(hold) })) turns.push(turn)
    const isRaised = turns.some(({ user }) => user === `turn:${turnsMax}`)
    if (isRaised && now - madeAt(hold) < sweepRaisedAfterMs) return
    await fga.write({ deletes: turns.map(({ user, relation, object }) => ({ user, relation, object })) })
    swept += turns.length
  })
  return swept
}
