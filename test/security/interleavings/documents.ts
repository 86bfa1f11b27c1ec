import { operator } from '../../../src/audit/record.ts'
import type { Tuple } from '../../../src/authz/fga.ts'
import { effectsOf } from '../../../src/directory/memberships.ts'
import { acceptDocuments } from '../../../src/ingest/accept.ts'
import { applyTuples } from '../../../src/ingest/access.ts'
import { saveCollection } from '../../../src/ingest/collections.ts'
import type { IngestContext } from '../../../src/ingest/context.ts'
import { createCrashCounts } from '../../../src/ingest/crash-counts.ts'
import { addTags, markUnsettled } from '../../../src/ingest/desired-tuples.ts'
import { mendUnsettled } from '../../../src/ingest/drift.ts'
import { createFailures } from '../../../src/ingest/failures.ts'
import { insertJob } from '../../../src/ingest/job-store.ts'
import { createLocks } from '../../../src/ingest/locks.ts'
import { moveSubject } from '../../../src/ingest/move-subject.ts'
import { processRevisions } from '../../../src/ingest/process.ts'
import { createReadBudget } from '../../../src/ingest/read-budget.ts'
import { largeFrom, readSizeMax } from '../../../src/ingest/read-each.ts'
import { retag } from '../../../src/ingest/retag.ts'
import { createSharedLock } from '../../../src/ingest/shared-lock.ts'
import { documentSchema } from '../../../src/ingest/wire.ts'
import { withdrawDocuments } from '../../../src/ingest/withdraw.ts'
import type { Queue } from '../../../src/jobs/queue.ts'
import { documentObject } from '../../../src/kernel/ids.ts'
import { createPostgresIndex } from '../../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import type { Sql } from '../../../src/store/sql.ts'
import { loader } from '../../ingest/world.ts'
import type { Begun, Outcome, Pair } from '../../support/interleavings.ts'
import { type Plant, type Process, rowsOf, sends, type Two } from './two.ts'

// Nobody renews it: what is over is over when the harness says so.
const leaseSeconds = 86_400
/** What takes a lease, again and again. */
const takingLeases = { asks: /^insert into leases/, between: /leases/ }

/** Nothing runs by itself. */
const noQueue: Queue = {
  prepare: async () => undefined,
  start: async () => undefined,
  startBatches: async () => undefined,
  send: async () => undefined,
  wake: () => undefined,
  close: async () => undefined,
  [Symbol.asyncDispose]: async () => undefined,
}

let documents = 0
/** Takes a lease that another has, and never looks whether it still has it. */
export const takesEveryLease = sends((text) =>
  text
    .replace('on conflict (object) do nothing', 'on conflict (object) do update set holder = excluded.holder')
    .replace(/^update leases set until = .* where holder = \$1 returning 1$/, 'select $1::text, $2::int')
    .replace('select 1 from leases where holder = $1 order by object for update', 'select $1::text'),
)
/** Writes to OpenFGA without the turn of its hold. */
export const forgetsTheFence: Plant = {
  fga: (fga) => ({
    ...fga,
    write: (change) => fga.write(change),
    writeEach: (changes) => fga.writeEach(changes),
  }),
}
/** Moves a person beside whoever has a lease. */
export const movesBesideLeases = sends((text) =>
  text.replace('lock table leases in exclusive mode', 'select 1'),
)

const machine = operator('t_test')
const before = { text: 'old words', access: { viewers: ['user:anne', 'user:carol'] } }
const next = { text: 'new words', access: { viewers: ['user:anne', 'user:bob'] } }

/** Of an issuer: no others move. */
const moveOf = (id: string) => ({ from: `user:acme/old-${id}`, to: `user:acme/new-${id}` })
/** What comes keeps from reading whoever moves. */
const nextOf = (name: DocumentPair, id: string) =>
  name.endsWith('move') ? { ...next, access: { ...next.access, blocked: [moveOf(id).from] } } : next
const blockOn = (id: string): Tuple => ({
  user: 'user:anne',
  relation: 'blocked',
  object: documentObject(id),
})

/** What may be read of a document, and by whom. */
interface Shown {
  /** What an answer would hold; undefined: nothing is live. */
  readonly text: string | undefined
  readonly readers: readonly string[]
  readonly blocked: readonly string[]
}

type Does = 'publish' | 'put' | 'withdraw' | 're-tag' | 'settle' | 'restrict' | 'move'

export type DocumentPair =
  | 'publish × withdraw'
  | 'publish × re-tag'
  | 'settle × withdraw'
  | 'publish × publish'
  | 'publish × restrict'
  | 'publish × move'
  | 'put × re-tag'
  | 're-tag × withdraw'

