import { setTimeout as delay } from 'node:timers/promises'
import type { Fga, Tuple } from '../../authz/fga.ts'
import type { Clock } from '../../kernel/clock.ts'
import { AppError } from '../../kernel/errors.ts'
import { createFollower } from '../../kernel/follower.ts'
import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Database, Sql } from '../../store/sql.ts'
import type { RevocationFeed } from '../revocation/revocation-feed.ts'

/**
 * Notices that the database or OpenFGA is an older copy of itself. A number in the database is raised while
 * there is something to lose, and OpenFGA, which is backed up apart from it, is told; that it was told is
 * noted in the database. A database whose number is below OpenFGA's has forgotten what was revoked, redeemed
 * and ended since; an OpenFGA that no longer has what it was told gives back what was taken away. Then nobody
 * is answered before `remit recover`.
 */
export interface RestoreDetection extends AsyncDisposable {
  /** Whether anybody may be answered: nothing needs a recovery, and OpenFGA's log is not doubted. */
  readonly isSound: boolean
  /** One of the two is known to be older, or a recovery has not ended. */
  readonly needsRecovery: boolean
  /** Which of the two is known to be an older copy. */
  readonly older: 'database' | 'openfga' | undefined
  /**
   * Throws `authorization_unavailable` where one of the two is older than the other, or may be, or a recovery
   * has not ended.
   */
  assertSound(): void
  /** Looks at both first: for whoever is about to hold one of them to the other. */
  assertSoundNow(): Promise<void>
  /** Runs the work now, or as soon as it is sound. */
  whenSound(task: () => Promise<void>): Promise<void>
  /** Raises the number and tells OpenFGA. Does nothing to a database that is not sound. */
  raise(): Promise<void>
  /** Looks again at both. */
  check(): Promise<void>
  /**
   * The same, until OpenFGA's log is doubted no more: it is known then whether that is older. Throws
   * `authorization_unavailable` where nobody can tell.
   */
  checkUntilKnown(): Promise<void>
}

export interface RestoreDetectionDeps {
  readonly database: Database
  readonly fga: Fga
  readonly authority: RevocationFeed
  readonly clock: Clock
  readonly log: Log
  /**
   * Whether OpenFGA keeps its tuples apart: where they are in this very database, both are always of one age.
   */
  readonly isApart: boolean
  /** OpenFGA's log. Default: it never lacks anything. */
  readonly followed?: {
    /** Whether it lacks what it had told of, and has for a minute. */
    readonly logWentBack: boolean
    /** It lacks some at this look, or none was yet. The next ones tell whether it went back. */
    readonly isLogDoubted: boolean
    /** A look at the log, after all that is stored was loaded. */
    catchUp(): Promise<void>
    /** Reads all of OpenFGA anew. */
    rebuild(): Promise<void>
  }
  /**
   * Milliseconds between two looks for what changed. Default 1,000: what is revoked is soon beyond
   * forgetting.
   */
  readonly everyMs?: number
  /**
   * Milliseconds after which both are looked at again. Default 5,000: OpenFGA may be put back under a process
   * that runs.
   */
  readonly checkMs?: number
  /** Milliseconds between two raises for what else was recorded or redeemed. Default a minute. */
  readonly activityMs?: number
}

/** No delegation has this id: those have no dot. Without a delegator and a scope the tuple lends nothing. */
export const markerObject = 'delegation:remit.epoch'

const marker = (number: number): Tuple => ({
  user: `agent:epoch.${number}`,
  relation: 'agent',
  object: markerObject,
})

const recoveryAgent = 'agent:recovery.'
const recoveryMarker = (txn: string): Tuple => ({ ...marker(0), user: `${recoveryAgent}${txn}` })

// A minute of looks tells (src/authz/index/log-reader.ts), where none of them fails.
const doubtLooksMax = 90

/** What one process knows of both copies, and when it looked. Times in milliseconds by the clock. */
interface RestoreState {
  needsRecovery: boolean
  isClosed: boolean
  older: RestoreDetection['older']
  checkedAt: number
  raisedAt: number
  /** What {@link activity} answered when the number was last raised. */
  raisedFor: string
  /** The version of the revocation feed for which the number was last raised. */
  seenVersion: RevocationFeed['current']
  /** Changes with each recovery; empty during one, too. Undefined: not read yet. */
  tokensFrom: string | undefined
  /** This process noted that OpenFGA went back. */
  hasNoted: boolean
}

