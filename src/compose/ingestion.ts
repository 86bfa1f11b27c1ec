import { randomBytes } from 'node:crypto'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import type { Fga } from '../authz/fga.ts'
import type { Services } from '../delegation/registry/services.ts'
import { effectsOf } from '../directory/memberships.ts'
import type { App } from '../http/env.ts'
import { accessRoutes, declarationRoutes } from '../http/routes/ingest/declarations.ts'
import { documentWriteRoutes, importRoutes } from '../http/routes/ingest/documents-write.ts'
import { failedRoutes } from '../http/routes/ingest/failed.ts'
import { jobRoutes } from '../http/routes/ingest/jobs.ts'
import type { OnRecord } from '../http/routes/reading.ts'
import { createIngest, type Epoch, type Ingest } from '../ingest/ingest.ts'
import type { ParseInput } from '../ingest/parse/parsed.ts'
import { createParser, parsersHere } from '../ingest/parse/parser.ts'
import { titleOf } from '../ingest/parse/title-of.ts'
import { createPgBossQueue } from '../jobs/pgboss.ts'
import type { ApiAccess } from './api-access.ts'
import type { ComposeContext } from './context.ts'
import type { Retrieval } from './retrieval.ts'

/** Of the wiring's context, what ingestion takes. */
export interface IngestionDeps
  extends Pick<ComposeContext, 'config' | 'infrastructure' | 'database' | 'boss' | 'clock' | 'log' | 'now'> {
  readonly fga: Fga
  readonly allowList: () => AllowList
  /** To be told what was taken in. */
  readonly retrieval: Pick<Retrieval, 'corpus' | 'chunkIndex' | 'isBeingAsked' | 'turns'>
  readonly epoch: Epoch
  /** Told of every call of the model for passages, before it. */
  readonly onEmbed: (passages: number) => void
  /** Told how many objects a comparison with OpenFGA mended. */
  readonly onDrift: (objects: number) => void
  /** Told how many documents that waited came to an end. */
  readonly onEnded: (documents: number) => void
}

/** What takes documents in, and away again. Its jobs do not run before `ingest.start()`. */
export interface Ingestion extends AsyncDisposable {
  readonly ingest: Ingest
  /** A document's own title; undefined where it has none, or cannot be read. */
  readonly titleOf: (input: ParseInput) => Promise<string | undefined>
  routes(face: IngestionFace): readonly App[]
}

/** What the routes for documents need of the API's access. */
export interface IngestionFace extends Pick<ApiAccess, 'requireBearer' | 'isAdministrator' | 'reading'> {
  readonly services: Services
  readonly record: OnRecord
}

// Without a model nothing limits a passage; this is what the local model would read.
const tokensMaxWithoutModel = 256
const countingWithoutModel = { kind: 'estimate', of: 'characters', perToken: 4, marks: 0 } as const
const importLinesMax = 1_000_000

/** Opens the queue and workers that take documents in. */
export async function openIngestion(dependencies: IngestionDeps): Promise<Ingestion> {
  const { config, database, boss, clock, log, now } = dependencies
  const { corpus, chunkIndex, isBeingAsked, turns } = dependencies.retrieval
  const { embeddings } = dependencies.infrastructure
  const embedder = embeddings.available ? embeddings.embedder : undefined
  await using stack = new AsyncDisposableStack()
  const parser = stack.use(
    createParser({
      threads: config.parserThreads ?? parsersHere(),
      cpuMsMax: config.parserCpuMs,
      timeoutMs: config.parserCpuMs * 10,
      memoryBytesMax: config.parserMemoryBytes,
      // Whoever asks goes first.
      givesWay: true,
      cutting: {
        counting: embedder?.counting ?? countingWithoutModel,
        tokensMax: embedder?.tokensMax ?? tokensMaxWithoutModel,
      },
    }),
  )
  const ingest = stack.use(
    createIngest({
      database,
      fga: dependencies.fga,
      allowList: dependencies.allowList,
      corpusChanged: corpus.changed,
      index: chunkIndex,
      isBeingAsked,
      isOverloaded: () => {
        const { waiting, running, atOnce } = turns()
        // Whoever waits for their own share alone keeps nobody's import waiting.
        return waiting > 0 && running >= atOnce
      },
      queue: createPgBossQueue({
        database,
        boss,
        name: 'documents',
        onError: (error) => log('job_failed', { reason: error.message }),
      }),
      embed:
        embedder &&
        ((texts, options) => {
          dependencies.onEmbed(texts.length)
          return embedder.embedPassages(texts, options)
        }),
      prepare: (content, signal) => parser.prepare(content, signal),
      clock,
      newId: () => `j_${randomBytes(16).toString('base64url')}`,
      limits: { lineBytesMax: config.bodyBytesMax, linesMax: importLinesMax },
      log,
      onDrift: dependencies.onDrift,
      onEnded: dependencies.onEnded,
      isApart: config.openfga !== undefined,
      effectsOf: (usersets, sql = database) => effectsOf(sql, dependencies.allowList(), usersets),
      epoch: dependencies.epoch,
      leaseSeconds: config.leaseSeconds,
    }),
  )
  const owned = stack.move()
  return {
    ingest,
    titleOf: (input) => titleOf(input, parser),
    routes: ({ services, requireBearer, isAdministrator, reading, record }) => [
      documentWriteRoutes({ ingest, requireBearer, bodyBytesMax: config.bodyBytesMax }),
      importRoutes({ ingest, requireBearer }),
      accessRoutes({
        ingest,
        requireBearer,
        isAdministrator,
        prefixesOf: async (service) => (await services.get(service))?.prefixes ?? [],
        now,
      }),
      declarationRoutes({ ingest, requireBearer, isAdministrator, now }),
      jobRoutes({ ...reading, ingest, requireBearer, record }),
      failedRoutes({ ...reading, ingest, requireBearer, record, isAdministrator, now }),
    ],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
