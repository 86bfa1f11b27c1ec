import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Fga, Tuple } from '../../src/authz/fga.ts'
import { acceptDocuments } from '../../src/ingest/accept.ts'
import { applyTuples } from '../../src/ingest/access.ts'
import { saveCollection } from '../../src/ingest/collections.ts'
import type { IngestContext } from '../../src/ingest/context.ts'
import { readTags } from '../../src/ingest/desired-tuples.ts'
import { drift } from '../../src/ingest/drift.ts'
import { endAccess } from '../../src/ingest/end-access.ts'
import { insertJob } from '../../src/ingest/job-store.ts'
import { moveSubject } from '../../src/ingest/move-subject.ts'
import { processRevisions } from '../../src/ingest/process.ts'
import { documentSchema } from '../../src/ingest/wire.ts'
import { documentObject } from '../../src/kernel/ids.ts'
import type { Database } from '../../src/store/sql.ts'
import { contextOf } from '../security/interleavings/documents.ts'
import { openTwo, type Two } from '../security/interleavings/two.ts'
import { needsOpenfga, needsPostgres } from '../support/native.ts'
import { loader, machine, tuple } from './world.ts'

/** Where a process stands until it is let go. */
function gate() {
  const reached = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<void>()
  return {
    reached: reached.promise,
    open: () => opened.resolve(),
    stand: async () => {
      reached.resolve()
      await opened.promise
    },
  }
}