/**
 * Compares the two once, then follows changes until it is disposed of. Throws where one of them cannot be
 * read. It does NOT refuse requests by itself: callers ask `assertSound`.
 */
export async function openRestoreDetection(deps: RestoreDetectionDeps): Promise<RestoreDetection> {
  const { database, fga, authority, clock, log, isApart } = deps
  const { followed, everyMs = 1_000, checkMs = 5_000, activityMs = 60_000 } = deps
  const waiting: (() => Promise<void>)[] = []
  const state: RestoreState = {
    needsRecovery: false,
    isClosed: false,
    older: undefined,
    checkedAt: clock.now(),
    raisedAt: clock.now(),
    raisedFor: '',
    seenVersion: authority.current,
    tokensFrom: undefined,
    hasNoted: false,
  }

  // Not as of the last comparison: the log is looked at more often.
  const isDoubted = (): boolean => isApart && followed?.isLogDoubted === true
  const isSound = (): boolean => !state.needsRecovery && !isDoubted()

  async function compare(): Promise<void> {
    state.checkedAt = clock.now()
    const before = await readEpoch(database)
    const wentBack = isApart && (await noticeWentBack(before))
    const { needsRecovery: neededBefore, older: previousOlder } = state
    state.older = await olderOf(before, wentBack)
    state.needsRecovery = before.recoveringSince !== null || state.older !== undefined
    if (state.older !== undefined && state.older !== previousOlder)
      log(`${state.older}_older`, { command: 'remit recover' })
    else if (!neededBefore && state.needsRecovery) log('recovery_not_ended', { command: 'remit recover' })
    if (!isSound()) return
    for (let task = waiting[0]; task !== undefined; task = waiting[0]) {
      await task()
      waiting.shift()
    }
  }

  async function olderOf(before: EpochRow, wentBack: boolean): Promise<RestoreDetection['older']> {
    if (!isApart) return undefined
    let { told } = before
    for (;;) {
      const markers = await readMarkers(fga)
      // Again, and only now: another process may have raised it and told OpenFGA since.
      const now = await readEpoch(database)
      if (Math.max(0, ...markers) > now.number) return 'database'
      if (!lacks(markers, told)) return wentBack ? 'openfga' : undefined
      if (now.told === told) return 'openfga'
      // It took away the marker of the one before.
      told = now.told
    }
  }

  /**
   * Whether OpenFGA went back: also where another process noticed it, or an earlier one. Notes it until a
   * recovery, or until this very process finds again all that it missed.
   */
  async function noticeWentBack({ tokensFrom, recoveringSince, logWentBack }: EpochRow): Promise<boolean> {
    if (recoveringSince !== null) {
      state.tokensFrom = ''
      return logWentBack || followed?.logWentBack === true
    }
    if (state.tokensFrom !== undefined && state.tokensFrom !== tokensFrom && followed !== undefined) {
      await forgetMissed(followed)
      state.hasNoted = false
    }
    state.tokensFrom = tokensFrom
    if (!logWentBack && followed?.logWentBack === true) {
      await noteWentBack(database, true)
      state.hasNoted = true
    } else if (logWentBack && state.hasNoted && followed?.isLogDoubted === false) {
      await noteWentBack(database, false)
      state.hasNoted = false
      return false
    }
    return logWentBack || followed?.logWentBack === true
  }

  async function raise(): Promise<void> {
    if (!isSound() || !isApart) return
    // An older copy must not catch up with what it has forgotten.
    await check()
    if (!isSound()) return
    state.raisedFor = await activity(database)
    state.raisedAt = clock.now()
    const held = await readMarker(fga)
    const number = await raiseNumber(database, held, new Date(state.raisedAt))
    if (number === undefined) return check()
    await fga.write({ writes: [marker(number)] })
    // One that was put back since the check took the number too: it is not told, and lacks what was.
    const isAlone = (await readMarkers(fga)).every((other) => other === number)
    if (isAlone && held > 0) await noteWentBack(database, true)
    const before = await readEpoch(database)
    if (before.logWentBack || (await olderOf(before, false)) !== undefined) return check()
    await recordAcknowledged(database, number)
    await removeMarkersBelow(fga, number)
  }

  const isDueAgain = (): boolean =>
    followed?.logWentBack === true || Math.abs(clock.now() - state.checkedAt) >= checkMs

  async function pollOnce(): Promise<void> {
    if (!isSound() || waiting.length > 0) return check()
    if (!isApart) return
    const changed = authority.current !== undefined && authority.current !== state.seenVersion
    const isDue = Math.abs(clock.now() - state.raisedAt) >= activityMs
    if (isDue && !changed && state.raisedFor === (await activity(database))) {
      state.raisedAt = clock.now()
      return check()
    }
    if (!changed && !isDue) return isDueAgain() ? check() : undefined
    const current = authority.current
    await raise()
    state.seenVersion = current
  }

  // A fresh process needs the whole minute: what runs a command may end after it.
  async function checkUntilKnown(): Promise<void> {
    for (let looks = 0; looks < doubtLooksMax; looks++) {
      const isCertain = followed?.logWentBack === true
      await check()
      if (isCertain || !isDoubted() || state.older === 'openfga') return
      await delay(everyMs)
    }
    throw new AppError('authorization_unavailable', {
      public:
        'OpenFGA lacks changes that it told of, and nobody can tell yet whether it is older. Try again.',
    })
  }

  function assertSound(): void {
    if (!isSound())
      throw new AppError('authorization_unavailable', {
        headers: { 'retry-after': '5' },
        internal: state.needsRecovery
          ? `${state.older ?? 'something'} is older than it was`
          : 'OpenFGA lacks changes that it told of',
      })
  }

  // One comparison after the other: what waits for the end of a recovery is begun once.
  const follower = createFollower({
    read: compare,
    poll: pollOnce,
    pollMs: everyMs,
    onFailed: (error) => log('epoch_failed', { reason: reasonOf(error) }),
  })
  const check = follower.refresh

  await check()
  authority.onChange(({ kind, key }) => {
    // Another process began or ended a recovery. Not to be looked at yet: answer nobody until then.
    if (kind === 'registry' && key === 'epochs' && !state.isClosed)
      check().catch(() => {
        state.needsRecovery = true
      })
  })
  follower.start()

  return {
    get isSound() {
      return isSound()
    },
    get needsRecovery() {
      return state.needsRecovery
    },
    get older() {
      return state.older
    },
    assertSound,
    async assertSoundNow() {
      assertSound()
      // Beside the follower: what it begins after a recovery may ask this.
      const before = await readEpoch(database)
      const older = await olderOf(before, before.logWentBack || followed?.logWentBack === true)
      // The log may have come to be doubted meanwhile.
      assertSound()
      if (before.recoveringSince !== null || older !== undefined)
        throw new AppError('authorization_unavailable', {
          internal: `${older ?? 'something'} is older than it was`,
        })
    },
    async whenSound(task) {
      if (isSound()) return task()
      waiting.push(task)
    },
    raise,
    check,
    checkUntilKnown,
    async [Symbol.asyncDispose]() {
      state.isClosed = true
      await follower[Symbol.asyncDispose]()
    },
  }
}

