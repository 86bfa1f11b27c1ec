import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TupleKey } from '../authz/fga.ts'
import {
  type Background,
  createPrioritySemaphore,
  currentBackground,
  inBackground,
} from '../kernel/background.ts'
import { AppError } from '../kernel/errors.ts'
import type { FgaObject } from '../kernel/ids.ts'
import { type Recurring, startRecurring } from '../kernel/recurring.ts'
import type { Sql } from '../store/sql.ts'
import { acceptDocuments } from './accept.ts'
import { type AccessChange, applyTuples, changeAccess, takeAway } from './access.ts'
import type { Caller } from './access-rights.ts'
import { adoptTuples } from './adopt.ts'
import { type CollectionInput, saveCollection, saveFields } from './collections.ts'
import type { IngestContext, Step, Writer } from './context.ts'
import { createCrashCounts } from './crash-counts.ts'
import { type FieldType, readFields } from './document-rows.ts'
import { type DriftOptions, type DriftReport, drift, mendUnsettled, removeRequestOnly } from './drift.ts'
import { endAccess, type RestrictingOf } from './end-access.ts'
import {
  collectionsOfFailed,
  type FailedFilter,
  type FailedPage,
  forgetFailed,
  listFailed,
} from './failed-documents.ts'
import { createFailures, isOutage } from './failures.ts'
import { sweepFences } from './fences.ts'
import { createOpenImports, type ImportRequest, importDocuments } from './imports.ts'
import { type JobFilter, type JobPage, listJobs } from './job-list.ts'
import {
  createJobWaiter,
  findJob,
  type Idempotency,
  insertJob,
  type JobNote,
  type JobView,
  readJob,
} from './job-store.ts'
import { createLocks } from './locks.ts'
import { type MemberSource, settleMembers, type UnsettledMember } from './members.ts'
import { moveSubject, type SubjectMove } from './move-subject.ts'
import type { PageOf } from './pages.ts'
import { processRevisions } from './process.ts'
import { createReadBudget } from './read-budget.ts'
import { largeFrom, readSizeMax } from './read-each.ts'
import { breakSilent } from './receiving.ts'
import { reconcileObject } from './reconcile-tuples.ts'
import { countTags, renameSubject, retag } from './retag.ts'
import { type Retry, type Retrying, retryDocument } from './retry.ts'
import type { RevisionTask } from './revision.ts'
import { askRights } from './rights.ts'
import { rightsByName } from './rights-by-name.ts'
import { createSharedLock } from './shared-lock.ts'
import { canonical } from './unchanged.ts'
import type { Access, DocumentInput } from './wire.ts'
import { withdrawDocuments } from './withdraw.ts'

/**
 * Everything that changes the corpus and who may read it. Each call says on its function what it promises.
 * One whose `signal` fired before its turn came throws `deadline_exceeded`, and has done nothing.
 */
export interface Ingest extends AsyncDisposable {
  /**
   * Mends what a crash left, asserts that no request-only tuple is stored, and begins to work. `takesIn`:
   * whether this process takes documents in; else it only accepts them, for another one. Default true.
   */
  start(options?: { readonly compares?: boolean; readonly takesIn?: boolean }): Promise<void>
  /**
   * Accepts one document; returns the job's id. `idempotencyKey`: the same request again gets the same job.
   */
  put(writer: Writer, input: DocumentInput, idempotencyKey?: string, signal?: AbortSignal): Promise<string>
  /** Withdraws one document; it is hidden when this returns. Returns the job's id. */
  withdraw(writer: Writer, id: string, idempotencyKey?: string, signal?: AbortSignal): Promise<string>
  /** Eight of a service at a time: `rate_limited` beyond. */
  importAll(writer: Writer, request: ImportRequest): Promise<string>
  retag(writer: Writer, id: string, access: Access, signal?: AbortSignal): Promise<readonly JobNote[]>
  changeAccess(caller: Caller, change: AccessChange, signal?: AbortSignal): Promise<readonly JobNote[]>
  /** Memberships of a group that another part keeps: see {@link settleMembers}. */
  settleMembers<Member extends UnsettledMember>(caller: Caller, source: MemberSource<Member>): Promise<void>
  /** The operator's own tuples, without the allow-list: see {@link applyTuples}. */
  applyTuples(writer: Writer, change: AccessChange): Promise<void>
  /** What lets somebody read by their own name, and no source tells again: see {@link rightsByName}. */
  rightsByName(subject: string): Promise<readonly TupleKey[]>
  /** See {@link takeAway}. */
  takeAway(writer: Writer, tuples: readonly TupleKey[]): Promise<void>
  /** After an older copy came back: see {@link endAccess}. */
  endAccess(writer: Writer, restrictingOf: RestrictingOf): Promise<number>
  saveCollection(writer: Writer, input: CollectionInput, signal?: AbortSignal): Promise<void>
  /** The metadata fields that filters may use, by name. */
  fields(): Promise<ReadonlyMap<string, FieldType>>
  saveFields(writer: Writer, fields: Readonly<Record<string, FieldType>>): Promise<void>
  /** Takes failed content in again: see {@link retryDocument}. */
  retry(id: string, retrying: Retrying): Promise<Omit<Retry, 'isRepeated'>>
  /** The job for its owner; undefined for anybody else. Without an owner: for whoever may know of all. */
  job(id: string, owner: FgaObject | undefined): Promise<JobView | undefined>
  /** Does NOT check who asks. */
  jobs(filter: JobFilter, page: PageOf): Promise<JobPage>
  /** `isOwn`: for the service itself, those in collections to which it may write now. */
  failed(filter: OwnFilter, page: PageOf): Promise<FailedPage>
  /** Waits until the job is done or failed, or until the signal; returns how it stands then. */
  waitForJob(id: string, owner: FgaObject, signal: AbortSignal): Promise<JobView | undefined>
  drift(options?: DriftOptions): Promise<DriftReport>
  /** Tags that name this subject. */
  countTags(subject: string): Promise<number>
  /** Gives another subject what this one's tags give: see {@link renameSubject}. */
  renameSubject(from: string, to: string): Promise<boolean>
  /** Gives it that and all the rest: see {@link moveSubject}. */
  moveSubject(move: SubjectMove): Promise<void>
  /** Stops taking work and waits for what runs. Unfinished work goes on at the next start. */
  close(): Promise<void>
}

