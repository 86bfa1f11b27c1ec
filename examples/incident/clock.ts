import type { Clock } from '../../src/kernel/clock.ts'
import type { Database } from '../../src/store/sql.ts'

/** A clock that goes as ever, from whatever moment it is put to. */
export interface StoryClock extends Clock {
  /** Puts it to a moment, in milliseconds; `undefined`: to the real one. */
  put(at: number | undefined): void
}

/**
 * The clock of this whole process: the authorization server's library asks `Date`, not the service. Timers go
 * on as they were, so that a step forward is to the service what sleep is to a laptop.
 */
export function takeOverClock(): StoryClock {
  const Real = Date
  let offset = 0
  const now = (): number => Real.now() + offset
  globalThis.Date = class extends Real {
    constructor(...given: readonly [] | readonly [number | string | Date]) {
      super(...(given.length === 0 ? ([now()] as const) : given))
    }
    static override now = now
    static override [Symbol.hasInstance](value: unknown): boolean {
      return Function.prototype[Symbol.hasInstance].call(Real, value)
    }
  } as DateConstructor
  return {
    now,
    put(at) {
      offset = at === undefined ? 0 : at - Real.now()
    },
  }
}

/**
 * Has records carry the clock's time. They have the database's, which nobody can put: its default is what is
 * changed.
 */
export async function recordBy(clock: Clock, database: Database) {
  await database.query('create table story_clock (ahead interval not null)')
  await database.query(`insert into story_clock values ('0')`)
  await database.query(
    `create function story_now() returns timestamptz language sql as 'select now() + ahead from story_clock'`,
  )
  await database.query('alter table decision_records alter column at set default story_now()')
  const follow = async (): Promise<void> => {
    await database.query('update story_clock set ahead = $1 - clock_timestamp()', [new Date(clock.now())])
  }
  await follow()
  return {
    /** After the clock was put. */
    follow,
    async leave(): Promise<void> {
      await database.query('alter table decision_records alter column at set default now()')
      await database.query('drop function story_now(); drop table story_clock')
    },
  }
}
