import { AppError } from '../../kernel/errors.ts'
import { createFollower, type Follower } from '../../kernel/follower.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows, type Listener, type Sql, type SqlValue } from '../../store/sql.ts'
import { createClockComparison } from './clock-comparison.ts'
import { keptMs } from './revocations.ts'

/**
 * What this process has heard of who may no longer act: the deny-list in memory, and the number of the last
 * change of delegations, agents, clients, services and account links. The database numbers changes in the
 * order of their commits (migration 0014), so that none is missed by looking too early.
 */
export interface RevocationFeed extends AsyncDisposable {
  /**
   * Throws `authorization_unavailable` where nothing was heard for `deafAfterMs`, since what is held may be
   * over, and while `areClocksApart`.
   */
  assertHeard(): void
  /** Whether `assertHeard` would pass. */
  readonly isHeard: boolean
  /**
   * Whether this process's clock is more than five minutes from the database's, as its reads say: what is
   * over for others counts here, or the other way round. False where nothing is compared.
   */
  readonly areClocksApart: boolean
  /**
   * Number of the last change, where what is held in memory is the truth. Undefined while this process knows
   * of a newer change that it has not read yet, heard nothing for `freshMs`, or `areClocksApart`: ask the
   * database.
   */
  readonly current: number | undefined
  /**
   * Whether one of these keys (see `denyKey`) is on the list as it was at `at`, milliseconds since the epoch
   * and at most an hour ago. Only to be believed while `current` is a number.
   */
  isDenied(keys: readonly string[], at: number): boolean
  /**
   * Called for each change in order, before `current` names it. `all`: any number of changes, of anything.
   */
  onChange(listener: (change: RevocationChange) => void): void
  /** Reads now what is not known yet. */
  refresh(): Promise<void>
  /** Forgets changes that everybody has read, and returns how many. */
  sweep(): Promise<number>
}

/** One change that every process hears of. */
export interface RevocationChange {
  readonly kind: 'jti' | 'grant' | 'subject' | 'agent' | 'delegation' | 'registry' | 'all'
  readonly key: string
}

export interface RevocationFeedOptions extends Pick<Runtime, 'database' | 'clock' | 'log'> {
  /** Milliseconds between two looks where other processes may change something. Default 500. */
  readonly pollMs?: number
  /** Milliseconds after which what is held is not believed without asking. Default 1,000. */
  readonly freshMs?: number
  /** Milliseconds after which nobody is answered. Default 5,000. */
  readonly deafAfterMs?: number
  /**
   * Told of each change that was heard while following: the seconds from its transaction's begin to here, by
   * the clock of the database alone.
   */
  readonly onEffect?: (seconds: number) => void
  /**
   * Whether each read compares `clock` with the database's. Default false: tests put theirs. On PGlite, which
   * runs in this process, there is one clock and nothing to compare.
   */
  readonly comparesClocks?: boolean
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
}

/** The key of a revocation on the list in memory. */
export const denyKey = (kind: string, key: string): string => `${kind} ${key}`

/**
 * Reads the list and follows it. On PGlite one process changes everything and hears itself before its change
 * is answered. On native Postgres a connection of its own listens, and is asked twice a second besides, which
 * says both that it still hears and what it missed while there was none. Each look commits, so that no server
 * is heard that is not primary (decision 0064).
 */
