import { parentPort, workerData } from 'node:worker_threads'
import { PGlite } from '@electric-sql/pglite'
import { vector } from '@electric-sql/pglite-pgvector'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'
import { reasonOf } from '../kernel/reason.ts'

interface WorkerData {
  readonly dataDir?: string
  readonly socket: string
  readonly loadDump?: Uint8Array<ArrayBuffer>
  /** Postgres itself, compiled. */
  readonly program: WebAssembly.Module
}

const { dataDir, socket, loadDump, program } = workerData as WorkerData

// Postgres clears all of its buffers at a start, so that they are resident whether used or not: the usual
// 128 MB were the largest part of the process. Behind them the files are in the system's own cache.
const startParams = [...PGlite.defaultStartParams, '-c', 'shared_buffers=16MB']

const db = await PGlite.create({
  ...(dataDir === undefined ? {} : { dataDir }),
  ...(loadDump === undefined ? {} : { loadDataDir: new Blob([loadDump]) }),
  extensions: { vector },
  startParams,
  pgliteWasmModule: program,
})
await db.exec('create extension if not exists vector')
// A mistyped statement is answered; what is thrown here broke off in the middle of Postgres, as a full disk
// does. The server below would wait for it for ever, and take no other statement.
const run = db.execProtocolRawStream.bind(db)
db.execProtocolRawStream = async (...message) => {
  try {
    return await run(...message)
  } catch (error) {
    parentPort?.postMessage({
      kind: 'broken',
      value: reasonOf(error),
    })
    throw error
  }
}
// The pool holds one connection. The second place is for its successor: while a broken one takes leave, the
// only place would still be taken, and the next query would be turned away.
const server = new PGLiteSocketServer({ db, path: socket, maxConnections: 2 })
await server.start()

parentPort?.on('message', (message: Order) => void obey(message))
parentPort?.postMessage({ kind: 'ready' })

type Order = 'close' | 'dump' | 'ping'

async function obey(message: Order): Promise<void> {
  if (message === 'ping') {
    parentPort?.postMessage({ kind: 'pong' })
    return
  }
  if (message === 'dump') {
    const file = await db.dumpDataDir('none')
    parentPort?.postMessage({ kind: 'dump', value: new Uint8Array(await file.arrayBuffer()) })
    return
  }
  await server.stop()
  await db.close()
  parentPort?.close()
}
