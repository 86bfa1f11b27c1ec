import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { operator } from '../../src/audit/record.ts'
import { native } from '../../test/support/native.ts'
import { importDocuments } from '../support/import.ts'
import { serviceName, startService } from '../support/running.ts'
import { type Asked, collection, documents, type Told } from './shelf.ts'

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
function live(): number {
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return mega(heapUsed + external)
}

const isUnderWay = async (): Promise<boolean> =>
  (await running.ground.database.query('select 1 from revisions limit 1')).length > 0

/** What is read or embedded is in memory, and is meant to be: it has to be over first. */
async function rest(): Promise<void> {
  const until = performance.now() + 900_000
  while ((await isUnderWay()) && performance.now() < until) await sleep(500)
  const found: number[] = []
  // What finalizers let go is collected the next time.
  for (let round = 0; round < 5; round++) {
    await sleep(1_000)
    found.push(live())
  }
  tell({ kind: 'rest', live: (await isUnderWay()) ? undefined : Math.min(...found) })
}

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
    tell({ ...state, live: live() })
  }
  // What the collection itself took is nobody's document.
  setTimeout(() => delay.reset(), 50)
}, 1_000)
process.on('message', (asked: Asked) => {
  if (asked.kind === 'rest') return void rest()
  void running.token(asked.options).then((token) => tell({ kind: 'token', id: asked.id, token }))
})
tell({ kind: 'ready', url: running.url, backend: running.backend })
await new Promise((resolve) => process.once('disconnect', resolve))