export async function openRevocationFeed(options: RevocationFeedOptions): Promise<RevocationFeed> {
  const { database, clock, log, pollMs = 500, freshMs = 1_000, deafAfterMs = 5_000 } = options
  const { onEffect = () => undefined, comparesClocks = false } = options
  const { openListener } = database
  const isAlone = openListener === undefined
  const listeners: ((change: RevocationChange) => void)[] = []
  /** When each ends, in milliseconds since the epoch. */
  const denied = new Map<string, number>()
  let applied = -1
  /** The newest that answered. */
  let timeline = 0
  // Counts notices; `readTo` is how many of them had come when the last read began.
  let noticeCount = 0
  let readTo = 0
  let isOlder = false
  /** What was read last. */
  let seen: Heard | undefined
  const clocks = createClockComparison(log)

  const deny = ({ kind, key, until: expiresAt }: DenyRow): void => {
    denied.set(denyKey(kind, key), expiresAt ?? Number.POSITIVE_INFINITY)
  }

  const tell = (change: RevocationChange): void => {
    for (const listener of listeners) listener(change)
  }

  async function read(sql: Sql): Promise<void> {
    const toldBefore = noticeCount
    const news = applied === -1 ? undefined : await hear((known) => readNews(sql, known, applied))
    // Another server's numbers may be of other changes, where it lacks what its predecessor had told of.
    const isSameServer = (news?.timeline ?? timeline) === timeline
    if (news === undefined || !isSameServer || !isWhole(news, applied)) await readAll(sql)
    else for (const change of news.changes) apply(change)
    readTo = toldBefore
  }

  /** Nothing counts of a server that was replaced, its clock neither. */
  async function hear<T extends Heard>(ask: (known: number) => Promise<T>): Promise<T> {
    const before = clock.now()
    const told = await ask(seen?.version ?? -1)
    if ((told.timeline ?? timeline) < timeline)
      throw new Error('a server answers that is not primary any more')
    if (seen !== undefined && wasReplaced(seen, told)) {
      // An older copy was put in its place, recovered or not: what was taken back since is not in it.
      isOlder = true
      throw new Error('the database is older than what was read from it')
    }
    seen = told
    if (comparesClocks && !isAlone) clocks.compare(before, told.now, clock.now())
    return told
  }

  async function readAll(sql: Sql): Promise<void> {
    const { version, list, timeline: answered } = await hear((known) => readList(sql, known))
    timeline = answered ?? timeline
    denied.clear()
    for (const row of list) deny(row)
    tell({ kind: 'all', key: '' })
    applied = version
  }

  function apply(change: ChangeRow): void {
    const { kind, key } = change
    if (kind !== 'delegation' && kind !== 'registry') {
      if (change.lifted) denied.delete(denyKey(kind, key))
      else deny(change)
    }
    tell({ kind, key })
    applied = change.version
    onEffect(change.age)
  }

  function notice(payload: string): void {
    // One's own connections all tell the same.
    if (Number(payload) <= applied) return
    noticeCount += 1
    follower.wake()
  }

  const follower: Follower = createFollower<Listener>({
    read: (listener) => read(listener ?? database),
    pollMs,
    ...(options.elapsed && { elapsed: options.elapsed }),
    ...(openListener === undefined
      ? { poll: async () => (readTo === noticeCount ? undefined : follower.refresh()) }
      : { connect: () => openListener(notice) }),
    onFailed(error, failures) {
      if (failures === 1) log('authority_unheard', { reason: reasonOf(error) })
    },
    onRecovered: () => log('authority_heard'),
  })
  database.onNotice(notice)
  await follower.poll()
  await follower.refresh()
  follower.start()
  const isHeardWithin = (ms: number) => !isOlder && !clocks.areApart && (isAlone || follower.isFresh(ms))
  const unheard = () =>
    isOlder
      ? 'the database went back in time'
      : clocks.areApart
        ? 'the clocks of this process and of the database are minutes apart'
        : 'changes of authority were not heard for long'

  return {
    assertHeard() {
      if (!isHeardWithin(deafAfterMs))
        throw new AppError('authorization_unavailable', {
          headers: { 'retry-after': '5' },
          internal: unheard(),
        })
    },
    get isHeard() {
      return isHeardWithin(deafAfterMs)
    },
    get areClocksApart() {
      return clocks.areApart
    },
    get current() {
      return readTo === noticeCount && isHeardWithin(freshMs) ? applied : undefined
    },
    isDenied: (keys, at) => keys.some((key) => (denied.get(key) ?? 0) > at),
    onChange(listener) {
      listeners.push(listener)
    },
    refresh: follower.refresh,
    async sweep() {
      // By both clocks, as its rows: ahead or behind, what it forgot would count again for somebody.
      const { now: databaseNow } = await readFeed<{ readonly now: number }>(
        database,
        'select (extract(epoch from now()) * 1000)::float8 as now',
      )
      const now = Math.min(databaseNow, clock.now())
      for (const [key, expiresAt] of denied) if (expiresAt <= now - keptMs) denied.delete(key)
      return countRows(
        database,
        `delete from revocation_feed_changes where at < now() - interval '1 hour' returning version`,
      )
    },
    [Symbol.asyncDispose]: () => follower[Symbol.asyncDispose](),
  }
}

