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
      readonly kernel: { readonly own: Memory; readonly codes: Memory; readonly documents: Memory }
    },
  ) => { readonly exports: Exports }
}

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
export interface Exports
  extends Readonly<
    Record<
      | 'along'
      | 'counts'
      | 'order'
      | 'slots'
      | 'scores'
      | 'seenSlots'
      | 'seenScores'
      | 'blocks'
      | 'bits'
      | 'runs'
      | 'metSlots'
      | 'metCells'
      | 'cellSteps'
      | 'cellScores'
      | 'step'
      | 'above',
      Global
    >
  > {
  products(vectors: number, count: number, bytes: number, question: number, to: number, unit: number): void
  gather(runs: number, dense: number): number
  meet(bytes: number, room: number): number
  survey(count: number): void
  choose(count: number, room: number): void
  look(
    from: number,
    count: number,
    unit: number,
    more: number,
    late: number,
    rows: number,
    seen: number,
  ): number
  keep(seen: number, rows: number): number
}

// 4 GB: codes of 40 million passages.
const pagesMax = 65_536

export const ownMemory = (pages: number): Memory => new WebAssembly.Memory({ initial: pages })

export const sharedMemory = (pages: number): SharedMemory =>
  new WebAssembly.Memory({ initial: pages, maximum: pagesMax, shared: true }) as SharedMemory

const compiled = new WebAssembly.Module(readFileSync(new URL('./simd.wasm', import.meta.url)))

export const instantiate = (memories: {
  readonly own: Memory
  readonly codes: SharedMemory
  readonly documents: SharedMemory
}): Exports => new WebAssembly.Instance(compiled, { kernel: memories }).exports
