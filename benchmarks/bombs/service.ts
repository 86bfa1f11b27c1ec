import { monitorEventLoopDelay } from 'node:perf_hooks'
import { operator } from '../../src/audit/record.ts'
import type { TokenOptions } from '../../test/support/issuer.ts'
import { native } from '../../test/support/native.ts'
import { importDocuments } from '../support/import.ts'
import { serviceName, startService } from '../support/running.ts'
import { collection, documents, type Told } from './shelf.ts'

const tell = (message: Told): void => void process.send?.(message)

await using running = await startService({
  databaseUrl: process.env.DATABASE_URL,
  openfga: native.openfga,
  modelFolder: native.modelFolder,
})
await running.service.ingest.saveCollection(operator('benchmark'), {
  id: collection,
  title: 'Shelf',
  publicAllowed: false,
})
await running.service.services.save({ name: serviceName, collections: [collection], prefixes: [] })
await importDocuments(
  running,
  Array.from({ length: documents }, (_, index) => ({
    id: `shelf/${index}`,
    title: `Note ${index}`,
    text: `Note ${index} on travel, budgets and the harvest of ${1900 + index}.`,
    collection,
    access: { owner: running.subject('anne'), viewers: [] },
  })),
  () => undefined,
)

const delay = monitorEventLoopDelay({ resolution: 10 })
delay.enable()
const mega = (bytes: number): number => bytes / 1_048_576
let seconds = 0
setInterval(() => {
  const state = {
    kind: 'state',
    megabytes: mega(process.memoryUsage.rss()),
    delayMs: delay.max / 1e6,
  } as const
  seconds += 1
  if (seconds % 10 > 0) tell(state)
  else {
    globalThis.gc?.()
    const { heapUsed, external } = process.memoryUsage()
    tell({ ...state, live: mega(heapUsed + external) })
  }
  // What the collection itself took is nobody's document.
  setTimeout(() => delay.reset(), 50)
}, 1_000)
process.on('message', ({ id, options }: { id: number; options: TokenOptions }) => {
  void running.token(options).then((token) => tell({ kind: 'token', id, token }))
})
tell({ kind: 'ready', url: running.url, backend: running.backend })
await new Promise((resolve) => process.once('disconnect', resolve))
