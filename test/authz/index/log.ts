import { expect } from 'vitest'
import type { Change, ChangePosition, Fga } from '../../../src/authz/fga.ts'
import { LogReader } from '../../../src/authz/index/log-reader.ts'
import { Replica } from '../../../src/authz/index/replica.ts'
import type { Storage } from '../../../src/authz/index/storage.ts'
import type { Watermarks } from '../../../src/authz/index/watermarks.ts'

export const second = 1_000
export const began = 1_800_000_000_000

/**
 * A log in which changes are stamped when they like and appear when they are put in, and each read takes its
 * time.
 */
export function createLog(clock: { now: number }, readMs: number) {
  const entries: (Change & { readonly id: string })[] = []
  const reads: { readonly position: ChangePosition; readonly count: number }[] = []
  const stamps = new Map<string, number>()
  let failure: Error | undefined
  let cutAfter: readonly number[] = []
  let ids = 0

  /** As OpenFGA has it: a place is one in the order of stamps, whether its change is there or not. */
  const placeAfter = (id: string): number => {
    const found = entries.findIndex((entry) => entry.id === id)
    if (found >= 0) return found + 1
    const next = entries.findIndex(({ tuple }) => tuple.writtenAt > (stamps.get(id) ?? 0))
    return next < 0 ? entries.length : next
  }

  const log: Pick<Fga, 'readChanges'> = {
    async readChanges(position, { limit = 100 } = {}) {
      clock.now += readMs
      if (failure !== undefined) throw failure
      const { after, startTime = 0 } = position
      const from =
        after === undefined
          ? entries.findIndex(({ tuple }) => tuple.writtenAt >= startTime)
          : placeAfter(after)
      const [rowsMax = limit, ...later] = cutAfter
      cutAfter = later
      const changes = from < 0 ? [] : entries.slice(from, from + Math.min(limit, rowsMax))
      reads.push({ position, count: changes.length })
      const last = changes.at(-1)
      return { changes, position: last ? { after: last.id } : position, isEnd: changes.length < limit }
    },
  }

  return {
    log,
    entries,
    reads,
    fail(error: Error | undefined) {
      failure = error
    },
    /** The next answers end after so many rows and say that this is all: OpenFGA lost its database. */
    cut(...rows: number[]) {
      cutAfter = rows
    },
    put(operation: Change['operation'], object: string, writtenAt: number, user = 'user:anne') {
      ids += 1
      const entry: Change & { readonly id: string } = {
        id: `token ${ids}`,
        operation,
        tuple: { user, relation: 'viewer', object, writtenAt },
      }
      stamps.set(entry.id, writtenAt)
      const before = entries.findLastIndex(({ tuple }) => tuple.writtenAt <= writtenAt)
      entries.splice(before + 1, 0, entry)
    },
  }
}

export interface Setting {
  readonly clock: { now: number }
  readonly source: ReturnType<typeof createLog>
  readonly follower: LogReader
  readonly replica: Replica
  /** How many changes were told of at once, in turn. */
  readonly slices: number[]
}

export function open(
  clock: Setting['clock'],
  source: Setting['source'],
  {
    replica = new Replica(),
    watermarks,
  }: { readonly replica?: Replica; readonly watermarks?: Watermarks } = {},
): Setting {
  const slices: number[] = []
  const follower = new LogReader({
    fga: source.log,
    now: () => clock.now,
    signal: new AbortController().signal,
    ...(watermarks && { watermarks }),
    onChanges(changes) {
      slices.push(changes.length)
      replica.apply(changes)
    },
  })
  return { clock, source, follower, replica, slices }
}

/** After a bulk of `bulk` changes, two a millisecond, read to the end. */
export async function afterBulk(bulk: number, readMs = 10): Promise<Setting> {
  const clock = { now: began }
  const setting = open(clock, createLog(clock, readMs))
  const { source, follower, slices } = setting
  for (let at = 0; at < bulk; at++) source.put('write', `document:d${at}`, began - bulk / 2 + (at >> 1))
  follower.start({ position: {}, reconciledAt: clock.now }, { isOld: false })
  await follower.readOn()
  source.reads.length = 0
  slices.length = 0
  return setting
}

/** The process stops and starts again after so long, with what it stored. */
export function restarted({ clock, source, follower, replica }: Setting, afterMs: number): Setting {
  const { mark } = follower
  if (mark === undefined) throw new Error('nothing stored')
  clock.now += afterMs
  const setting = open(clock, source, { replica })
  setting.follower.start(mark, { isOld: true })
  return setting
}

/** As while its database is away, for longer than anything is looked at again. */
export async function notAnswered(setting: Setting): Promise<Setting> {
  const { clock, source, follower } = setting
  source.fail(new Error('away'))
  await follower.readOn().catch(() => undefined)
  clock.now += 200 * second
  source.fail(undefined)
  return setting
}

export const has = ({ replica }: Setting, object: string): boolean =>
  replica.get({ user: 'user:anne', relation: 'viewer', object, writtenAt: 0 }) !== undefined

/** As the index does: to the end of the log, then a moment of looking back, until so much time has passed. */
export async function follow({ clock, follower }: Setting, forMs: number): Promise<void> {
  for (const end = clock.now + forMs; clock.now < end; clock.now += 100) {
    await follower.readOn()
    await follower.rescanTail()
  }
}

export const unstored: Storage = {
  load: async () => undefined,
  peek: async () => undefined,
  begin: async () => 1,
  save: async ({ version }) => version + 1,
}

export const missed = (isCertain: boolean) => expect.objectContaining({ name: 'LogWentBack', isCertain })

/** Five single changes, and the page that has the last of them. */
export async function afterSingles(): Promise<Setting> {
  const setting = await afterBulk(0)
  for (let at = 0; at < 5; at++) {
    setting.source.put('write', `document:single${at}`, setting.clock.now)
    await follow(setting, 100)
  }
  return setting
}
