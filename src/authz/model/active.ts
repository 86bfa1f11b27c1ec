import { ownElapsed } from '../../kernel/elapsed.ts'
import { AppError } from '../../kernel/errors.ts'
import { createFollower } from '../../kernel/follower.ts'
import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Sql } from '../../store/sql.ts'
import { type ModelVersion, readPin, readVersion } from './pin.ts'

/**
 * The model in force, as this process knows it. Changes while the process runs: ask `current` where it is
 * used.
 */
export interface ActiveModel extends AsyncDisposable {
  readonly storeId: string
  readonly current: ModelVersion
  /**
   * OpenFGA's id of `current`, for whoever asks with it. Throws `authorization_unavailable` where the row was
   * not read for `staleAfterMs`, or a `refresh` failed: another model may be in force, under which less may
   * be read.
   */
  idInForce(): string
  /** Whether `idInForce` gives it. */
  readonly isKnown: boolean
  /**
   * Reads the row now, and switches when it names another model. Where that fails, nobody is answered until a
   * later try of its own, each `retryMs`, has come through: another model may be in force.
   */
  refresh(): Promise<void>
  /**
   * Called at every change after it is `current`, in the order of registration, and not before all is told.
   */
  onChange(listener: (model: ModelVersion) => void | Promise<void>): void
}

/** Where the pinned model is read, and how often. */
export interface ActiveModelOptions {
  readonly sql: Sql
  readonly storeId: string
  readonly first: ModelVersion
  /** Milliseconds between two looks at the row. Left out where no other process can change it. */
  readonly pollMs?: number
  /**
   * Milliseconds without a look after which nothing is asked any more. Default 5,000; without `pollMs` never.
   */
  readonly staleAfterMs?: number
  /** Milliseconds until the next try after a `refresh` that failed. Default 500. */
  readonly retryMs?: number
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
  readonly log: Log
}

/**
 * Follows the row that pins the model; where it cannot be read for long, nobody is answered by a model that
 * may be over.
 */
export function followModel(options: ActiveModelOptions): ActiveModel {
  const {
    sql,
    storeId,
    first: initialVersion,
    pollMs,
    staleAfterMs = 5_000,
    retryMs = 500,
    elapsed = ownElapsed,
    log,
  } = options
  const listeners: ((model: ModelVersion) => void | Promise<void>)[] = []
  let current = initialVersion
  // All listeners know of it.
  let announcedId = initialVersion.id
  let isUnsure = false
  const openedAt = elapsed()

  const isKnown = () =>
    !isUnsure && (pollMs === undefined || elapsed() - (follower.readAt ?? openedAt) <= staleAfterMs)

  async function checkPin(): Promise<void> {
    const pin = await readPin(sql)
    if (pin?.store_id !== storeId) throw new Error('the database belongs to another store now')
    if (pin.model_id !== announcedId) await change(pin.model_id)
    isUnsure = false
  }

  async function change(id: string): Promise<void> {
    const version = await readVersion(sql, id)
    if (version === undefined) throw new Error(`model ${id} is in force but not kept`)
    current = version
    log('model_changed', { model_id: version.id, digest: version.digest })
    for (const listener of listeners) await listener(version)
    announcedId = version.id
  }

  const follower = createFollower({
    read: checkPin,
    pollMs,
    retryMs: () => (isUnsure ? retryMs : (pollMs ?? retryMs)),
    elapsed,
    onFailed: (error) => log('model_unread', { reason: reasonOf(error) }),
  })

  async function refresh(): Promise<void> {
    try {
      await follower.refresh()
    } catch (error) {
      isUnsure = true
      // Where nobody polls, it would stay so until somebody asks again.
      follower.start(retryMs)
      throw error
    }
  }
  follower.start()

  return {
    storeId,
    get current() {
      return current
    },
    get isKnown() {
      return isKnown()
    },
    idInForce() {
      if (!isKnown())
        throw new AppError('authorization_unavailable', {
          internal: 'the model in force could not be read',
        })
      return current.id
    },
    refresh,
    onChange(listener) {
      listeners.push(listener)
    },
    [Symbol.asyncDispose]: () => follower[Symbol.asyncDispose](),
  }
}
