import { AsyncLocalStorage } from 'node:async_hooks'

/** Work that nobody waits for, until somebody does. */
export interface Background {
  isOver: boolean
}

const patience = new AsyncLocalStorage<Background>()

/**
 * Runs work that nobody waits for, such as taking a document in: questions go before it wherever both wait
 * for one thing. `background`: whose patience it is, for whoever comes to wait for it.
 */
export const inBackground = <T>(task: () => T, background: Background = { isOver: false }): T =>
  patience.run(background, task)

/** Undefined: this is no part of work that is done {@link inBackground}. */
export const currentBackground = (): Background | undefined => patience.getStore()

/** Whether this is part of work that is done {@link inBackground}, and nobody has come to wait for it. */
export const isInBackground = (): boolean => patience.getStore()?.isOver === false

/** Waits for a place; what it gives gives it back. */
type Acquire = () => Promise<() => void>

/**
 * Of so many places that are given to others, patient work gets the next: it is slow then, and never stands
 * still.
 */
const shareOfPatient = 8

/**
 * So many places, for which two lanes wait: {@link currentBackground} is the second. Each in the order in
 * which it came.
 */
export function createPrioritySemaphore(permits: number): Acquire {
  const urgent: (() => void)[] = []
  const patient: { readonly of: Background; readonly go: () => void }[] = []
  let free = permits
  let passed = 0

  function takeNext(): (() => void) | undefined {
    // Somebody urgent has come to wait for these since.
    const hurried = patient.findIndex((waiter) => waiter.of.isOver)
    if (hurried >= 0) return patient.splice(hurried, 1)[0]?.go
    if (patient.length === 0 || (urgent.length > 0 && passed < shareOfPatient)) {
      passed += 1
      return urgent.shift()
    }
    passed = 0
    return patient.shift()?.go
  }

  function leave(): void {
    const go = takeNext()
    if (go === undefined) free += 1
    else go()
  }

  return async () => {
    const background = currentBackground()
    if (free > 0) free -= 1
    else
      await new Promise<void>((go) => {
        if (background?.isOver === false) patient.push({ of: background, go })
        else urgent.push(go)
      })
    return leave
  }
}
