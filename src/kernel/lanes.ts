import { isPatient } from './patient.ts'

/** Waits for a place; what it gives gives it back. */
export type Enter = () => Promise<() => void>

/** Of so many places that are given to others, patient work gets the next: it is slow then, and never stands still. */
const shareOfPatient = 8

/** So many places, for which two lanes wait: {@link isPatient} is the second. Each in the order in which it came. */
export function createLanes(places: number): Enter {
  const urgent: (() => void)[] = []
  const patient: (() => void)[] = []
  let free = places
  let passed = 0

  function next(): (() => void) | undefined {
    if (patient.length === 0 || (urgent.length > 0 && passed < shareOfPatient)) {
      passed += 1
      return urgent.shift()
    }
    passed = 0
    return patient.shift()
  }

  function leave(): void {
    const go = next()
    if (go === undefined) free += 1
    else go()
  }

  return async () => {
    if (free > 0) free -= 1
    else await new Promise<void>((resolve) => (isPatient() ? patient : urgent).push(resolve))
    return leave
  }
}