/**
 * What was missed before a recovery is made up for: also by a process that stood still or was loading, and
 * has not missed it yet.
 */
async function forgetMissed(followed: NonNullable<RestoreDetectionDeps['followed']>): Promise<void> {
  const failure: unknown = await followed.catchUp().catch((error: unknown) => error)
  if (followed.logWentBack || followed.isLogDoubted) return followed.rebuild()
  if (failure !== undefined) throw failure
}

interface EpochRow {
  readonly number: number
  /** What OpenFGA has acknowledged. */
  readonly told: number
  readonly recoveringSince: Date | null
  /** Empty: nothing was ever recovered. */
  readonly tokensFrom: string
  readonly logWentBack: boolean
}

async function readEpoch(sql: Sql): Promise<EpochRow> {
  const [row] = await sql.query<EpochRow>(
    `select number, told, recovering_since as "recoveringSince", log_went_back as "logWentBack",
       coalesce(tokens_from::text, '') as "tokensFrom" from epochs`,
  )
  if (row === undefined) throw new Error('The database has no epoch.')
  return row
}

async function noteWentBack(sql: Sql, wentBack: boolean): Promise<void> {
  await sql.query('update epochs set log_went_back = $1 where recovering_since is null', [wentBack])
}

/**
 * OpenFGA was put back during the recovery that began or ended at `tokensFrom`; one that began later looks
 * by itself. Where the database is a copy too, both are: the next look may show one of them alone.
 */