interface DenyRow {
  readonly kind: RevocationChange['kind']
  readonly key: string
  /** Milliseconds since the epoch; null: for ever. */
  readonly until: number | null
}

interface ChangeRow extends DenyRow {
  readonly version: number
  readonly lifted: boolean
  /** Seconds. */
  readonly age: number
}

/** Of the server that answered. */
interface Heard {
  readonly version: number
  /** Which change has that number. null: it was swept. */
  readonly last: string | null
  /** Which change has the number that was read before. null: it was swept. */
  readonly known: string | null
  /** The database and the table: others in a copy that was loaded, whatever it is called. */
  readonly place: string
  /** When it was recovered. Told as a change, too. null: never. */
  readonly recovered: string | null
  /** null: it does not tell. */
  readonly timeline: number | null
  /** By its clock, in milliseconds since the epoch. */
  readonly now: number
}

interface News extends Heard {
  readonly changes: readonly ChangeRow[]
}

/** Whether another history answers than the one that was read. Its numbers may have come as far. */
const wasReplaced = (seen: Heard, told: Heard): boolean =>
  told.version < seen.version ||
  told.place !== seen.place ||
  (told.known !== null && told.known !== seen.last) ||
  (told.version === seen.version && told.recovered !== seen.recovered)

const age = 'greatest(0, extract(epoch from clock_timestamp() - at))::float8 as age'
const milliseconds = '(extract(epoch from until) * 1000)::float8 as until'

/** Two histories that give one number do not give it in the same microsecond. */
const changeNumbered = (number: string): string =>
  `select concat(extract(epoch from at), ' ', kind, ' ', key) from revocation_feed_changes where version = ${number}`

/**
 * Writes, so that the read commits: a standby refuses it, and a primary that was replaced waits for its
 * standby in vain. Whoever gets an answer has asked the primary.
 */
const heard = `version, (${changeNumbered('revocation_feed.version')}) as last, (${changeNumbered('$1')}) as known,
  concat((select oid from pg_database where datname = current_database()), ' ', tableoid) as place,
  (select extract(epoch from tokens_from)::text from epochs) as recovered,
  server_timeline() as timeline, setval('heartbeats', 1) as beat,
  (extract(epoch from clock_timestamp()) * 1000)::float8 as now`

/** In one statement, and so of one moment. */
const readNews = (sql: Sql, known: number, sinceVersion: number): Promise<News> =>
  readFeed<News>(
    sql,
    `select ${heard}, (
       select coalesce(json_agg(c order by c.version), '[]')
       from (select version, kind, key, lifted, ${milliseconds}, ${age} from revocation_feed_changes where version > $2) as c
     ) as changes from revocation_feed`,
    [known, sinceVersion],
  )

const readList = (sql: Sql, known: number) =>
  readFeed<Heard & { readonly list: readonly DenyRow[] }>(
    sql,
    `select ${heard}, (
       select coalesce(json_agg(r), '[]') from (select kind, key, ${milliseconds} from revocations) as r
     ) as list from revocation_feed`,
    [known],
  )

async function readFeed<Row extends object>(
  sql: Sql,
  text: string,
  values: readonly SqlValue[] = [],
): Promise<Row> {
  const [row] = await sql.query<Row>(text, values)
  if (row === undefined) throw new Error('The database has no row of authority.')
  return row
}

/** Each number between what is known and what is: one that is missing was swept. */
const isWhole = ({ version, changes }: News, sinceVersion: number): boolean =>
  changes.length === version - sinceVersion &&
  changes.every((change, index) => change.version === sinceVersion + index + 1)
