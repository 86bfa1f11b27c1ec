/** Draws that are the same for the same seed. */
export interface Random {
  /** At least 0, less than 1. */
  next(): number
  /** `count` distinct items in drawn order; all where there are fewer. */
  pick<T>(items: readonly T[], count: number): T[]
}

/** mulberry32 (Tommy Ettinger, public domain): small, and good enough to draw samples. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
  return {
    next,
    pick(items, count) {
      const rest = [...items]
      const wanted = Math.min(count, rest.length)
      for (let at = 0; at < wanted; at++) {
        const other = at + Math.floor(next() * (rest.length - at))
        const [one, two] = [rest[at], rest[other]]
        if (one === undefined || two === undefined) break
        rest[at] = two
        rest[other] = one
      }
      return rest.slice(0, wanted)
    },
  }
}