/** Ingestion of one process, of which nothing runs by itself. */
export function contextOf({ clock, allowList }: Two, process: Process): IngestContext {
  return {
    ...process,
    clock,
    log: () => undefined,
    onDrift: () => undefined,
    onEnded: () => undefined,
    index: createPostgresIndex({ database: process.database }),
    allowList: () => allowList,
    effectsOf: (usersets, sql = process.database) => effectsOf(sql, allowList, usersets),
    assertSound: async () => undefined,
    queue: noQueue,
    documentLocks: createLocks({ ...process, leaseSeconds, now: () => clock.now(), isApart: true }),
    embed: undefined,
    prepare: async ({ bytes }) => {
      const text = Buffer.from(bytes).toString()
      const whole = { ordinal: 0, headings: [], start: 0, end: text.length, tokens: 1 }
      return { text, chunks: [{ ...whole, text, embedText: text }] }
    },
    limits: { lineBytesMax: 1, linesMax: 1 },
    failures: createFailures(),
    crashCounts: createCrashCounts(process.database, process.newId()),
    sharedLock: createSharedLock(),
    readBudget: createReadBudget(readSizeMax, largeFrom),
    fewAtATime: (work) => work(),
    whenCalm: async () => undefined,
    beatMs: 60_000,
    step: async () => undefined,
    corpusChanged: async () => undefined,
    jobChanged: () => undefined,
  }
}

export async function openDocuments(two: Two): Promise<(name: DocumentPair) => Promise<Pair>> {
  const { database, applications } = two
  /** A process that has just begun. */
  const open = (process: Process) => {
    const context = contextOf(two, process)
    const begin = (jobId: string, kind: 'document' | 'withdrawal') => async (sql: Sql) =>
      void (await insertJob(sql, { id: jobId, owner: loader.subject, kind }))
    const send = (id: string, what: object) => {
      const jobId = process.newId()
      const input = documentSchema.parse({ id, collection: 'closed', title: 'Title', ...what })
      return acceptDocuments(context, loader, {
        jobId,
        items: [{ input }],
        onRefused: 'throw',
        begin: begin(jobId, 'document'),
      })
    }
    return {
      context,
      send,
      put: (id: string) => send(id, next),
      restrict: (id: string) => applyTuples(context, machine, { writes: [blockOn(id)], deletes: [] }),
      async move(id: string) {
        const { from, to } = moveOf(id)
        const tuplesOf = async (subject: string) => {
          const found: Tuple[] = []
          for await (const one of process.fga.read({ user: subject, object: 'document:' })) found.push(one)
          return found
        }
        await moveSubject(context, {
          from,
          to,
          tuplesOf,
          movable: () => tuplesOf(from),
          rows: async () => [],
        })
      },
      async publish(id: string) {
        const rows = await process.database.query<{ revision: number }>(
          'select revision from revisions join documents using (doc_no) where id = $1 order by revision',
          [id],
        )
        for (const { revision } of rows)
          await processRevisions(context, [{ document: id, revision }], {
            signal: new AbortController().signal,
            done: async () => undefined,
            traceOf: () => undefined,
          })
      },
      withdraw(id: string) {
        const jobId = process.newId()
        return withdrawDocuments(context, loader, { jobId, ids: [id], begin: begin(jobId, 'withdrawal') })
      },
      're-tag': (id: string) => retag(context, loader, id, { viewers: ['user:bob'] }),
      settle: () => mendUnsettled(context),
    }
  }
  const C = open(two.processes.C)
  const mine = { writers: ['service:loader'], taggers: ['service:loader'] }
  await saveCollection(C.context, machine, { id: 'closed', title: 'Closed', ...mine })

  return async (name) => {
    documents += 1
    const id = `document-${documents}`
    const object = documentObject(id)
    two.mark = `setup${documents}`
    // A block of what is live stands in its row already, which a move takes a lease for.
    const isFirst = name.endsWith('move')
    if (!isFirst) {
      await C.send(id, before)
      await C.publish(id)
    }
    if (name.startsWith('publish')) await C.send(id, nextOf(name, id))
    if (name.startsWith('settle')) {
      // Stored, and the process died before OpenFGA had it.
      await addTags(database, object, [{ relation: 'viewer', subject: 'user:bob' }])
      await markUnsettled(database, object, false)
    }
    const [{ doc_no } = { doc_no: 0 }] = await database.query<{ doc_no: number }>(
      'select doc_no from documents where id = $1',
      [id],
    )
    const { from, to } = moveOf(id)
    if (name.endsWith('move'))
      await database.query(
        `insert into person_moves (old_key, new_key, was_disabled, begun_at, tuples_first, running)
         values (substr($1, 6), substr($2, 6), false, now(), true, true)`,
        [from, to],
      )
    const rows = {
      person_moves: [`'user:' || old_key`, from],
      documents: ['doc_no', doc_no],
      revisions: ['doc_no', doc_no],
      staged_texts: ['doc_no', doc_no],
      staged_chunks: ['doc_no', doc_no],
      index_publications: ['doc_no', doc_no],
      chunks: ['doc_no', doc_no],
      chunk_words: ['doc_no', doc_no],
      chunk_texts: ['doc_no', doc_no],
      failed_documents: ['doc_no', doc_no],
      document_texts: ['doc_no', doc_no],
      job_items: ['document_id', id],
      desired_tuples: ['object', object],
      unreconciled: ['object', object],
      leases: ['object', object],
      decision_records: [`detail ->> 'document_id'`, id],
    } as const
    const restore = await two.remember(rows, [object])
    const look = async () => ({ ...(await rowsOf(database, rows)), tuples: await two.tuples(object) })
    return {
      name,
      database,
      applications,
      polls: takingLeases,
      async begin(mark): Promise<Begun> {
        two.mark = mark
        await restore()
        const workers = { A: open(two.processes.A), B: open(two.processes.B) }
        const [first, second] = name.split(' × ') as [Does, Does]
        return {
          A: () => workers.A[first](id),
          B: () => workers.B[second](id),
          look,
          wrong: (seen, { A, B }) => wrongAtAnyTime(shownIn(seen), name, id, { first: A, second: B }),
          held: () => database.query('select object, holder from leases order by object'),
          async timePasses() {
            await database.query(`update leases set until = now() - interval '1 s' where object = $1`, [
              object,
            ])
          },
          async end({ A, B }) {
            if (name.endsWith('move')) await C.move(id)
            await C.publish(id)
            await C.settle()
            const seen = (await look()) as unknown as Seen
            const shown = shownIn(seen)
            const early = wrongAtAnyTime(shown, name, id, { first: A, second: B })
            if (early !== undefined) return early
            if (seen.unreconciled.length > 0) return 'not settled'
            if (seen.revisions.length > 0) return 'a revision was left'
            if (seen.staged_texts.length > 0) return 'staged texts were left'
            const published = seen.decision_records.filter(
              ({ event, detail }) =>
                event === 'document_published' && detail['revision'] === (isFirst ? 1 : 2),
            ).length
            if (published > 1) return `published ${published} times`
            if (name === 'publish × publish' || name === 'publish × restrict' || name === 'publish × move') {
              if (shown.text !== next.text || shown.readers.join() !== 'user:anne,user:bob')
                return `lost: ${JSON.stringify(shown)}`
              if (published !== 1) return 'published, and not on record'
            }
            if (name === 'publish × move' && shown.blocked.join() !== to)
              return `kept from reading is ${shown.blocked.join()}`
            if (name === 'put × re-tag' && isDone(A) && (shown.text !== next.text || published !== 1))
              return `lost: ${JSON.stringify(shown)}`
            return undefined
          },
          close: async () => undefined,
        }
      },
    }
  }
}

