import { Readable } from 'node:stream'
import { createEngine, type Engine, type Journal } from '@remit/engine'
import { AppError } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import { reasonOf } from '../kernel/reason.ts'
import type { Exclusive } from '../store/exclusive.ts'
import type { Database } from '../store/sql.ts'
import { createJournal, takeHold } from './embedded-journal.ts'
import type { AxiosAdapter } from './openfga.ts'

/** Base address of the engine inside the process; nothing listens there. */
export const embeddedUrl = 'http://engine.invalid'

/** The engine in this process, reached as if it were OpenFGA over HTTP. */
export interface EmbeddedEngine {
  /** Lets the SDK reach the engine without a network. */
  readonly adapter: AxiosAdapter
}

/**
 * The embedded OpenFGA-compatible engine: in memory, written through to our database. One process only: its
 * memory would not see another's writes, so native Postgres needs `exclusive`, and each memory has a number there that
 * its writes ask for: `exclusive` may be lost between a look at it and the write. No listener, hence no key to keep.
 */
export async function openEmbedded(
  database: Database,
  now: () => number,
  log: Log,
  exclusive?: Exclusive,
): Promise<EmbeddedEngine> {
  let engine: Promise<Engine> | undefined

  /** Takes the number before anything is read: whatever others write under theirs is in, or refused. */
  async function openEngine(forget: () => void): Promise<Engine> {
    const journal = createJournal(database, exclusive && (await takeHold(database)))
    const write: Journal['write'] = async (storeId, batch) => {
      try {
        await journal.write(storeId, batch)
      } catch (error) {
        // Lost at commit: stored or not, nobody knows. The memory is made anew from what the database holds.
        if (error instanceof AppError) forget()
        throw error
      }
    }
    return createEngine({
      journal: { ...journal, write },
      now,
      onError: (error) => log('engine_failed', { reason: reasonOf(error) }),
    })
  }
  const current = async (): Promise<Engine> => {
    // Lost and won back: another process may have written meanwhile.
    if ((await exclusive?.hold())?.renewed === true) engine = undefined
    if (engine !== undefined) return engine
    const opening: Promise<Engine> = openEngine(() => {
      if (engine === opening) engine = undefined
    })
    engine = opening
    // The next one tries again.
    opening.catch(() => {
      if (engine === opening) engine = undefined
    })
    return opening
  }
  await (await current()).ready()
  return { adapter: adapterFor(current) }
}

/** An engine that keeps nothing: for trials of a model, beside whatever the service uses. */
export function openInMemory(): EmbeddedEngine {
  const engine = createEngine()
  return { adapter: adapterFor(async () => engine) }
}

function adapterFor(current: () => Promise<Engine>): AxiosAdapter {
  return async (config) => {
    const url = new URL(config.url ?? '', embeddedUrl)
    for (const [name, value] of Object.entries((config.params ?? {}) as Record<string, string>)) {
      if (value !== undefined) url.searchParams.set(name, String(value))
    }
    const method = (config.method ?? 'get').toUpperCase()
    const body = typeof config.data === 'string' ? config.data : undefined
    const engine = await current()
    const response = await engine.fetch(
      new Request(url, {
        method,
        headers: { 'content-type': 'application/json' },
        ...(body !== undefined && { body }),
      }),
    )
    const streams = config.responseType === 'stream'
    const dataDir = streams
      ? Readable.from([new Uint8Array(await response.arrayBuffer())])
      : parse(await response.text())
    const answer = {
      data: dataDir,
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
