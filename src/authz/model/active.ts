import type { Log } from '../../kernel/log.ts'
import type { Sql } from '../../store/sql.ts'
import { type ModelVersion, readPin, readVersion } from './pin.ts'

/** The model in force, as this process knows it. Changes while the process runs: ask `current` where it is used. */
export interface ActiveModel extends AsyncDisposable {
  readonly storeId: string
  readonly current: ModelVersion
  /** Reads the row now, and switches when it names another model. */
  refresh(): Promise<void>
  /** Called at every change after it is `current`, in the order of registration, and not before all is told. */
  onChange(listener: (model: ModelVersion) => void | Promise<void>): void
}

export interface ActiveModelOptions {
  readonly sql: Sql
  readonly storeId: string
  readonly first: ModelVersion
  /** Milliseconds between two looks at the row. Left out where no other process can change it. */
  readonly pollMs?: number
  readonly log: Log
}

/**
 * Follows the row that pins the model. A database that does not answer leaves the model as it is: without it
 * nothing is released anyway, since every answer is put on record first.
 */
export function followModel({ sql, storeId, first, pollMs, log }: ActiveModelOptions): ActiveModel {
  const listeners: ((model: ModelVersion) => void | Promise<void>)[] = []
  let current = first
  let reading: Promise<void> = Promise.resolve()
  let closed = false
  let timer: NodeJS.Timeout | undefined

  async function look(): Promise<void> {
    const pin = await readPin(sql)
    if (pin === undefined || pin.store_id !== storeId || pin.model_id === current.id) return
    const version = await readVersion(sql, pin.model_id)
    if (version === undefined) throw new Error(`model ${pin.model_id} is in force but not kept`)
    current = version
    log('model_changed', { model_id: version.id, digest: version.digest })
    for (const listener of listeners) await listener(version)
  }

  // One after the other: an older answer must not undo a newer one.
  function refresh(): Promise<void> {
    const mine = reading.then(look)
    reading = mine.catch(() => undefined)
    return mine
  }

  function schedule(): void {
    if (pollMs === undefined || closed) return
    timer = setTimeout(() => {
      refresh()
        .catch((error: unknown) =>
          log('model_unread', { reason: error instanceof Error ? error.message : 'thrown value' }),
        )
        .finally(schedule)
    }, pollMs).unref()
  }
  schedule()

  return {
    storeId,
    get current() {
      return current
    },
    refresh,
    onChange(listener) {
      listeners.push(listener)
    },
    async [Symbol.asyncDispose]() {
      closed = true
      clearTimeout(timer)
      await reading
    },
  }
}