export async function notePutBack(
  sql: Sql,
  { tokensFrom, isDatabaseCopy }: { readonly tokensFrom: Date; readonly isDatabaseCopy: boolean },
): Promise<void> {
  await sql.query(
    'update epochs set log_went_back = true, said_copies = said_copies or $2 where tokens_from = $1',
    [tokensFrom, isDatabaseCopy],
  )
}

/** Not where OpenFGA was told more: a database that was put back since it was checked must not catch up. */
async function raiseNumber(sql: Sql, marked: number, now: Date): Promise<number | undefined> {
  const rows = await sql.query<{ number: number }>(
    `update epochs set number = number + 1, raised_at = $2
     where recovering_since is null and number >= $1 returning number`,
    [marked, now],
  )
  return rows[0]?.number
}

/** After OpenFGA has acknowledged it: what died before leaves less here than it holds. */
async function recordAcknowledged(sql: Sql, number: number): Promise<void> {
  await sql.query('update epochs set told = greatest(told, $1)', [number])
}

/** The highest number that OpenFGA holds; 0: none. */
export async function readMarker(fga: Pick<Fga, 'read'>): Promise<number> {
  return Math.max(0, ...(await readMarkers(fga)))
}

async function readMarkers(fga: Pick<Fga, 'read'>): Promise<number[]> {
  const numbers: number[] = []
  for await (const { user } of fga.read({ object: markerObject })) {
    const number = Number(user.replace(/^agent:epoch\./, ''))
    if (Number.isSafeInteger(number)) numbers.push(number)
  }
  return numbers
}

/**
 * Whether OpenFGA went back before it was told this. The marker of what was told last stays until a later one
 * is told. Only a process of before 1.2.1 takes it away earlier: then none is left that is lower.
 */
const lacks = (markers: readonly number[], told: number): boolean =>
  told > 0 && !markers.includes(told) && (markers.length === 0 || Math.min(...markers) < told)

/** Says in OpenFGA that a recovery goes on. One that is put back meanwhile does not say it any more. */
export async function markRecovery(fga: Pick<Fga, 'write'>, txn: string): Promise<void> {
  await fga.write({ writes: [recoveryMarker(txn)] })
}

/** Whether OpenFGA is still the one that was told of this recovery. */
export async function isRecoveryMarked(fga: Pick<Fga, 'read'>, txn: string): Promise<boolean> {
  for await (const _ of fga.read(recoveryMarker(txn))) return true
  return false
}

/**
 * Tells OpenFGA the number of this recovery, which ends what it says of recoveries. False: it was put back
 * meanwhile, and that is noted.
 */
export async function tellRecovered(
  { database, fga }: { readonly database: Sql; readonly fga: Pick<Fga, 'read' | 'write'> },
  {
    number,
    txn,
    ...recovery
  }: { readonly number: number; readonly txn: string } & Parameters<typeof notePutBack>[1],
): Promise<boolean> {
  // The new one comes before the old ones go: there is never none.
  await fga.write({ writes: [marker(number)] })
  if (!(await isRecoveryMarked(fga, txn))) {
    await notePutBack(database, recovery)
    return false
  }
  await recordAcknowledged(database, number)
  await removeMarkersBelow(fga, number)
  const said: Tuple[] = []
  for await (const { user, relation, object } of fga.read({ object: markerObject }))
    if (user.startsWith(recoveryAgent)) said.push({ user, relation, object } as Tuple)
  await fga.write({ deletes: said })
  return true
}

async function removeMarkersBelow(fga: Pick<Fga, 'read' | 'write'>, number: number): Promise<void> {
  const outdated = (await readMarkers(fga)).filter((markerNumber) => markerNumber < number)
  if (outdated.length > 0) await fga.write({ deletes: outdated.map(marker) })
}

/** Changes with every record that is written and every code, refresh token or the like that is redeemed. */
async function activity(sql: Sql): Promise<string> {
  const [row] = await sql.query<{ at: string }>(
    `select concat((select max(record_no) from decision_records), ' ',
       (select max(consumed_at) from oauth_artifacts)) as at`,
  )
  return row?.at ?? ''
}
