import { parentPort, workerData } from 'node:worker_threads'
import { type BestSlots, type ScanQuery, scanLists } from './probe.ts'
import type { SharedCodes } from './quantized-codes.ts'
import { SimdScanner } from './simd.ts'

type SharedLists = readonly { readonly generation: number; readonly codes: SharedCodes }[]

/** What there is from now on; or what is asked of it, and how many chunks lie in each. */
export type ToThread =
  | { readonly kind: 'use'; readonly lists: SharedLists }
  | {
      readonly kind: 'scan'
      readonly lists: readonly { readonly generation: number; readonly size: number }[]
      readonly query: ScanQuery
    }

/**
 * The best of what was scanned, and the milliseconds that it took. Undefined: the thread can be asked from
 * now on.
 */
export type FromThread =
  | { readonly best: readonly BestSlots[]; readonly tookMs: number }
  | { readonly failed: string }
  | undefined

let scanners = new Map<number, SimdScanner>()

function use(lists: SharedLists): void {
  scanners = new Map(
    lists.map(({ generation, codes }) => [generation, scanners.get(generation) ?? new SimdScanner(codes)]),
  )
}

function answer({ lists, query }: Extract<ToThread, { kind: 'scan' }>): FromThread {
  const started = performance.now()
  try {
    const bestSlots = lists.map(({ generation, size }) => {
      const scanner = scanners.get(generation)
      if (scanner === undefined) throw new Error('A generation that this thread does not know.')
      const { slots, scores } = scanLists(scanner, size, query)
      // What lies in memory of the scanner is copied with all of that.
      return { slots: slots.slice(), scores: scores.slice() }
    })
    return { best: bestSlots, tookMs: performance.now() - started }
  } catch (error) {
    return { failed: error instanceof Error ? error.message : 'thrown value' }
  }
}

use(workerData as SharedLists)
parentPort?.on('message', (message: ToThread) => {
  if (message.kind === 'use') use(message.lists)
  else parentPort?.postMessage(answer(message))
})
parentPort?.postMessage(undefined)
