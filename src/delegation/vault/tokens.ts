import { setTimeout as sleep } from 'node:timers/promises'
import { type RecordActor, record } from '../../audit/record.ts'
import type { Clock } from '../../kernel/clock.ts'
import { ownElapsed } from '../../kernel/elapsed.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import { createLru } from '../../kernel/lru.ts'
import type { Database, Sql, SqlValue } from '../../store/sql.ts'
import { mayUse, usedBy } from './agreements.ts'
import type { Envelope } from './envelope.ts'
import type { Provider, Rule } from './provider.ts'
import { clientOf, type GrantedTokens, type ProviderClient, type ProviderClients } from './provider-client.ts'
import {
  type ConnectionRow,
  encryptionContextOf,
  type Lease,
  readRow,
  ruleList,
  sealedOf,
  takeLease,
} from './rows.ts'

/** A token as it is handed to whoever makes one call with it. */
export interface LiveToken {
  readonly connection: string
  readonly token: string
  readonly provider: Provider
  /** What the person agreed to, as it was when this was handed out. */
  readonly rules: readonly Rule[]
  /** When the pair was sealed that it is of, or that it was exchanged for. */
  readonly sealedAt: Date
}

/** Tokens of this moment: refreshed where they are over, by one process at a time. */
export interface LiveTokens {
  /**
   * Refreshed where it is over, exchanged where the provider can; on record as used before it is handed out.
   * Throws `connection_required` where the connection, or what the agent may use it by, ended meanwhile.
   */
  get(connection: string, recordedAs: RecordActor): Promise<LiveToken>
  /** Another one than that which was refused; undefined where there is none to be had. */
  after(refusedToken: LiveToken, recordedAs: RecordActor): Promise<LiveToken | undefined>
}

export interface LiveTokensDeps {
  readonly database: Database
  readonly envelope: Envelope
  readonly clients: ProviderClients
  readonly clock: Clock
  readonly log: Log
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
  /** Tests end the process here. */
  readonly step?: (name: string) => Promise<void>
}

/** A token that ends this soon is refreshed first: the call takes time, and clocks differ. */
const marginMs = 60_000
/** A call may still begin with a token that lasts this long, where the provider does not answer. */
const leastMs = 5_000
/** An API that refuses every token does not make us ask its provider again and again. */
const refusedAgainMs = 60_000
const waitMsMax = 15_000
const pauseMs = 50

/**
 * One refresh at a time, in this process and among all of them: whoever needs one takes the row's next number
 * for a while and asks the provider without a transaction, the others wait for what it writes. The new pair
 * is written before it is used; where the number was passed on meanwhile (taken back, connected anew), it is
 * not written at all.
 */
