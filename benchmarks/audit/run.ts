import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRecordReader } from '../../src/audit/query.ts'
import { createRecordQuestions } from '../../src/audit/questions.ts'
import { operator, record } from '../../src/audit/record.ts'
import { openSealKey } from '../../src/audit/seal/key.ts'
import { createSealer } from '../../src/audit/seal/sealer.ts'
import { verifyRecord } from '../../src/audit/seal/verify.ts'
import { readThread } from '../../src/audit/thread.ts'
import { createWhy } from '../../src/authz/explain/why.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../../test/support/database.ts'
import { openWorld } from '../../test/support/world.ts'

/**
 * The record at a million rows on native Postgres (TEST_DATABASE_URL; databases are made there and dropped):
 * the questions of an incident, sealing, verifying, what it finds of what was done to it, and what the record
 * costs an answer. RECORDS=… for another number. Ends with 1 where a figure is missed.
 */
const wanted = Number(process.env['RECORDS'] ?? 1_000_000)
const days = 30
const folder = await mkdtemp(join(tmpdir(), 'remit-audit-'))
const key = await openSealKey(folder)

// `npm run bench:audit -- sealing` leaves out what it costs an answer.
if (process.argv[2] !== 'sealing') await answerPath()
const database = await openTestDatabase('postgres')
try {
  await fill(database)
  await sealing(database)
  await asking(database)
  await verifying(database)
} finally {
  await database.close()
  await rm(folder, { recursive: true, force: true })
}

/**
 * 2,000 people of whom one is in every sixth answer, 20 agents of which one asks half of all and gives all of
 * it one trace, 10,000 documents of which a few are read most.
 */
async function fill(sql: Database): Promise<void> {
  const took = await timed(async () => {
    const step = 50_000
    for (let from = 0; from < wanted; from += step)
      await sql.query(
        `insert into decision_records (at, txn, event, subject, actors, client, delegation, trace_id, detail, decision, objects)
         select now() - ($4::float8 - n) / $4 * interval '1 day' * $3::int, 't_' || n, 'retrieved', 'user:p' || who,
           array['agent:a' || agent], 'client-' || agent, 'd_' || who || '_' || agent,
           md5('trace' || case when agent = 0 then 0 else n end),
           jsonb_build_object('query_hmac', md5(n::text), 'model_id', '01KB0000000000000000000000', 'consistency', 'fast',
             'mode', 'hybrid', 'openfga_request_ids', jsonb_build_array(md5(n::text)), 'considered', 6, 'denied', 1,
             'passed_over', 0, 'errors', 0, 'complete', true, 'released',
             (select jsonb_agg(jsonb_build_object('document_id', d, 'chunk_ids', jsonb_build_array('c_' || d), 'proof',
               'asked_fast', 'why', jsonb_build_array('user:p' || who || ' member group:g' || d % 50,
               'group:g' || d % 50 || '#member viewer document:' || d))) from unnest(documents) d)),
           'allowed', (select array_agg('document:' || d) from unnest(documents) d) || array['delegation:d_' || who || '_' || agent]
         from (
           select n, case when n % 6 = 0 then 7 else (random() * 1999)::int end as who, case when n % 2 = 0 then 0 else 1 + (random() * 18)::int end as agent,
             array(select distinct (power(random(), 3) * 9999)::int from generate_series(1, 5) where n > 0) as documents
           from generate_series($1::int, $2::int) n) made`,
        [from + 1, Math.min(from + step, wanted), days, wanted],
      )
    await sql.query('vacuum analyze decision_records')
  })
  const [size] = await sql.query<{ size: string }>(
    `select pg_size_pretty(pg_total_relation_size('decision_records')) as size`,
  )
  say('records', `${wanted.toLocaleString('en')} made in ${seconds(took)}, ${size?.size} with their indexes`)
}

async function sealing(sql: Database): Promise<void> {
  const sealer = createSealer({ database: sql, key, clock: { now: Date.now } })
  let sealed = 0
  const before = await processorSeconds(sql)
  const took = await timed(async () => {
    sealed = await sealer.seal()
  })
  const rate = (sealed / took) * 1_000
  const busy = (await processorSeconds(sql)) - before
  say(
    'sealing',
    `${rate.toFixed(0)} records/s; 2,000 records take ${((busy / sealed) * 2_000).toFixed(2)} s of a processor, Postgres’s included`,
  )
  // By the clock too where nobody else uses the machine.
  expect((busy / sealed) * 2_000 < 1, 'one processor seals 2,000 records/s')
  await sql.query('vacuum analyze agent_baselines')
}

