import { readFileSync } from 'node:fs'

/** As far as it is used here: TypeScript has its types only among those of browsers. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Memory: new (pages: {
    readonly initial: number
    readonly maximum?: number
    readonly shared?: boolean
  }) => Memory
  readonly Instance: new (
    module: object,
    imports: {
      readonly scanner: { readonly scratch: Memory; readonly codes: Memory; readonly documents: Memory }
    },
  ) => { readonly exports: SimdExports }
}

/** A WebAssembly memory. Pages have 64 KiB. */
export interface Memory {
  readonly buffer: ArrayBufferLike
  grow(pages: number): number
}

/** What several threads see: handed to another, it is the same. */
export interface SharedMemory extends Memory {
  readonly buffer: SharedArrayBuffer
}

interface Global {
  value: number
}

/** Of simd.wat. */
export interface SimdExports
  extends Readonly<
    Record<
      | 'projections'
      | 'counts'
      | 'order'
      | 'slots'
      | 'scores'
      | 'hitSlots'
      | 'hitScores'
      | 'queued'
      | 'bits'
      | 'runs'
      | 'collectedSlots'
      | 'collectedPartitions'
      | 'partitionSteps'
      | 'partitionScores'
      | 'step'
      | 'above',
      Global
    >
  > {
  products(vectors: number, count: number, bytes: number, query: number, target: number, unit: number): void
  gather(runs: number, dense: number): number
  collect(bytes: number, room: number): number
  countSteps(count: number): void
  choose(count: number, room: number): void
  scan(
    slot: number,
    count: number,
    unit: number,
    base: number,
    lateMargin: number,
    rows: number,
    hits: number,
  ): number
  keepBest(hits: number, rows: number): number
}

// 4 GB: codes of 40 million passages.
const pagesMax = 65_536

/** Memory of this thread alone, which grows without a limit of its own. */
export const ownMemory = (pages: number): Memory => new WebAssembly.Memory({ initial: pages })

/** Memory that worker threads can read while this one writes. */
export const sharedMemory = (pages: number): SharedMemory =>
  new WebAssembly.Memory({ initial: pages, maximum: pagesMax, shared: true }) as SharedMemory

const compiled = new WebAssembly.Module(readFileSync(new URL('./simd.wasm', import.meta.url)))

/** The SIMD routines over these memories. */
export const instantiate = (memories: {
  readonly scratch: Memory
  readonly codes: SharedMemory
  readonly documents: SharedMemory
}): SimdExports => new WebAssembly.Instance(compiled, { scanner: memories }).exports