/** Which failed documents, and whether they are of whoever asks. */
export interface OwnFilter extends Omit<FailedFilter, 'collections'> {
  readonly isOwn: boolean
}

/** Notices that the database or OpenFGA is an older copy of itself. */
export interface Epoch {
  /** As of the last look. */
  readonly isSound: boolean
  /** Looks anew, and throws where one of them is. */
  assertSoundNow(): Promise<void>
}

const alwaysSound: Epoch = { isSound: true, assertSoundNow: async () => undefined }

/** Of the wiring's context, what ingestion takes. */
export interface IngestDeps
  extends Omit<
    IngestContext,
    | 'documentLocks'
    | 'step'
    | 'jobChanged'
    | 'corpusChanged'
    | 'failures'
    | 'crashCounts'
    | 'sharedLock'
    | 'readBudget'
    | 'fewAtATime'
    | 'whenCalm'
    | 'beatMs'
    | 'assertSound'
    | 'onDrift'
    | 'onEnded'
  > {
  /** Tests crash the worker here. */
  readonly step?: (step: Step, documentId: string) => Promise<void>
  readonly corpusChanged?: IngestContext['corpusChanged']
  readonly onDrift?: IngestContext['onDrift']
  readonly onEnded?: IngestContext['onEnded']
  /** Whether anybody waits for answers: then fewer rows are written at a time. Defaults to never. */
  readonly isBeingAsked?: () => boolean
  /** Whether somebody waits for their turn to be answered: then each batch waits. Defaults to never. */
  readonly isOverloaded?: () => boolean
  /** Most milliseconds that a part of a batch waits for them. Defaults to 30 seconds. */
  readonly calmMsMax?: number
  /** Whether OpenFGA keeps its tuples apart from this process and its database. */
  readonly isApart: boolean
  /** Whether the database or OpenFGA is an older copy of itself: neither is held to the other by itself. */
  readonly epoch?: Epoch
  /** Seconds after which what a dead process held is free. Defaults to 30. */
  readonly leaseSeconds?: number
  /** Milliseconds between two comparisons with OpenFGA. Defaults to an hour. */
  readonly driftEveryMs?: number
  /** Milliseconds between two looks for what a crash left. Defaults to a minute. */
  readonly mendEveryMs?: number
}

const sweepEveryMs = 3_600_000
// Documents that go in together. PGlite has one session, which questions share with a batch's transactions.
const batchMax = { postgres: 64, pglite: 8 }
const jobsKeptDays = 30
const adoptWaitMs = 5_000