async function asking(sql: Database): Promise<void> {
  // Of an agent that gives each action a trace of its own.
  const odd = Math.floor(wanted / 20) * 2 + 1
  const questions = createRecordQuestions({ database: sql })
  const reader = createRecordReader({ sql })
  const now = new Date()
  const since = new Date(now.getTime() - 10 * 86_400_000)
  const asked: readonly [string, () => Promise<number>][] = [
    [
      'who got the document that is read most, in ten days',
      async () => (await questions.readers('0', { since, until: now })).rows.length,
    ],
    [
      'who got a document that few read',
      async () => (await questions.readers('9000', { since, until: now })).rows.length,
    ],
    [
      'who ever got the document that is read most',
      async () => (await questions.readers('0', {})).rows.length,
    ],
    [
      'what the busiest agent read for one person',
      async () => (await questions.reads({ subject: 'user:p8', agent: 'agent:a0' }, {})).rows.length,
    ],
    [
      'what it read for the person who is in every sixth answer',
      async () => (await questions.reads({ subject: 'user:p7', agent: 'agent:a0' }, {})).rows.length,
    ],
    ['everything of one action', async () => (await readThread(sql, `t_${odd}`)).steps.length],
    [
      'everything of an action that shares its trace with half of all',
      async () => (await readThread(sql, `t_${odd + 1}`)).steps.length,
    ],
    [
      'the reach of the busiest agent',
      async () => (await questions.reach('agent:a0', { until: now, history: 28 })).days.length,
    ],
    [
      'the newest page of the busiest agent',
      async () => (await reader.page({ actor: 'agent:a0' }, { limit: 200 })).entries.length,
    ],
    [
      'the newest page of a document',
      async () => (await reader.page({ object: 'document:0' }, { limit: 200 })).entries.length,
    ],
    [
      'the newest page of what was refused',
      async () => (await reader.page({ decision: 'denied' }, { limit: 200 })).entries.length,
    ],
  ]
  for (const [name, ask] of asked) {
    const took: number[] = []
    let rows = 0
    for (let time = 0; time < 5; time += 1)
      took.push(
        await timed(async () => {
          rows = await ask()
        }),
      )
    say(
      name,
      `${Math.max(...took).toFixed(0)} ms at most of 5, p50 ${median(took).toFixed(0)} ms, ${rows} rows`,
    )
    expect(Math.max(...took) < 1_000, `${name} under a second`)
  }
}

async function verifying(sql: Database): Promise<void> {
  const verify = () => verifyRecord(sql, { publicKey: key.publicKey, now: Date.now() })
  let result = await verify()
  const before = process.memoryUsage().rss
  let peak = before
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().rss)
  }, 50)
  const took = await timed(async () => {
    result = await verify()
  })
  clearInterval(watch)
  say(
    'verifying',
    `${seconds(took)} (${((result.records / took) * 1_000).toFixed(0)} records/s), ${mb(peak - before)} beyond ${mb(before)}`,
  )
  expect(result.found === 0 && result.records === wanted, 'a whole record verifies')
  const numbers = [wanted / 10, wanted / 2, wanted / 4, wanted / 4 + 3].map(Math.floor)
  const [edited = 0, removed = 0, one = 0, other = 0] = numbers
  await sql.query('alter table decision_records disable trigger user')
  await sql.query(
    `update decision_records set detail = jsonb_set(detail, '{denied}', '0') where record_no = $1`,
    [edited],
  )
  await sql.query('delete from decision_records where record_no = $1', [removed])
  await sql.query(
    `update decision_records d set at = o.at, txn = o.txn, subject = o.subject, actors = o.actors, client = o.client,
       delegation = o.delegation, trace_id = o.trace_id, detail = o.detail, objects = o.objects
     from decision_records o where (d.record_no, o.record_no) in (($1, $2), ($2, $1))`,
    [one, other],
  )
  const { findings } = await verify()
  say(
    'done to it and found',
    findings
      .map(({ kind, record: at, other: its }) => `${kind} ${at}${its === undefined ? '' : ` ${its}`}`)
      .join(', '),
  )
  const told = new Set(findings.map(({ kind, record: at, other: its }) => JSON.stringify([kind, at, its])))
  expect(
    findings.length === 3 &&
      told.has(JSON.stringify(['changed', edited, undefined])) &&
      told.has(JSON.stringify(['removed', removed, undefined])) &&
      told.has(JSON.stringify(['swapped', one, other])),
    'one edited, one removed and one swapped pair are found in their places',
  )
}

