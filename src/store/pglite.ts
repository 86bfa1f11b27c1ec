import { once } from 'node:events'
import { mkdir, readFile, statfs } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { Worker } from 'node:worker_threads'
import { createPgDatabase } from './pg.ts'
import { socketPath } from './socket.ts'
import type { Database } from './sql.ts'
import { createWatch } from './watch.ts'

/** Where the data and the socket lie, and who hears that the database will not answer again. */
export interface PgliteOptions {
  /** Folder on disk for the data; made when missing. Left out: in memory, gone at close. */
  readonly dataDir?: string
  /** Folder (0700) in which the Unix socket is made. */
  readonly socketDir: string
  /** A dump to start from, as {@link PgliteDatabase.dump} gives it. */
  readonly loadDump?: Uint8Array
  /**
   * Called once when it will never answer again: its disk is full, its thread has ended, or a statement has
   * no end. What was acknowledged is on the disk, and an opening anew recovers it. Left out: statements are
   * not watched.
   */
  readonly onLost?: (reason: string) => void
  /** Milliseconds that a statement may go unanswered while nothing works on it. Defaults to 30,000. */
  readonly unansweredMs?: number
}

/** The embedded database. */
export interface PgliteDatabase extends Database {
  /** The whole data directory as a tar, for tests that restore it. */
  dump(): Promise<Uint8Array>
}

/**
 * Opens PGlite in a worker thread of its own and reaches it by `pg` over a Unix socket.
 * Whoever reaches the socket is superuser: the folder must be 0700. One session: a pool of one.
 */
export async function openPglite(options: PgliteOptions): Promise<PgliteDatabase> {
  const { dataDir, socketDir, loadDump, onLost, unansweredMs = 30_000 } = options
  const socket = await socketPath(socketDir, '.s.PGSQL.5432')
  if (dataDir !== undefined) await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const worker = new Worker(new URL('./pglite-worker.ts', import.meta.url), {
    workerData: { dataDir, socket: socket.path, loadDump, program: await compiledPostgres() },
  })
  const exited = once(worker, 'exit')
  try {
    await answer(worker, 'ready')
  } catch (error) {
    await worker.terminate()
    await socket.remove()
    throw error
  }
  const watching = onLost && watchOver(worker, { dataDir, onLost, unansweredMs })
  const database = createPgDatabase({
    kind: 'pglite',
    pool: { host: join(socket.path, '..'), port: 5432, user: 'postgres', database: 'postgres', max: 1 },
    ...(watching && { watch: watching.watch }),
    onClose: async () => {
      watching?.end()
      worker.postMessage('close')
      await exited
      await socket.remove()
    },
  })
  return {
    ...database,
    async dump() {
      const dumped = answer(worker, 'dump')
      worker.postMessage('dump')
      return (await dumped) as Uint8Array
    },
  }
}

interface Watching extends Required<Pick<PgliteOptions, 'onLost' | 'unansweredMs'>> {
  readonly dataDir: string | undefined
}

// One segment of Postgres' log.
const bytesNeeded = 16 * 1_024 * 1_024

async function isFull(dataDir: string | undefined): Promise<boolean> {
  if (dataDir === undefined) return false
  const { bavail, bsize } = await statfs(dataDir)
  return bavail * bsize < bytesNeeded
}

/** Tells once that the thread is no good any more, until `end` says that it is meant to be. */
function watchOver(worker: Worker, { dataDir, onLost, unansweredMs }: Watching) {
  let isOver = false
  const lost = (reason: string): void => {
    if (!isOver) onLost(reason)
    isOver = true
  }
  worker.on('message', ({ kind, value }: Reply) => {
    if (kind === 'broken') lost(String(value))
  })
  worker.on('error', (error) => lost(error.message))
  worker.on('exit', () => lost('its thread has ended'))
  // One question for all that wait for its answer.
  let pendingProbe: Promise<unknown> | undefined
  const listens = (): Promise<unknown> => {
    if (pendingProbe === undefined) {
      pendingProbe = answer(worker, 'pong').finally(() => {
        pendingProbe = undefined
      })
      worker.postMessage('ping')
    }
    return pendingProbe
  }
  return {
    watch: createWatch({
      idleMs: unansweredMs,
      busyMs: busyMsMax,
      listens,
      isFull: () => isFull(dataDir),
      onLost: lost,
    }),
    end: () => {
      isOver = true
    },
  }
}

// One that works keeps everybody else waiting; an index over all that is stored may take minutes.
const busyMsMax = 600_000

// Node's types lack the value.
declare const WebAssembly: { compile(bytes: Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> }
let compiled: Promise<WebAssembly.Module> | undefined

/**
 * Once a process: each worker would compile its own, which takes longer than all else that it does at its
 * start.
 */
function compiledPostgres(): Promise<WebAssembly.Module> {
  // While V8 frees code that it replaced, a check of its own may fail and end the process, in Node 22 to 26:
  // https://github.com/nodejs/node/issues/64500. Kept, that code took 40 MB more.
  setFlagsFromString('--no-wasm-code-gc')
  const folder = dirname(createRequire(import.meta.url).resolve('@electric-sql/pglite'))
  compiled ??= readFile(join(folder, 'pglite.wasm')).then((bytes) => WebAssembly.compile(bytes))
  return compiled
}

interface Reply {
  readonly kind: string
  readonly value?: unknown
}

function answer(worker: Worker, kind: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: Reply) => {
      if (message.kind !== kind) return
      settle()
      resolve(message.value)
    }
    const onError = (error: Error) => {
      settle()
      reject(error)
    }
    const onExit = () => onError(new Error('The embedded database stopped.'))
    const settle = () => {
      worker.off('message', onMessage)
      worker.off('error', onError)
      worker.off('exit', onExit)
    }
    worker.on('message', onMessage)
    worker.on('error', onError)
    worker.on('exit', onExit)
  })
}
