import { readFile } from 'node:fs/promises'
import { readVerified } from '../audit/seal/verified.ts'
import { readLastBackup } from '../backup/last.ts'
import type { Config } from '../config/config.ts'
import { readDirectoryTotals } from '../directory/reading/totals.ts'
import {
  indexDetails,
  type Metrics,
  observeBackup,
  observeDirectories,
  observeHeard,
  observeIndex,
  observeRecord,
  observeSources,
  observeStock,
  observeTurns,
  observeVerified,
  observeWhole,
} from '../http/metrics.ts'
import { hostsOf } from '../http/middleware/frame.ts'
import { createOps, type Readiness } from '../http/ops.ts'
import { readStock } from '../ingest/stock.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { version } from '../kernel/version.ts'
import { withTimeout } from '../kernel/with-timeout.ts'
import { createChunkVectors } from '../retrieval/chunk-index/postgres/vectors.ts'
import { readSourceTotals } from '../sources/rows.ts'
import type { Database } from '../store/sql.ts'
import type { Authz } from './authz.ts'
import type { ComposeContext } from './context.ts'
import type { DelegationPart } from './delegation.ts'
import type { Embeddings } from './embeddings.ts'
import type { RecordKeeping } from './record.ts'
import type { Retrieval } from './retrieval.ts'

/** Of the service, what metrics and health take. */
export interface OperatorsDeps
  extends Pick<ComposeContext, 'config' | 'infrastructure' | 'database' | 'now'> {
  readonly metrics: Metrics
  readonly authz: Pick<Authz, 'active' | 'fga' | 'index' | 'matchesFile'>
  readonly delegation: Pick<DelegationPart, 'epoch' | 'isHeard' | 'areClocksApart' | 'isOpen'>
  readonly keeping: Pick<RecordKeeping, 'isInsertOnly' | 'unsealed'>
  readonly retrieval: Pick<Retrieval, 'turns'>
}

/** What operators see, and whether the service can answer at all. */
export interface Operators {
  readonly ops: ReturnType<typeof createOps>
  readonly isReady: () => Promise<boolean>
}

/** Opens metrics and the health route. */
export async function openOperators(dependencies: OperatorsDeps): Promise<Operators> {
  const { config, database, metrics, delegation, keeping } = dependencies
  const { active: activeModel, fga, index, matchesFile } = dependencies.authz
  observeIndex(metrics.registry, () => index.status())
  observeRecord(metrics.registry, () => withTimeout(probeMsMax, keeping.unsealed(), undefined))
  observeVerified(metrics.registry, () => readVerified(database))
  observeStock(metrics.registry, () => readStock(database), dependencies.now)
  const readDetails = () => ({
    database: !delegation.epoch.needsRecovery || delegation.epoch.older === 'openfga',
    openfga: delegation.epoch.older !== 'openfga',
  })
  observeSources(metrics.registry, () => readSourceTotals(database))
  observeDirectories(metrics.registry, () => readDirectoryTotals(database))
  observeWhole(metrics.registry, readDetails)
  observeBackup(metrics.registry, () => readLastBackup(database))
  observeHeard(metrics.registry, delegation.isHeard)
  observeTurns(metrics.registry, dependencies.retrieval.turns)
  const probe = () => Promise.all([answers(database), fga.isHealthy(activeModel.current.id)])
  const isOpen = () => delegation.isOpen() && activeModel.isKnown
  const readiness = async (): Promise<Readiness> => {
    const [databaseOk, openfgaOk] = await probe()
    return {
      ready: databaseOk && openfgaOk && isOpen(),
      details: {
        version,
        // False: `remit recover` has to be run.
        database_whole: readDetails().database,
        openfga_whole: readDetails().openfga,
        // False: changes of who may act are not heard. It mends itself once the database answers again.
        changes_heard: delegation.isHeard(),
        // False: this process's clock and the database's are minutes apart, so nothing that it hears counts.
        clocks_together: !delegation.areClocksApart(),
        database: databaseOk,
        openfga: openfgaOk,
        record: { insert_only_by_role: keeping.isInsertOnly },
        permission_index: indexDetails(index.status()),
        // Not known: its row could not be read for a while, and nobody is answered by a model that may be
        // over.
        authorization_model: {
          id: activeModel.current.id,
          known: activeModel.isKnown,
          matches_file: matchesFile(),
        },
        embeddings: await detailsOf(
          dependencies.infrastructure.embeddings,
          databaseOk ? database : undefined,
        ),
      },
    }
  }
  return {
    ops: createOps({
      hosts: hostsOf(`http://${config.ops.host}:${config.ops.port}`, config.ops.host, config.ops.port),
      bearer: await bearerOf(config.ops),
      metrics,
      readiness,
    }),
    isReady: async () => isOpen() && (await probe()).every(Boolean),
  }
}

const bearerCharactersMin = 32

/**
 * What stands in the file of OPS_BEARER_FILE, without the line's end. No start without it: it was meant to
 * guard something.
 */
export async function bearerOf({ bearerFile: file }: Config['ops']): Promise<string | undefined> {
  if (file === undefined) return undefined
  const bearer = await readFile(file, 'utf8').then(
    (text) => text.trim(),
    (error: unknown) => {
      throw new OperatorError(`The file of OPS_BEARER_FILE cannot be read: ${file}`, error)
    },
  )
  if (bearer.length < bearerCharactersMin || !/^[\x21-\x7e]+$/.test(bearer))
    throw new OperatorError(
      `The file of OPS_BEARER_FILE must hold one line of ${bearerCharactersMin} printable characters at least: ${file}`,
    )
  return bearer
}

async function detailsOf(embeddings: Embeddings, database: Database | undefined) {
  if (!embeddings.available) return { available: false, reason: embeddings.reason, mode: 'keyword' }
  return {
    available: true,
    model: embeddings.embedder.model,
    // Taken in while there was no model: found by words only. `remit reembed` mends it.
    ...(database && { passages_without_vector: await createChunkVectors(database).countMissing(database) }),
  }
}

const probeMsMax = 2_000

/** One that does not answer at all is as good as none. */
export const answers = (database: Database): Promise<boolean> =>
  withTimeout(
    probeMsMax,
    database.query('select 1').then(
      () => true,
      () => false,
    ),
    false,
  )
