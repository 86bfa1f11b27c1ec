import { setTimeout as wait } from 'node:timers/promises'
import { compileModel, type Model } from '@remit/engine'
import { operator, record, type Who } from '../../audit/record.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import type { Database } from '../../store/sql.ts'
import type { Decided } from '../gate.ts'
import type { PermissionIndex } from '../permission-index.ts'
import type { ActiveModel } from './active.ts'
import { readPlan } from './plan-store.ts'
import { createShadowQueue } from './shadow-queue.ts'
import {
  addSeen,
  endShadow,
  insertShadow,
  listDifferences,
  readLatest,
  readRunning,
  type Shadow,
  type StoredDifference,
} from './shadow-store.ts'

/**
 * A changed model beside the one in force: what is asked is evaluated under both on the replica, after its answer, and
 * where they differ is counted. Nobody is answered from it, and it waits for nothing that somebody waits for.
 */
export interface ModelShadow extends AsyncDisposable {
  /** Takes note of a decision; cheap, and never throws. */
  onDecided(decided: Decided): void
  /**
   * Begins for a plan, in every process within a second. Throws `not_found` for no plan, `plan_outdated` for one on another
   * model, `conflict` while another runs. Does NOT check that the caller is an administrator: the face does.
   */
  start(who: Who, wanted: ShadowWanted): Promise<Shadow>
  /** Throws `not_found` where none runs. */
  stop(who: Who): Promise<Shadow>
  /** The one that runs, or the last; each look is on record. */
  report(who: Who): Promise<ShadowReport | undefined>
}

export interface ShadowWanted {
  readonly plan: string
  readonly minutes: number
  /** Of the questions, above 0 and at most 1. */
  readonly share: number
}

export interface ShadowReport {
  readonly shadow: Shadow
  /** At most 200, the most often seen first. */
  readonly differences: readonly StoredDifference[]
}

export interface ModelShadowDeps {
  readonly database: Database
  readonly active: ActiveModel
  readonly index: Pick<PermissionIndex, 'view' | 'excluded'>
  readonly now: () => number
  /** At least 0, less than 1. */
  readonly random: () => number
  readonly newId: () => string
  readonly newTxn: () => string
  readonly log: Log
  /** Milliseconds between two looks at the row. Default 1,000. */
  readonly pollMs?: number
}

const differencesMax = 10_000
const shownMax = 200
// As long as it works it rests, so that it never has more than half of what is left.
const sliceMs = 5

interface Running {
  readonly shadow: Shadow
  readonly candidate: Model
}

export function createModelShadow(deps: ModelShadowDeps): ModelShadow {
  const { database, active, index, now, random, newId, newTxn, log, pollMs = 1_000 } = deps
  const queue = createShadowQueue()
  const closing = new AbortController()
  let running: Running | undefined
  let working: Promise<void> | undefined
  let turn: Promise<unknown> = Promise.resolve()

  /** Looks, saves and ends, one after the other. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = turn.then(work)
    turn = mine.catch(() => undefined)
    return mine
  }

  async function look(): Promise<void> {
    await save()
    const found = await readRunning(database)
    if (found === undefined) return leave()
    const isOver = now() >= found.endsAt.getTime()
    if (isOver || found.baseModel !== active.current.id) {
      await end(operator(newTxn()), found, isOver ? 'over' : 'model_changed')
      return leave()
    }
    if (running?.shadow.id === found.id) return begin()
    const plan = await readPlan(database, found.plan)
    if (plan === undefined) return leave()
    queue.clear()
    running = { shadow: found, candidate: compileModel(plan.json) }
  }

  function leave(): void {
    running = undefined
    queue.clear()
  }

  async function save(): Promise<void> {
    const seen = running && queue.take()
    if (running === undefined || seen === undefined) return
    const { id } = running.shadow
    await database.transaction((sql) => addSeen(sql, id, { ...seen, at: new Date(now()) }, differencesMax))
  }

  function end(who: Who, shadow: Shadow, because: NonNullable<Shadow['endedBecause']>): Promise<boolean> {
    return database.transaction(async (sql) => {
      if (!(await endShadow(sql, shadow.id, new Date(now()), because))) return false
      await record(sql, who, { event: 'model_shadow_ended', ...factsOf(shadow), because })
      return true
    })
  }

  /** Until nothing waits. Where the replica is not there, the next look begins again. */
  async function work(): Promise<void> {
    while (running !== undefined && !closing.signal.aborted) {
      // Answers go first: by then this one has left.
      await wait(sliceMs, undefined, { signal: closing.signal }).catch(() => undefined)
      const until = performance.now() + sliceMs
      do {
        const view = index.view()
        if (running === undefined || view?.modelId !== running.shadow.baseModel) return
        const { excluded: takenAway } = index
        const sides = { active: view.model, candidate: running.candidate, tuples: view.tuples, takenAway }
        if (!queue.work(sides)) return
      } while (performance.now() < until)
    }
  }

  function begin(): void {
    working ??= work()
      .catch(failed)
      .finally(() => {
        working = undefined
      })
  }

  function failed(error: unknown): void {
    log('shadow_failed', { reason: error instanceof Error ? error.message : 'thrown value' })
  }

  const timer = setInterval(() => void inTurn(look).catch(failed), pollMs).unref()

  return {
    onDecided(decided) {
      if (running === undefined) return
      if (random() >= running.shadow.share) return
      queue.offer(decided)
      begin()
    },
    start: (who, { plan: planId, minutes, share }) =>
      inTurn(async () => {
        const plan = await readPlan(database, planId)
        if (plan === undefined) throw new AppError('not_found', { public: 'There is no such plan.' })
        if (plan.baseModel !== active.current.id)
          throw new AppError('plan_outdated', {
            public: 'Another model is in force than the one it was made from. Make a new plan.',
          })
        await look()
        const at = now()
        const shadow: Shadow = {
          id: newId(),
          plan: plan.id,
          baseModel: plan.baseModel,
          startedBy: who.subject,
          share,
          startedAt: new Date(at),
          endsAt: new Date(at + minutes * 60_000),
          endedAt: undefined,
          endedBecause: undefined,
          counts: { asked: 0, gained: 0, lost: 0, errors: 0, dropped: 0 },
        }
        await database.transaction(async (sql) => {
          if (!(await insertShadow(sql, shadow)))
            throw new AppError('conflict', { public: 'One runs already. Stop it first.' })
          await record(sql, who, {
            event: 'model_shadow_started',
            ...factsOf(shadow),
            share,
            ends_at: shadow.endsAt.toISOString(),
          })
        })
        await look()
        return shadow
      }),
    stop: (who) =>
      inTurn(async () => {
        await save()
        const found = await readRunning(database)
        if (found === undefined || !(await end(who, found, 'stopped')))
          throw new AppError('not_found', { public: 'None runs.' })
        leave()
        return { ...found, endedAt: new Date(now()), endedBecause: 'stopped' }
      }),
    report: (who) =>
      inTurn(async () => {
        await look()
        const shadow = await readLatest(database)
        if (shadow === undefined) return undefined
        await record(database, who, { event: 'model_shadow_read', ...factsOf(shadow) })
        return { shadow, differences: await listDifferences(database, shadow.id, shownMax) }
      }),
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      closing.abort()
      await working
      await inTurn(save).catch(failed)
    },
  }
}

const factsOf = ({ id, plan, baseModel }: Shadow) => ({ shadow: id, plan, base_model: baseModel })
