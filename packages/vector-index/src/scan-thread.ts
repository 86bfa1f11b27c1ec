import { parentPort, workerData } from 'node:worker_threads'
import { type BestSlots, type ScanQuery, scanLists } from './probe.ts'
import type { SharedCodes } from './quantized-codes.ts'
import { createSimdScanner, type SimdScanner } from './simd.ts'

type Sets = readonly { readonly generation: number; readonly codes: SharedCodes }[]

/** What there is from now on; or what is asked of it, and how many chunks lie in each. */
export type ToThread =
  | { readonly kind: 'use'; readonly sets: Sets }
  | {
      readonly kind: 'look'
      readonly sets: readonly { readonly generation: number; readonly size: number }[]
      readonly look: ScanQuery
    }

/** What was seen, and the milliseconds that it took. Undefined: the thread can be asked from now on. */
export type FromThread =
  | { readonly best: readonly BestSlots[]; readonly tookMs: number }
  | { readonly failed: string }
  | undefined

let kernels = new Map<number, SimdScanner>()

function use(sets: Sets): void {
  kernels = new Map(
    sets.map(({ generation, codes }) => [generation, kernels.get(generation) ?? createSimdScanner(codes)]),
  )
}

function answer({ sets, look }: Extract<ToThread, { kind: 'look' }>): FromThread {
  const started = performance.now()
  try {
    const best = sets.map(({ generation, size }) => {
      const kernel = kernels.get(generation)
      if (kernel === undefined) throw new Error('A set that is not known here.')
      const { slots, scores } = scanLists(kernel, size, look)
      // What lies in memory of the kernel is copied with all of that.
      return { slots: slots.slice(), scores: scores.slice() }
    })
    return { best, tookMs: performance.now() - started }
  } catch (error) {
    return { failed: error instanceof Error ? error.message : 'thrown value' }
  }
}

use(workerData as Sets)
parentPort?.on('message', (message: ToThread) => {
  if (message.kind === 'use') use(message.sets)
  else parentPort?.postMessage(answer(message))
})
parentPort?.postMessage(undefined)