export function createLiveTokens(deps: LiveTokensDeps): LiveTokens {
  const { database, envelope, clients, clock, log } = deps
  const { elapsed = ownElapsed, step = async () => undefined } = deps
  const flights = new Map<string, Promise<ConnectionRow>>()
  /** When this process had a new pair for a connection, by `elapsed`. */
  const grantedAt = createLru<number>({ entriesMax: 1_000 })

  const assuredClient = (row: ConnectionRow): ProviderClient => {
    const client = clientOf(clients, row)
    if (client === undefined) throw new AppError('connection_required')
    return client
  }

  async function usable(id: string): Promise<ConnectionRow> {
    const row = await readRow(database, id)
    if (row === undefined) throw new AppError('connection_required')
    if (row.state !== 'live') throw new AppError('reconnect_required')
    return row
  }

  /** The row once it holds another pair than `old`, by our refresh or somebody's. */
  async function renewed(old: ConnectionRow, recordedAs: RecordActor): Promise<ConnectionRow> {
    for (let waited = 0; ; waited += pauseMs) {
      const row = await usable(old.id)
      if (row.sealed_at.getTime() !== old.sealed_at.getTime()) return row
      const lease = await takeLease(database, row, elapsed)
      if (lease !== undefined) return refresh(row, lease, recordedAs)
      if (waited >= waitMsMax) throw unavailable('somebody else is refreshing it')
      await sleep(pauseMs)
    }
  }

  function flight(row: ConnectionRow, recordedAs: RecordActor): Promise<ConnectionRow> {
    const flightOf = flights.get(row.id)
    if (flightOf !== undefined) return flightOf
    const ownFlight = renewed(row, recordedAs).finally(() => flights.delete(row.id))
    flights.set(row.id, ownFlight)
    return ownFlight
  }

  async function refresh(row: ConnectionRow, lease: Lease, recordedAs: RecordActor): Promise<ConnectionRow> {
    const client = assuredClient(row)
    const { refreshToken } = await envelope.open(encryptionContextOf(row), sealedOf(row))
    if (refreshToken === undefined) return broken(row, lease, recordedAs)
    await step('leased')
    // Stood still until somebody else may have asked: a token that is used twice is taken for a stolen one.
    if (lease.isOver()) {
      // Nobody else may have come: then it would keep us waiting ourselves.
      await lease.giveBack()
      return renewed(row, recordedAs)
    }
    const granted = await client.refresh(refreshToken, row.scopes)
    await step('refreshed')
    if (granted.ok) return keep(row, lease, recordedAs, granted.value)
    log('vault_refresh_failed', { provider: row.provider, reason: granted.reason, detail: granted.detail })
    if (granted.reason === 'refused') return broken(row, lease, recordedAs)
    await lease.giveBack()
    throw unavailable(granted.detail)
  }

  /** Written before it is used: a pair that is lost after its first use cannot be had again. */
  async function keep(
    row: ConnectionRow,
    lease: Lease,
    recordedAs: RecordActor,
    { tokens, scopes, expiresAt }: GrantedTokens,
  ): Promise<ConnectionRow> {
    grantedAt.set(row.id, elapsed())
    const { jwe, key } = await envelope.seal(encryptionContextOf(row), tokens)
    const written = await persistently(() =>
      database.transaction(async (sql) => {
        const isOurs = await lease.write(sql, {
          sealed: jwe,
          key,
          tokenExpiresAt: expiresAt,
          refreshable: tokens.refreshToken !== undefined,
          scopes: scopes ?? row.scopes,
          sealedAt: new Date(Math.max(clock.now(), row.sealed_at.getTime() + 1)),
        })
        if (isOurs) await record(sql, recordedAs, eventOf('connection_refreshed', row))
        return isOurs
      }),
    )
    await step('kept')
    // Taken back meanwhile: what the provider gave since must not live on there. Connected anew: it may be
    // the same grant, and is left alone.
    if (!written && (await readRow(database, row.id)) === undefined) await assuredClient(row).revoke(tokens)
    return usable(row.id)
  }

  /** Never deleted: the person sees it, and connects once more. */
  async function broken(row: ConnectionRow, lease: Lease, recordedAs: RecordActor): Promise<ConnectionRow> {
    await database.transaction(async (sql) => {
      if (await lease.breakOff(sql)) await record(sql, recordedAs, eventOf('connection_broken', row))
    })
    // Whoever was before us has written another pair: then it is that.
    return usable(row.id)
  }

  /**
   * Where the provider exchanges tokens and does not take this one any more, of the next pair. What was taken
   * back while the provider, or this process, took its time is not handed out: its end and the record of its
   * use wait for each other.
   */
  async function handOut(row: ConnectionRow, recordedAs: RecordActor, isNew = false): Promise<LiveToken> {
    const client = assuredClient(row)
    const { accessToken } = await envelope.open(encryptionContextOf(row), sealedOf(row))
    const { provider } = client
    const exchanged = provider.tokenExchange && (await client.exchange(accessToken, row.scopes))
    if (exchanged !== undefined && !exchanged.ok) {
      const { reason, detail } = exchanged
      log('vault_exchange_failed', { provider: row.provider, reason, detail })
      if (reason === 'provider_unavailable' || isNew) throw unavailable(detail)
      if (!row.refreshable) throw new AppError('reconnect_required')
      return handOut(await flight(row, recordedAs), recordedAs, true)
    }
    const event = { ...eventOf('connection_used', row), exchanged: exchanged !== undefined }
    const rules = await database.transaction(async (sql) => {
      const agreed = await agreedRules(sql, row.id, usedBy(recordedAs, clock.now()))
      if (agreed !== undefined) await record(sql, recordedAs, event)
      return agreed
    })
    if (rules === undefined) {
      const isEnded = (await readRow(database, row.id)) === undefined
      if (isEnded && exchanged !== undefined) await client.revoke({ accessToken: exchanged.value })
      throw new AppError('connection_required')
    }
    return {
      connection: row.id,
      token: exchanged?.value ?? accessToken,
      provider,
      rules,
      sealedAt: row.sealed_at,
    }
  }

  return {
    async get(id, recordedAs) {
      const row = await usable(id)
      assuredClient(row)
      const leftMs = row.token_expires_at ? row.token_expires_at.getTime() - clock.now() : Infinity
      if (leftMs > marginMs) return handOut(row, recordedAs)
      if (!row.refreshable && leftMs > 0) return handOut(row, recordedAs)
      return handOut(await flight(row, recordedAs).catch(orAsItIs(row, leftMs)), recordedAs)
    },
    async after({ connection, sealedAt }, recordedAs) {
      const row = await usable(connection)
      if (row.sealed_at.getTime() !== sealedAt.getTime()) return handOut(row, recordedAs)
      const ageMs = clock.now() - sealedAt.getTime()
      // A clock that was set back does not say how old it is: then each process goes by what it asked itself.
      const sinceMs = ageMs < 0 ? elapsed() - (grantedAt.peek(connection) ?? Number.NEGATIVE_INFINITY) : ageMs
      if (!row.refreshable || sinceMs < refusedAgainMs) return undefined
      return handOut(await flight(row, recordedAs), recordedAs)
    },
  }
}

/** Where it is live and may be used: what is agreed to. Both stay so until the end of the transaction. */
async function agreedRules(
  sql: Sql,
  connection: string,
  asker: readonly SqlValue[],
): Promise<readonly Rule[] | undefined> {
  const [row] = await sql.query<{ readonly rules: unknown }>(
    `select a.rules from connections as c join connection_agents as a on a.connection = c.id
     where ${mayUse} and c.id = $6 and c.state = 'live' for share of c, a`,
    [...asker, connection],
  )
  return row && ruleList.parse(row.rules)
}

/** Where the provider does not answer, what still counts is used. */
const orAsItIs =
  (row: ConnectionRow, leftMs: number) =>
  (error: unknown): ConnectionRow => {
    if (error instanceof AppError && error.code === 'provider_unavailable' && leftMs > leastMs) return row
    throw error
  }

const triesMsApart = [100, 400, 1_500]

/** The provider has taken the old pair back already: a database that hiccups must not lose the new one. */
async function persistently<T>(task: () => Promise<T>): Promise<T> {
  for (const pause of triesMsApart) {
    try {
      return await task()
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'storage_unavailable') throw error
    }
    await sleep(pause)
  }
  return task()
}

const unavailable = (internal: string | undefined): AppError =>
  new AppError('provider_unavailable', {
    headers: { 'retry-after': '5' },
    ...(internal !== undefined && { internal }),
  })

const eventOf = <Event extends string>(event: Event, { id, provider, account }: ConnectionRow) => ({
  event,
  connection: id,
  provider,
  account,
})
