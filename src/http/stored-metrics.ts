import { Gauge, type Registry } from 'prom-client'
import type { Unsealed } from '../audit/seal/lag.ts'
import type { Stock } from '../ingest/stock.ts'
import { withTimeout } from '../kernel/with-timeout.ts'

/** Name, help, value. */
type Told<T> = readonly [name: string, help: string, value: (read: T) => number]

/** How much of the record no seal holds yet, read when it is asked for; both are NaN where the database does not say. */
export const observeRecord = (registry: Registry, unsealed: () => Promise<Unsealed | undefined>): void =>
  observeStored(registry, unsealed, [
    ['remit_record_unsealed', 'Records that are not sealed yet; counted to 100,000.', ({ rows }) => rows],
    [
      'remit_record_unsealed_seconds',
      'Age of the oldest record that is not sealed yet.',
      ({ seconds }) => seconds,
    ],
  ])

const stockMsMax = 60_000
const countingMsMax = 2_000

/**
 * What is stored and what waits, counted at most once a minute and never twice at a time; all NaN where the database does not
 * say so within two seconds.
 */
export function observeStock(
  registry: Registry,
  stock: () => Promise<Stock | undefined>,
  now: () => number,
): void {
  let lastStock: { readonly stock: Stock; readonly at: number } | undefined
  let counting: Promise<Stock | undefined> | undefined
  const count = async (): Promise<Stock | undefined> => {
    try {
      const found = await stock()
      lastStock = found && { stock: found, at: now() }
      return found
    } finally {
      counting = undefined
    }
  }
  const read = async (): Promise<Stock | undefined> => {
    if (lastStock !== undefined && now() - lastStock.at < stockMsMax) return lastStock.stock
    // One that is late is not begun anew: a busy database would get one more at each look.
    counting ??= count()
    return withTimeout(countingMsMax, counting, undefined)
  }
  observeStored(registry, read, [
    ['remit_ingest_waiting', 'Documents accepted and not done yet.', ({ waiting }) => waiting],
    ['remit_ingest_failed', 'Documents that were not taken in, in 30 days.', ({ failed }) => failed],
    ['remit_documents', 'Documents that can be found.', ({ documents }) => documents],
    ['remit_passages', 'Passages that can be found.', ({ passages }) => passages],
    ['remit_database_bytes', 'Size of the database.', ({ databaseBytes }) => databaseBytes],
  ])
}

/** Whether database and OpenFGA are whole, or one is an older copy: 0 until `remit recover` has run. */
export function observeWhole(
  registry: Registry,
  isWhole: () => { readonly database: boolean; readonly openfga: boolean },
): void {
  for (const store of ['database', 'openfga'] as const)
    new Gauge({
      name: `remit_${store}_whole`,
      help: '0: seen to be an older copy, and nobody is answered until remit recover has run.',
      registers: [registry],
      collect() {
        this.set(isWhole()[store] ? 1 : 0)
      },
    })
}

/** Gauges that come from one look, for which all of them wait. */
function observeStored<T>(
  registry: Registry,
  read: () => Promise<T | undefined>,
  metrics: readonly Told<T>[],
): void {
  let reading: Promise<T | undefined> | undefined
  const together = (): Promise<T | undefined> => {
    reading ??= read()
      .catch(() => undefined)
      .finally(() => {
        reading = undefined
      })
    return reading
  }
  for (const [name, help, value] of metrics)
    new Gauge({
      name,
      help,
      registers: [registry],
      async collect() {
        const found = await together()
        this.set(found === undefined ? Number.NaN : value(found))
      },
    })
}
