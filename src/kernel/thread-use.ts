import type { ResourceLimits, Worker } from 'node:worker_threads'

/** What a thread has used so far. */
export interface ThreadUse {
  /** Of the heap and of the memory beside it. */
  readonly bytes: number
  readonly cpuMs: number
}

/** Nothing for a thread that has ended. */
export async function threadUse(worker: Worker): Promise<ThreadUse> {
  try {
    const [heap, cpu] = await Promise.all([worker.getHeapStatistics(), worker.cpuUsage()])
    return { bytes: heap.used_heap_size + heap.external_memory, cpuMs: (cpu.user + cpu.system) / 1_000 }
  } catch {
    return { bytes: 0, cpuMs: 0 }
  }
}

/**
 * V8's own limits of a thread that somebody ends from outside once it has used so much: a quarter above. One
 * that ends at V8's limit may take the process with it, since Node tears its heap down by a collection, which
 * that limit stops.
 */
export const limitsAbove = (bytesMax: number): ResourceLimits => ({
  maxOldGenerationSizeMb: Math.ceil((1.25 * bytesMax) / (1024 * 1024)),
})
