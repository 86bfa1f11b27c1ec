import { Readable } from 'node:stream'
import { createEngine, type Engine, type Journal } from '@remit/engine'
import type { AxiosAdapter } from 'axios' with { 'resolution-mode': 'require' }
import type { Database, Sql } from '../store/sql.ts'

/** Base address of the engine inside the process; nothing listens there. */
export const embeddedUrl = 'http://engine.invalid'

export interface EmbeddedEngine {
  /** Lets the SDK reach the engine without a network. */
  readonly adapter: AxiosAdapter
}

/**
 * The embedded OpenFGA-compatible engine: in memory, written through to our database. One process only: its
 * memory would not see another's writes. No listener, hence no key to keep.
 */
export async function openEmbedded(database: Database, now: () => number): Promise<EmbeddedEngine> {
  const engine = createEngine({ journal: createJournal(database), now })
  await engine.ready()
  return { adapter: adapterFor(engine) }
}

function adapterFor(engine: Engine): AxiosAdapter {
  return async (config) => {
    const url = new URL(config.url ?? '', embeddedUrl)
    for (const [name, value] of Object.entries((config.params ?? {}) as Record<string, string>)) {
      if (value !== undefined) url.searchParams.set(name, String(value))
    }
    const method = (config.method ?? 'get').toUpperCase()
    const body = typeof config.data === 'string' ? config.data : undefined
    const answered = engine.fetch(
      new Request(url, { method, headers: { 'content-type': 'application/json' }, ...(body !== undefined && { body }) }),
    )
    const response = await answered
    const streams = config.responseType === 'stream'
    const data = streams
      ? Readable.from([new Uint8Array(await response.arrayBuffer())])
      : parse(await response.text())
    const answer = {
      data,
      status: response.status,
      statusText: response.statusText,
      headers: Object.fromEntries(response.headers),
      config,
    }
    if (response.ok) return answer
    // The shape that axios itself rejects with, from which the SDK makes its own errors.
    throw Object.assign(new Error(`Request failed with status code ${response.status}`), {
      isAxiosError: true,
      config,
      response: answer,
    })
  }
}

const parse = (text: string): unknown => (text === '' ? {} : JSON.parse(text))