/** By turns, with and without: a shared machine is another one a second later. */
async function answerPath(): Promise<void> {
  await using world = await openWorld({ backend: { database: 'postgres', openfga: 'engine' } })
  await world.write('user:anne member group:eng')
  const access = { viewers: ['group:eng#member'] }
  await world.put(
    Object.fromEntries(
      Array.from({ length: 60 }, (_, n) => [`doc${n}`, { text: `Otters build dam ${n}.`, access }]),
    ),
  )
  const token = await world.token({ user: 'anne' })
  const ask = () => world.retrieve(token, { query: 'otters build', top_k: 10 })
  const times = { without: [] as number[], with: [] as number[] }
  for (let warm = 0; warm < 50; warm += 1) await ask()
  // A second each, as often as the job runs; it seals what two of them left.
  for (let round = 0; round < 60; round += 1) {
    const isSealing = round % 2 === 1
    const end = performance.now() + 1_000
    const sealing = isSealing ? world.service.record.seal() : undefined
    while (performance.now() < end)
      times[isSealing ? 'with' : 'without'].push(await timed(async () => void (await ask())))
    await sealing
  }
  const [without, with_] = [median(times.without), median(times.with)]
  say(
    'an answer',
    `p50 ${without.toFixed(2)} ms (${times.without.length}), with the job that seals p50 ${with_.toFixed(2)} ms (${times.with.length}): ${percent(with_ / without - 1)}`,
  )

  const why = createWhy({ index: world.service.index, now: Date.now })
  const principal = { kind: 'person', subject: 'user:anne', actors: [] } as never
  const documentIds = Array.from({ length: 10 }, (_, n) => `doc${n}`)
  const modelId = world.service.fga.modelId
  const whyTook: number[] = []
  for (let time = 0; time < 500; time += 1)
    whyTook.push(
      await timed(
        async () => void why(principal, { grants: [], modelId, documentIds, heldYes: () => undefined }),
      ),
    )
  say(
    'why, for ten documents',
    `p50 ${median(whyTook).toFixed(3)} ms: ${percent(median(whyTook) / without)} of an answer`,
  )

  const { database: sql } = world
  const event = (n: number) => ({
    event: 'retrieved' as const,
    query_hmac: 'h',
    model_id: modelId,
    consistency: 'fast' as const,
    mode: 'hybrid',
    openfga_request_ids: ['r'],
    released: documentIds.map((_, index) => ({
      // Of ten thousand, as far apart as any.
      document_id: `d${(n * 7_919 + index * 104_729) % 10_000}`,
      chunk_ids: ['c'],
      proof: 'asked' as const,
    })),
    considered: 10,
    denied: 0,
    passed_over: 0,
    errors: 0,
    complete: true,
  })
  const indexes = ['actor', 'client', 'event', 'objects']
  const definitions = await sql.query<{ name: string; made: string }>(
    `select indexname as name, indexdef as made from pg_indexes where indexname = any($1)`,
    [indexes.map((name) => `decision_records_${name}`)],
  )
  const writes = { bare: [] as number[], indexed: [] as number[] }
  for (let round = 0; round < 20; round += 1) {
    const bare = round % 2 === 0
    for (const { name, made } of definitions) await sql.query(bare ? `drop index if exists ${name}` : made)
    for (let time = 0; time < 100; time += 1) {
      const took = await timed(() => record(sql, operator(`t_${round}_${time}`), event(round * 100 + time)))
      writes[bare ? 'bare' : 'indexed'].push(took)
    }
  }
  const more = median(writes.indexed) - median(writes.bare)
  say(
    'a record of ten documents',
    `p50 ${median(writes.indexed).toFixed(2)} ms, without the indexes of the questions p50 ${median(writes.bare).toFixed(2)} ms: ${percent(more / without)} of an answer`,
  )
  const sealing = Math.max(0, with_ / without - 1) + Math.max(0, more / without)
  say('in all', `${percent(sealing)}, with why ${percent(sealing + median(whyTook) / without)}`)
  expect(sealing < 0.03, 'sealing and the indexes of the questions cost less than 3 % of an answer')
}

/**
 * Of this process and of what it has open at a Postgres on the same machine: what others do there does not
 * count.
 */
async function processorSeconds(sql: Database): Promise<number> {
  const { user, system } = process.cpuUsage()
  const open = await sql.query<{ pid: number }>(
    'select pid from pg_stat_activity where datname = current_database()',
  )
  const theirs = await Promise.all(
    open.map(async ({ pid }) => {
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
      // proc(5): user and system time are the 14th and 15th field, in hundredths of a second; the 2nd ends
      // with a bracket.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100
    }),
  )
  return (user + system) / 1e6 + theirs.reduce((sum, one) => sum + one, 0)
}

function expect(holds: boolean, what: string): void {
  if (holds) return
  console.log(`missed: ${what}`)
  process.exitCode = 1
}

function say(name: string, value: string): void {
  console.log(`${name}: ${value}`)
}

async function timed(work: () => Promise<void>): Promise<number> {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1] ?? 0
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}

function mb(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(0)} MB`
}