/** Wires ingestion. Nothing runs before {@link Ingest.start}. */
export function createIngest({
  step = async () => undefined,
  corpusChanged = async () => undefined,
  onDrift = () => undefined,
  onEnded = () => undefined,
  isBeingAsked = () => false,
  isOverloaded = () => false,
  // 64 documents take most of a second of a processor: under load, one part in forty of one is theirs.
  calmMsMax = 30_000,
  driftEveryMs = 3_600_000,
  mendEveryMs = 60_000,
  isApart,
  epoch = alwaysSound,
  leaseSeconds = 30,
  ...dependencies
}: IngestDeps): Ingest {
  const { database, fga, clock, queue, newId, log } = dependencies
  const waiter = createJobWaiter()
  const documentLocks = createLocks({ database, fga, newId, now: () => clock.now(), leaseSeconds, isApart })
  const context: IngestContext = {
    ...dependencies,
    documentLocks,
    step,
    corpusChanged,
    onDrift,
    onEnded,
    jobChanged: waiter.changed,
    failures: createFailures(),
    crashCounts: createCrashCounts(database, newId()),
    sharedLock: createSharedLock(),
    readBudget: createReadBudget(readSizeMax, largeFrom),
    fewAtATime: createFewAtATime(isBeingAsked),
    whenCalm: (signal) => whenCalm(isOverloaded, calmMsMax, signal),
    beatMs: mendEveryMs / 2,
    assertSound: () => epoch.assertSoundNow(),
  }
  const openImports = createOpenImports()
  const recurring: Recurring[] = []
  let closing: Promise<void> | undefined

  /** What has not ended when it is due again goes on alone. */
  function every(everyMs: number, name: string, task: () => Promise<unknown>): Recurring {
    const started = startRecurring(log, name, everyMs, task)
    recurring.push(started)
    return started
  }

  const whileSound = (task: () => Promise<unknown>) => async () => (epoch.isSound ? task() : undefined)

  async function startJobs({ compares = true, takesIn = true } = {}): Promise<void> {
    // On PGlite there was one process, and it is gone: what it was receiving is over.
    await breakSilent(context, database.kind === 'pglite' ? 0 : undefined)
    await removeRequestOnly(context)
    const adopting = every(
      mendEveryMs,
      'adopt',
      whileSound(() => adoptTuples(context)),
    )
    // Of a large store it goes on beside what is served.
    await Promise.race([adopting.poll(), sleep(adoptWaitMs, undefined, { ref: false })])
    const mending = every(
      mendEveryMs,
      'mend',
      whileSound(() => mendUnsettled(context)),
    )
    // What it cannot mend now was acknowledged to nobody: it is no reason to serve none of the rest. What a
    // killed process holds ends with its lease, and answers wait for no lease.
    await Promise.race([mending.poll(), sleep(adoptWaitMs, undefined, { ref: false })])
    if (takesIn)
      await queue.startBatches(
        (tasks, run) => processRevisions(context, tasks as readonly RevisionTask[], run),
        batchMax[database.kind],
        isOutage,
      )
    else await queue.prepare()
    const drifting = every(
      driftEveryMs,
      'drift',
      whileSound(() => drift(context)),
    )
    // An OpenFGA that was put back by less than anything else notices may let read who was taken off.
    if (compares) void drifting.poll()
    every(mendEveryMs, 'break_silent', () => breakSilent(context))
    if (isApart) every(sweepEveryMs, 'fences', () => sweepFences({ fga }, clock.now()))
    every(driftEveryMs, 'forget_jobs', () => forgetJobs(database))
    every(driftEveryMs, 'forget_failed', () => forgetFailed(database))
  }

  /** Makes one job; with a known key the request is not done again. */
  async function once(
    writer: Writer,
    kind: 'document' | 'withdrawal',
    request: unknown,
    key: string | undefined,
    acceptInput: (jobId: string, beginWriting: (sql: Sql) => Promise<void>) => Promise<unknown>,
  ): Promise<string> {
    const idempotency = key === undefined ? undefined : { key, digest: digestOf(kind, request) }
    const knownJob = idempotency && (await findJob(database, writer.subject, idempotency))
    if (knownJob !== undefined) {
      await settleJob(context, knownJob)
      return knownJob
    }
    const jobId = newId()
    await acceptInput(jobId, (sql) => beginJob(sql, jobId, writer, kind, idempotency))
    return jobId
  }

  const close = (): Promise<void> => {
    closing ??= (async () => {
      const ended = Promise.all(recurring.map((task) => task[Symbol.asyncDispose]()))
      await queue.close()
      await ended
    })()
    return closing
  }

  return {
    start: startJobs,
    put: (writer, input, key, signal) =>
      once(writer, 'document', input, key, (jobId, beginWriting) =>
        acceptDocuments(context, writer, {
          jobId,
          items: [{ input }],
          onRefused: 'throw',
          begin: beginWriting,
          signal,
        }),
      ),
    withdraw: (writer, id, key, signal) =>
      once(writer, 'withdrawal', { id }, key, (jobId, beginWriting) =>
        withdrawDocuments(context, writer, { jobId, ids: [id], begin: beginWriting, signal }),
      ),
    importAll: (writer, request) =>
      openImports(writer.subject, () => importDocuments(context, writer, request)),
    retag: (...args) => retag(context, ...args),
    changeAccess: (...args) => changeAccess(context, ...args),
    settleMembers: (caller, source) => settleMembers(context, caller, source),
    applyTuples: (writer, change) => applyTuples(context, writer, change),
    rightsByName: (subject) => rightsByName(context, subject),
    takeAway: (writer, tuples) => takeAway(context, writer, tuples),
    endAccess: (writer, restrictingOf) => endAccess(context, writer, restrictingOf),
    saveCollection: (...args) => saveCollection(context, ...args),
    fields: () => readFields(database),
    saveFields: (writer, fields) => saveFields(context, writer, fields),
    async retry(id, retrying) {
      const { isRepeated, ...retry } = await retryDocument(context, id, retrying)
      if (isRepeated) await settleJob(context, retry.jobId)
      return retry
    },
    job: (id, owner) => readJob(database, id, owner, clock.now()),
    jobs: (filter, page) => listJobs(database, filter, page, clock.now()),
    failed: (filter, page) => listOwnFailed(context, filter, page),
    waitForJob: (id, owner, signal) =>
      waiter.wait(id, () => readJob(database, id, owner, clock.now()), signal),
    drift: (options) => drift(context, options),
    countTags: (subject) => countTags(database, subject),
    renameSubject: (...subjects) => renameSubject(context, ...subjects),
    moveSubject: (move) => moveSubject(context, move),
    close,
    [Symbol.asyncDispose]: close,
  }
}

