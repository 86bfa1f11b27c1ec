import { batchMax, type Check } from './fga.ts'

/** How many checks go in one call, by how long calls with such checks took. */
export interface CallSizes {
  /** How many of these, from the first on, go in the next call: at least one where there is one. */
  next(checks: readonly Check[]): number
  /** What a call took, in milliseconds; `isAnswered`: false where it failed, was given up or was late. */
  took(call: readonly Check[], ms: number, isAnswered: boolean): void
}

// OpenFGA takes so many of a call at once (docker-compose.yml): fewer would take it as long.
const sizeMin = 4
const sizeAtFirst = batchMax / 2

/**
 * A call should take `callMs` at most, a part of its time-out: of fifty checks through zones on a busy server
 * none was answered in time, of a few at a time all were. Kept by relation, since `parent` is one read and
 * `can_read` may be fifty: a call is as small as the slowest relation in it asks for. What took too long gets
 * smaller by as much at once; what was full and quick twice as large.
 */
export function createCallSizes(callMs: number): CallSizes {
  const sizes = new Map<string, number>()
  const sizeOf = ({ relation }: Check): number => sizes.get(relation) ?? sizeAtFirst
  return {
    next(checks) {
      let size = batchMax
      for (const [at, check] of checks.entries()) {
        size = Math.min(size, sizeOf(check))
        if (at >= size) return at
      }
      return checks.length
    },
    took(call, ms, isAnswered) {
      const isFull = isAnswered && ms < callMs / 4 && call.length >= Math.min(...call.map(sizeOf))
      const shorter = Math.max(sizeMin, Math.floor((call.length * callMs) / ms))
      for (const relation of new Set(call.map((check) => check.relation))) {
        const size = sizes.get(relation) ?? sizeAtFirst
        if (ms > callMs) sizes.set(relation, Math.min(size, shorter))
        else if (isFull) sizes.set(relation, Math.min(batchMax, 2 * size))
      }
    },
  }
}
