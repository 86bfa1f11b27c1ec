import { randomBytes } from 'node:crypto'
import type { FollowingIndex } from '../authz/index/create.ts'
import { shareName } from '../authz/index/share.ts'
import { createMetrics, indexDetails, observeIndex } from '../http/metrics.ts'
import { hostsOf } from '../http/middleware/frame.ts'
import { createOps } from '../http/ops.ts'
import { ownElapsed } from '../kernel/elapsed.ts'
import type { Listening } from '../kernel/listening.ts'
import { startRecurring } from '../kernel/recurring.ts'
import { createSnapshots } from '../retrieval/access-filter/snapshots.ts'
import { createCorpus } from '../retrieval/corpus/corpus.ts'
import { createAnswerer } from '../retrieval/nominators/answer.ts'
import { serveNominator } from '../retrieval/nominators/serve.ts'
import type { Database } from '../store/sql.ts'
import { readCredentials } from './asking.ts'
import { openAuthz } from './authz.ts'
import type { ComposeContext } from './context.ts'
import { answers, bearerOf } from './operators.ts'

/** A process that holds tuples for others, and nothing that signs, seals or answers people. */
export interface NominatorService extends AsyncDisposable {
  readonly ops: ReturnType<typeof createOps>
  /** Begins to listen for API processes. */
  serve(): Promise<Listening>
}

/** Opens the replica of a share, the corpus, and what operators see of both. */
export async function composeNominator(
  dependencies: Pick<ComposeContext, 'config' | 'infrastructure' | 'clock' | 'log'>,
): Promise<NominatorService> {
  const { config, infrastructure, clock, log } = dependencies
  const { database } = infrastructure
  const { host, port, ops, nominatorShare: share } = config
  const now = () => clock.now()
  const newTxn = () => `t_${randomBytes(16).toString('base64url')}`
  const credentials = await readCredentials(config, 'nominator')
  await using stack = new AsyncDisposableStack()
  const { active, fga, index } = stack.use(
    await openAuthz({ config, infrastructure, database, log, now, elapsed: ownElapsed, newTxn }),
  )
  stack.use(startRecurring(log, 'nominator_recovery', recoveryMs, followRecoveries(database, index)))
  const corpus = stack.use(createCorpus({ database, log, newForMs: 0 }))
  const snapshots = createSnapshots({ index, corpus, onlyBits: true })
  const answer = createAnswerer({ index, corpus, snapshots, share, modelId: () => fga.modelId, now })
  const metrics = createMetrics()
  observeIndex(metrics.registry, index.status)
  const readiness = async () => {
    const [databaseOk, openfgaOk] = await Promise.all([answers(database), fga.isHealthy(active.current.id)])
    const corpusOk = corpus.current() !== undefined
    return {
      // By what is known already: whoever looks at the replica has marks written (0033).
      ready: databaseOk && openfgaOk && corpusOk && active.isKnown && index.status().state === 'following',
      details: {
        share: shareName(share),
        database: databaseOk,
        openfga: openfgaOk,
        corpus: corpusOk,
        permission_index: indexDetails(index.status()),
        authorization_model: { id: active.current.id, known: active.isKnown },
      },
    }
  }
  const operators = createOps({
    hosts: hostsOf(`http://${ops.host}:${ops.port}`, ops.host, ops.port),
    bearer: await bearerOf(ops),
    metrics,
    readiness,
  })
  const owned = stack.move()
  return {
    ops: operators,
    serve: () => serveNominator({ answer, credentials, host, port, log }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

const recoveryMs = 5_000

/**
 * An OpenFGA that went back is read anew once somebody has run `remit recover`: what its log told of before
 * says nothing any more. What was recovered before this process began is in what it reads.
 */
function followRecoveries(database: Database, index: Pick<FollowingIndex, 'rebuild'>): () => Promise<void> {
  let seen: string | undefined
  return async () => {
    const [row] = await database.query<{ recovered: string }>(
      `select coalesce(tokens_from::text, '') as recovered from epochs where recovering_since is null`,
    )
    if (row === undefined) return
    if (seen !== undefined && seen !== row.recovered) await index.rebuild()
    seen = row.recovered
  }
}
