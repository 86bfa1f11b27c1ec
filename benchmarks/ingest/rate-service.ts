import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { native } from '../../test/support/native.ts'
import type { startService } from '../support/running.ts'
import { type Asked, collection, type Told } from './rate-messages.ts'

const tell = (message: Told): void => void process.send?.(message)
const root = process.env['RATE_ROOT'] ?? '.'
const counts = { statements: 0, embeddings: 0 }
const byStatement: Record<string, number> = {}

const { Client } = createRequire(join(root, 'package.json'))('pg') as typeof import('pg')
const query = Client.prototype.query as (...values: unknown[]) => unknown
Object.assign(Client.prototype, {
  query(this: unknown, ...values: unknown[]) {
    counts.statements += 1
    const [first] = values
    const text = typeof first === 'string' ? first : (first as { text?: string } | undefined)?.text
    const name = (text ?? 'prepared').replaceAll(/\s+/g, ' ').trim().slice(0, 90)
    byStatement[name] = (byStatement[name] ?? 0) + 1
    return query.apply(this, values)
  },
})

/** Knows a vector of every text: no model is asked. Texts that are asked for together are one call. */
class FreeVectors extends Map<string, Float32Array> {
  #isCounted = false

  override has(): boolean {
    if (!this.#isCounted) {
      this.#isCounted = true
      counts.embeddings += 1
      queueMicrotask(() => {
        this.#isCounted = false
      })
    }
    return true
  }

  override get(text: string): Float32Array {
    const vector = new Float32Array(384)
    let state = 2_166_136_261
    for (let at = 0; at < text.length; at++) state = Math.imul(state ^ text.charCodeAt(at), 16_777_619)
    for (let at = 0; at < 8; at++) vector[Math.imul(state, at + 7) & 255] = Math.SQRT1_2 / 2
    const length = Math.hypot(...vector)
    return vector.map((value) => value / length)
  }
}

const load = (path: string): Promise<unknown> => import(pathToFileURL(join(root, path)).href)
const support = (await load('benchmarks/support/running.ts')) as {
  readonly startService: typeof startService
  readonly serviceName: string
}
const { operator } = (await load('src/audit/record.ts')) as typeof import('../../src/audit/record.ts')

await using running = await support.startService({
  databaseUrl: process.env['DATABASE_URL'],
  openfga: {
    url: process.env['OPENFGA_API_URL'] ?? '',
    token: process.env['OPENFGA_API_TOKEN'] ?? '',
  },
  modelFolder: native.modelFolder,
  vectors: new FreeVectors(),
})
await running.service.ingest.saveCollection(operator('benchmark'), {
  id: collection,
  title: 'Shelf',
  publicAllowed: false,
})
await running.service.services.save({ name: support.serviceName, collections: [collection], prefixes: [] })
process.on('message', (asked: Asked) => {
  if (asked.kind === 'counts') {
    if (asked.collects) globalThis.gc?.()
    const { rss, heapUsed, external } = process.memoryUsage()
    return tell({
      kind: 'counts',
      id: asked.id,
      ...counts,
      byStatement,
      megabytes: rss / 1_048_576,
      heldMegabytes: (heapUsed + external) / 1_048_576,
    })
  }
  void running.token(asked.options).then((token) => tell({ kind: 'token', id: asked.id, token }))
})
tell({ kind: 'ready', url: running.url })
await new Promise((resolve) => process.once('disconnect', resolve))