// Two processes, each with connections of its own; what stands still in one holds its leases all the same.
describe('beside a process that stands still', needsPostgres.skip ? needsPostgres : needsOpenfga, () => {
  let two: Two
  let people = 0
  let from: string
  let to: string
  const open = (side: 'A' | 'B' | 'C', changes: Partial<IngestContext> = {}): IngestContext => ({
    ...contextOf(two, two.processes[side]),
    ...changes,
  })
  beforeAll(async () => {
    two = await openTwo()
    const mine = { writers: ['service:loader'], taggers: ['service:loader'] }
    await saveCollection(open('C'), machine, { id: 'closed', title: 'Closed', ...mine })
  }, 60_000)
  afterAll(() => two?.[Symbol.asyncDispose]())

  /** Each test moves somebody else. */
  const somebody = () => {
    people += 1
    two.mark = `t${people}`
    from = `user:acme/old${people}`
    to = `user:acme/new${people}`
    return [`a/${people}`, `b/${people}`] as const
  }
  const put = (context: IngestContext, ...documents: readonly object[]) => {
    const jobId = context.newId()
    return acceptDocuments(context, loader, {
      jobId,
      items: documents.map((one) => ({
        input: documentSchema.parse({ collection: 'closed', title: 'Title', text: 'Words.', ...one }),
      })),
      onRefused: 'note',
      begin: async (sql) => void (await insertJob(sql, { id: jobId, owner: loader.subject, kind: 'import' })),
    })
  }
  async function publish(context: IngestContext, ...ids: readonly string[]) {
    const rows = await two.database.query<{ document: string; revision: number }>(
      'select id as document, revision from revisions join documents using (doc_no) where id = any($1)',
      [ids],
    )
    for (const { document, revision } of rows)
      await processRevisions(context, [{ document, revision }], {
        signal: new AbortController().signal,
        done: async () => undefined,
        traceOf: () => undefined,
      })
  }
  async function move(context: IngestContext) {
    await two.database.query(
      `insert into person_moves (old_key, new_key, was_disabled, begun_at, tuples_first, running)
       values (substr($1, 6), substr($2, 6), false, now(), true, true)`,
      [from, to],
    )
    const tuplesOf = async (subject: string) => {
      const found: Tuple[] = []
      for (const type of ['document', 'folder', 'group'])
        for await (const one of context.fga.read({ user: subject, object: `${type}:` })) found.push(one)
      return found
    }
    await moveSubject(context, { from, to, tuplesOf, movable: () => tuplesOf(from), rows: async () => [] })
    await two.database.query('update person_moves set running = false, ended_at = now()')
  }
  /** Stands where a batch waits for its turn to write, once what it publishes is staged. */
  function publishing(stop: ReturnType<typeof gate>): IngestContext {
    let isStaged = false
    return open('A', {
      step: async (step) => {
        isStaged ||= step === 'staged'
      },
      async fewAtATime(work) {
        if (isStaged) await stop.stand()
        return work()
      },
    })
  }
  const tagsOf = async (id: string) =>
    ((await readTags(two.database, [documentObject(id)])).get(documentObject(id)) ?? []).map(
      ({ relation, subject }) => `${subject} ${relation}`,
    )
  async function stands(id: string, ...expected: readonly string[]) {
    const all = ['collection:closed filed_in', ...expected].sort()
    expect((await tagsOf(id)).sort()).toEqual(all)
    expect(await two.tuples(`document:${id}`)).toEqual(all)
  }

  test('a block of what is published comes under the new key, where the person was moved meanwhile', async () => {
    const [id] = somebody()
    await put(open('C'), { id, access: { viewers: ['group:staff#member'], blocked: [from] } })
    const stop = gate()
    const published = publish(publishing(stop), id)
    await stop.reached
    await move(open('B'))
    stop.open()
    await published
    await stands(id, 'group:staff#member viewer', `${to} blocked`)
    expect(await drift(open('C'))).toMatchObject({ mended: 0 })
  }, 60_000)

  test('an import that waits to be accepted comes under the new key, of what was there and of what is new', async () => {
    const [live, fresh] = somebody()
    await put(open('C'), { id: live, access: { viewers: [from, 'user:bob'] } })
    await publish(open('C'), live)
    const stop = gate()
    const A = open('A', {
      async fewAtATime(work) {
        await stop.stand()
        return work()
      },
    })
    const accepted = put(
      A,
      { id: live, text: 'Other words.', access: { viewers: [from], blocked: ['user:carol'] } },
      { id: fresh, access: { viewers: ['group:staff#member'], blocked: [from] } },
    )
    await stop.reached
    const moved = move(open('B'))
    const isRenamed = async () => (await tagsOf(live)).includes(`${to} viewer`)
    while (!(await isRenamed())) await sleep(20)
    stop.open()
    await Promise.all([accepted, moved])
    await stands(live, `${to} viewer`, 'user:carol blocked')
    await publish(open('C'), live, fresh)
    await stands(live, `${to} viewer`, 'user:carol blocked')
    await stands(fresh, 'group:staff#member viewer', `${to} blocked`)
    expect(await drift(open('C'))).toMatchObject({ mended: 0 })
  }, 60_000)

  test('a person who is moved is given nothing while a block that was copied is gone again', async () => {
    const [id] = somebody()
    const shut = `folder:shut${people}` as const
    await put(open('C'), { id, access: { viewers: [from], parents: [shut] } })
    await publish(open('C'), id)
    await applyTuples(open('C'), machine, { writes: [tuple(`${from} blocked ${shut}`)], deletes: [] })
    const { fga } = two.processes.C
    const seen = new Set<string | undefined>()
    const look = async () => {
      const check = { user: to, relation: 'can_read', object: documentObject(id) }
      const { verdicts } = await fga.batchCheck([check], { now: two.clock.now() })
      seen.add(verdicts[0])
    }
    const B = two.processes.B
    const looking: Fga = {
      ...B.fga,
      async writeEach(...all) {
        await B.fga.writeEach(...all)
        await look()
      },
    }
    const stop = gate()
    const context = contextOf(two, { ...B, fga: looking })
    const moved = move({
      ...context,
      async effectsOf(usersets) {
        await stop.stand()
        return context.effectsOf(usersets)
      },
    })
    await stop.reached
    // As whoever had read what is blocked there before it was copied.
    const copy = { user: to, relation: 'blocked', object: shut }
    await two.database.query('delete from desired_tuples where object = $1 and subject = $2', [shut, to])
    await fga.write({ deletes: [copy] })
    stop.open()
    await moved
    await look()
    expect(seen).toEqual(new Set(['denied']))
    await stands(id, `${shut} parent`, `${to} viewer`)
  }, 60_000)

  test('what all access that ended had given is not back once a publication goes on', async () => {
    const [id] = somebody()
    await put(open('C'), { id, access: { viewers: ['user:bob'], blocked: ['user:carol'] } })
    const stop = gate()
    const published = publish(publishing(stop), id)
    await stop.reached
    await endAccess(open('B'), machine, async () => [])
    stop.open()
    await published
    await stands(id, 'user:carol blocked')
  }, 60_000)

  test('what all access that ended had given is not back where a Write of it had still to come', async () => {
    const [id] = somebody()
    const mine = { writers: ['service:loader'], taggers: ['service:loader'] }
    await saveCollection(open('C'), machine, { id: 'closed', title: 'Closed', ...mine })
    await put(open('C'), { id, access: { viewers: ['user:bob'], blocked: ['user:carol'] } })
    const stop = gate()
    const { fga, ...process } = two.processes.A
    const standing: Fga = {
      ...fga,
      async writeEach(...all) {
        await stop.stand()
        await fga.writeEach(...all)
      },
    }
    const published = publish(contextOf(two, { ...process, fga: standing }), id)
    await stop.reached
    const refused = Promise.withResolvers<void>()
    const B = two.processes.B
    const database: Database = {
      ...B.database,
      query(text, values) {
        // What whoever was refused a lease asks next.
        if (text.includes('from leases') && JSON.stringify(values).includes(documentObject(id)))
          refused.resolve()
        return B.database.query(text, values)
      },
    }
    const ended = endAccess(contextOf(two, { ...B, database }), machine, async () => [])
    await Promise.race([ended, refused.promise])
    stop.open()
    await Promise.all([published, ended])
    await stands(id, 'user:carol blocked')
    expect(await drift(open('C'))).toMatchObject({ mended: 0 })
  }, 60_000)
})
