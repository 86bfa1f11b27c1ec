import { setTimeout as sleep } from 'node:timers/promises'
import { type Source, SourceUnavailable } from '@remit/connector'
import { entryFor, type RegisteredSecret } from '../kernel/registered-secret.ts'
import type { GuardedFetch } from '../outbound/guarded-fetch.ts'
import { createSourceFetch, type SourceFetchCounts } from './fetch.ts'
import type { Opening, ReadSettings } from './kind.ts'
import type { SourceRow } from './rows.ts'
import type { HeldSource } from './runner.ts'

/** What leads out of the service. */
export interface Outside {
  readonly secrets: readonly RegisteredSecret[]
  readonly outbound: GuardedFetch
  readonly now: () => number
}

/** Settings whose source can ask its own origin. Its end notes how often it did. */
export interface OpenSettings extends AsyncDisposable, Pick<ReadSettings, 'origin' | 'verifiesAddresses'> {
  open(opening: Omit<Opening, 'fetch' | 'secret'>): Source
}

/** Gives a source its credential and its way out. `open` throws where this process has no such credential. */
export function openOutside(
  settings: ReadSettings,
  { row, signal, transaction }: HeldSource,
  { secrets, outbound, now }: Outside,
): OpenSettings {
  const { fetch, counts } = createSourceFetch({
    outbound,
    origin: row.origin,
    perMinute: row.requestsPerMinute,
    now,
    sleep: (ms, until) => sleep(ms, undefined, { signal: until }),
    signal,
  })
  return {
    origin: settings.origin,
    verifiesAddresses: settings.verifiesAddresses,
    open: (opening) => settings.open({ ...opening, fetch, secret: secretOf(row, secrets) }),
    [Symbol.asyncDispose]: () => noteRequests(transaction, row.id, counts),
  }
}

/** For exactly this kind and origin, also where what is stored names something else. */
function secretOf(
  { kind, origin, secret: name }: SourceRow,
  secrets: readonly RegisteredSecret[],
): string | undefined {
  if (name === undefined) return undefined
  const value = entryFor(secrets, { name, kind, origin })?.value
  if (value === undefined)
    throw new SourceUnavailable(`SOURCE_SECRETS has no entry ${name} for the kind ${kind} at ${origin} here.`)
  return value
}

/** Also of a reading that failed; one that lost its lease counts nothing. */
const noteRequests = async (
  transaction: HeldSource['transaction'],
  id: string,
  { requests, throttled }: SourceFetchCounts,
): Promise<void> => {
  if (requests === 0) return
  await transaction((sql) =>
    sql.query('update sources set requests = requests + $2, throttled = throttled + $3 where id = $1', [
      id,
      requests,
      throttled,
    ]),
  ).catch(() => undefined)
}