const lookEveryMs = 100

async function whenCalm(isOverloaded: () => boolean, calmMsMax: number, signal: AbortSignal): Promise<void> {
  const until = performance.now() + calmMsMax
  while (isOverloaded() && performance.now() < until && !signal.aborted) await sleep(lookEveryMs)
}

/** Most milliseconds that are rested. */
const restMsMax = 500

/**
 * Two at a time. While anybody asks one, and after it as long a rest as it took: on two cores the other one
 * is theirs, and half of this one.
 */
function createFewAtATime(isBeingAsked: () => boolean): IngestContext['fewAtATime'] {
  // An import that is accepted is as patient as what is published.
  const patiently = (enter: () => Promise<() => void>, patience?: Background): Promise<() => void> =>
    currentBackground() === undefined ? inBackground(enter, patience) : enter()
  const [enter, enterAlone] = [createPrioritySemaphore(2), createPrioritySemaphore(1)]
  return async (work, patience) => {
    const leave = await patiently(enter, patience)
    const leaveAlone = isBeingAsked() ? await patiently(enterAlone, patience) : undefined
    const beganAt = performance.now()
    try {
      return await work()
    } finally {
      leave()
      // Whoever wrote need not wait for it.
      if (leaveAlone !== undefined)
        setTimeout(leaveAlone, Math.min(performance.now() - beganAt, restMsMax)).unref()
    }
  }
}

async function beginJob(
  sql: Sql,
  id: string,
  writer: Writer,
  kind: 'document' | 'withdrawal',
  idempotency: Idempotency | undefined,
): Promise<void> {
  const isNew = await insertJob(sql, {
    id,
    owner: writer.subject,
    kind,
    ...(idempotency && { idempotencyKey: idempotency.key, digest: idempotency.digest }),
  })
  if (!isNew)
    throw new AppError('conflict', { public: 'The same request is being accepted right now; send it again.' })
}

async function forgetJobs(sql: Sql): Promise<void> {
  await sql.query(
    `delete from jobs where created_at < now() - make_interval(days => $1) and state <> 'receiving'
     and not exists (select 1 from job_items i where i.job_id = jobs.id and i.state = 'queued')`,
    [jobsKeptDays],
  )
}

/** A service is told of no document where it may not write any more, though it sent it. */
async function listOwnFailed(
  { database, fga, clock }: IngestContext,
  { isOwn, ...filter }: OwnFilter,
  page: PageOf,
): Promise<FailedPage> {
  const { service } = filter
  if (!isOwn || service === undefined) return listFailed(database, filter, page)
  const filedIn = await collectionsOfFailed(database, service)
  const holdings = filedIn.map((collection) => ({ relation: 'writer' as const, collection }))
  const rights = await askRights(fga, `service:${service}`, holdings, clock.now())
  const collections = filedIn.filter((collection) => rights.has('writer', collection))
  return listFailed(database, { ...filter, collections }, page)
}

const digestOf = (kind: string, request: unknown): string =>
  createHash('sha256')
    .update(`${kind}\n${canonical(request)}`)
    .digest('hex')

/**
 * The first request of a key may have failed after its commit, before OpenFGA had what it takes away: its
 * repetition is not answered before that is so.
 */
async function settleJob(context: IngestContext, jobId: string): Promise<void> {
  const rows = await context.database.query<{ object: FgaObject }>(
    `select distinct u.object from unreconciled u join job_items i on u.object = 'document:' || i.document_id
     where i.job_id = $1`,
    [jobId],
  )
  for (const { object } of rows)
    await context.documentLocks.hold([object], (hold) => reconcileObject(context, hold, object))
}