interface Seen extends Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>> {
  readonly unreconciled: readonly Readonly<Record<string, unknown>>[]
  readonly revisions: readonly Readonly<Record<string, unknown>>[]
  readonly staged_texts: readonly Readonly<Record<string, unknown>>[]
  readonly decision_records: readonly {
    readonly event: string
    readonly detail: Readonly<Record<string, unknown>>
  }[]
}

function shownIn(seen: unknown): Shown {
  const { documents, document_texts, tuples } = seen as {
    readonly documents: readonly { readonly live_revision: number | null }[]
    readonly document_texts: readonly { readonly text: string }[]
    readonly tuples: readonly string[]
  }
  const named = (relation: string): string[] =>
    tuples.flatMap((tuple) => (tuple.endsWith(` ${relation}`) ? [tuple.slice(0, -relation.length - 1)] : []))
  return {
    text: documents[0]?.live_revision == null ? undefined : document_texts[0]?.text,
    readers: named('viewer'),
    blocked: named('blocked'),
  }
}

const isDone = (outcome: Outcome): boolean => 'value' in outcome

/** Content and who reads it belong together; what was taken away and acknowledged does not come back. */
function wrongAtAnyTime(
  { text, readers, blocked }: Shown,
  name: DocumentPair,
  id: string,
  { first, second }: { readonly first: Outcome; readonly second: Outcome },
): string | undefined {
  const mayRead = (user: string): boolean => text !== undefined && readers.includes(user)
  if (name.startsWith('publish') && text === before.text && mayRead('user:bob'))
    return 'bob reads what was there before he was added'
  if (text === next.text && mayRead('user:carol')) return 'carol reads what came after she was removed'
  if (name.startsWith('put') && isDone(first) && mayRead('user:carol')) return 'carol reads who was removed'
  if (!isDone(second)) return undefined
  if (name.endsWith('withdraw') && text !== undefined) return 'live after its withdrawal'
  if (name.endsWith('withdraw') && readers.length > 0) return 'in OpenFGA after its withdrawal'
  if (name === 'put × re-tag' && (mayRead('user:carol') || (text === before.text && mayRead('user:anne'))))
    return 'somebody reads who was taken away'
  if (name === 'publish × re-tag' && readers.some((reader) => reader !== 'user:bob'))
    return 'somebody reads who was taken away'
  if (name.endsWith('restrict') && text !== undefined && !blocked.includes('user:anne'))
    return 'anne reads who was kept from it'
  if (name.endsWith('move') && text === next.text && blocked.join() !== moveOf(id).to)
    return `moved, and kept from reading is ${blocked.join()}`
  return undefined
}
