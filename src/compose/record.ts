import { join } from 'node:path'
import { createErasures, type ErasureResult } from '../audit/seal/erase.ts'
import { type ExportedHead, readHeads } from '../audit/seal/heads.ts'
import { openSealKey } from '../audit/seal/key.ts'
import { readUnsealed, type Unsealed } from '../audit/seal/lag.ts'
import { countMissing } from '../audit/seal/missing.ts'
import { createRetention } from '../audit/seal/retention.ts'
import { createSealer } from '../audit/seal/sealer.ts'
import { noteVerified } from '../audit/seal/verified.ts'
import { type VerifyResult, verifyRecord } from '../audit/seal/verify.ts'
import { reasonOf } from '../kernel/reason.ts'
import { startRecurring } from '../kernel/recurring.ts'
import { guardRecord } from '../store/migrate.ts'
import type { ComposeContext } from './context.ts'

/** Of the wiring's context, what the record's upkeep takes. */
export type RecordDeps = Pick<ComposeContext, 'config' | 'database' | 'clock' | 'log' | 'newTxn'>

/** What keeps the record sealed, and as short as it has to be. */
export interface RecordKeeping {
  /** The service's role can add records and nothing else; else only triggers keep them. */
  readonly isInsertOnly: boolean
  /** Seals what was committed until now; gives how many records. */
  seal(): Promise<number>
  /** Seals about once a second until disposed, and once more then. */
  sealing(): AsyncDisposable
  /** How far that is behind. */
  unsealed(): Promise<Unsealed>
  /**
   * From the seal of the newest head on, where `resumes`: what was sealed before it was verified when that
   * head was kept.
   */
  verify(heads: readonly ExportedHead[], resumes?: boolean): Promise<VerifyResult>
  /**
   * Records that heads kept elsewhere tell of and that a restored copy has not; undefined: none of them is as
   * new as the copy. Seals nothing: the copy's next seal would be another than the one that was kept. Throws
   * `conflict` where the copy is not of the record that they are of.
   */
  missing(heads: readonly ExportedHead[], copiedAt: Date): Promise<number | undefined>
  heads(after: number, limit: number): Promise<readonly ExportedHead[]>
  erase(subject: string): Promise<ErasureResult>
  /** To be run every hour. */
  readonly tasks: Readonly<Record<string, () => Promise<unknown>>>
}

const sealEveryMs = 1_000

/** Verifies the record at start and seals it every second. An altered record is reported, not mended. */
export async function openRecord({
  config,
  database,
  clock,
  log,
  newTxn,
}: RecordDeps): Promise<RecordKeeping> {
  const { isInsertOnly } = await guardRecord(database)
  // Where it could be had: on PGlite there are no roles that hold.
  if (!isInsertOnly && database.kind === 'postgres')
    log('record_not_insert_only', {
      detail: 'its owner is the service: docker/record-owner.sql gives it one of its own',
    })
  const key = await openSealKey(join(config.home, 'keys'))
  const sealer = createSealer({ database, key, clock })
  const erasures = createErasures({ database, clock, newTxn, seal: sealer.seal })
  const dropOld = createRetention({ database, newTxn, days: config.auditRetentionDays })
  return {
    isInsertOnly,
    seal: sealer.seal,
    sealing() {
      const sealing = startRecurring(log, 'seal', sealEveryMs, sealer.seal)
      return {
        async [Symbol.asyncDispose]() {
          await sealing[Symbol.asyncDispose]()
          await sealing.poll()
        },
      }
    },
    unsealed: () => readUnsealed(database),
    verify: async (heads, resumes = false) => {
      // What was done a moment ago is looked at too.
      await sealer.seal()
      const firstSeal = resumes ? Math.max(1, ...heads.map(({ seal }) => seal)) : 1
      const options = { publicKey: key.publicKey, heads, from: firstSeal, now: clock.now() }
      const result = await verifyRecord(database, options)
      // What it found is told in any case.
      await noteVerified(database, result.found).catch((error: unknown) =>
        log('background_failed', { name: 'verified', reason: reasonOf(error) }),
      )
      return result
    },
    missing: (heads, copiedAt) =>
      countMissing(database, { publicKey: key.publicKey, heads, copiedAt, now: clock.now() }),
    heads: (afterSeal, limit) => readHeads(database, { after: afterSeal, limit }),
    erase: erasures.erase,
    tasks: { record_erasures: erasures.mend, record_retention: dropOld },
  }
}
