import { readFileSync } from 'node:fs'
import { compileModel, createTupleStore, listCandidates, overApproximate } from '@remit/engine'
import type { StoredTuple } from '../../src/authz/fga.ts'
import type { Question } from '../../src/authz/gate/question.ts'
import { Reachability } from '../../src/authz/index/reachable-acls.ts'
import { Replica } from '../../src/authz/index/replica.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { createSnapshots, type SnapshotsDeps } from '../../src/retrieval/access-filter/snapshots.ts'
import { visibleByQuery } from '../../src/retrieval/access-filter/visibility.ts'
import { visibleAs } from '../../src/retrieval/access-filter/visible.ts'
import { createCorpus } from '../../src/retrieval/corpus/corpus.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPostgres } from '../../src/store/postgres.ts'

/**
 * Who sees what of some 12,000 documents under 1,000 ACLs: ids that the database turns into numbers, as it
 * was before docs/decisions/0021-acls-and-strategies.md, against bits in memory, in turn. Needs DATABASE_URL
 * (an empty database, which is filled). `DOCUMENTS`, `ACLS` and `ROUNDS` may be set.
 */
const { DATABASE_URL, DOCUMENTS = '12470', ACLS = '1000', ROUNDS = '40' } = process.env
if (DATABASE_URL === undefined) throw new Error('Set DATABASE_URL.')
const documents = Number(DOCUMENTS)
const aclCount = Number(ACLS)
const shares = [0.5, 0.1, 0.01]

await using database = await openPostgres({ url: DATABASE_URL, poolSize: 2 })
await migrate(database, { dir: new URL('../../migrations/', import.meta.url), dimensions: 384 })
await database.query(`insert into collections (id, title) values ('c', 'c')`)
await database.query(
  `insert into documents (id, collection, live_revision, chunk_count)
   select 'd/' || n, 'c', 1, 8 from generate_series(1, $1::int) n`,
  [documents],
)
await database.query('analyze documents')

const model = compileModel(readDsl(readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')))
const replica = new Replica()
const storedTuples = createTupleStore()
const reachability = new Reachability()
reachability.useModel(model)
reachability.follow(replica.tuples)
const index: SnapshotsDeps['index'] = {
  aclOf: (documentId) => reachability.aclOf(documentId),
  onAclChange: (listener) => reachability.onAclChange(listener),
  reachableAcls: (question) => reachability.reachableAcls(question, 0),
}

function write(...lines: readonly string[]): void {
  const tuples = lines.map((line) => {
    const [user = '', relation = '', object = ''] = line.split(' ')
    return { user, relation, object, writtenAt: 1 } as StoredTuple
  })
  reachability.note(replica.apply(tuples.map((tuple) => ({ operation: 'write', tuple }))))
  for (const { user, relation, object } of tuples) storedTuples.add({ user, relation, object }, '')
}

write(
  ...Array.from({ length: aclCount }, (_, acl) => `group:g${acl}#member viewer folder:f${acl}`),
  ...Array.from({ length: documents }, (_, at) => [
    `folder:f${at % aclCount} parent document:d/${at + 1}`,
    `collection:c filed_in document:d/${at + 1}`,
  ]).flat(),
  ...shares.flatMap((share) =>
    Array.from({ length: aclCount * share }, (_, acl) => `user:u${share} member group:g${acl}`),
  ),
)
await using corpus = createCorpus({ database, log: () => undefined, staleAfterMs: Number.POSITIVE_INFINITY })
let snapshotCount = 0
const onMake = () => {
  snapshotCount += 1
}
const snapshots = createSnapshots({ index, corpus, onMake })
await corpus.refresh()

const overApproximated = overApproximate(model)
const relation = overApproximated.types.get('document')?.get('can_read')
if (relation === undefined) throw new Error('no relation')
const about = (user: string): Question => ({ user: `user:${user}`, relation: 'can_read', contextual: [] })

function visibleTo(question: Question) {
  const snapshot = snapshots.of(question)
  if (snapshot === undefined) throw new Error('not ready')
  return visibleAs(snapshot.content, snapshot.documents.chunks, () => 1)
}

console.log(`${documents} documents, ${aclCount} ACLs; time as a part of what it took before`)
console.log('visible       again: memory ÷ database   first question:  ACLs ÷ documents')
for (const share of shares) {
  const question = about(`u${share}`)
  const ids = (reachability.nominate(question, 0) ?? []).slice()
  const times = { before: [] as number[], now: [] as number[], list: [] as number[], reach: [] as number[] }
  for (let round = 0; round < Number(ROUNDS); round++) {
    times.before.push(await timed(async () => (await visibleByQuery({ database }, ids, {})).docNos.length))
    times.now.push(await timed(async () => visibleTo(question).docNos.length))
    times.list.push(
      await timed(
        async () => listCandidates(overApproximated, storedTuples, relation, { user: question.user }).length,
      ),
    )
    // Somebody who was not asked about before, and has the same.
    const stranger = {
      ...question,
      contextual: [{ user: 'user:x', relation: 'presented', object: `grant:${round}` }],
    }
    times.reach.push(await timed(async () => visibleTo(stranger as Question).docNos.length))
  }
  const ratio = (of: readonly number[], to: readonly number[]): string => (median(of) / median(to)).toFixed(4)
  console.log(
    `${String(100 * share).padStart(5)} %       ${ratio(times.now, times.before)}                     ${ratio(times.reach, times.list)}`,
  )
}

const before = snapshotCount
const began = performance.now()
for (let nth = 1; nth <= 200; nth++) {
  write(`folder:f0 parent document:new/${nth}`, `user:u0.01 owner document:new/${nth}`)
  const [row] = await database.query<{ doc_no: number }>(
    `insert into documents (id, collection, live_revision, chunk_count) values ($1, 'c', 1, 8) returning doc_no`,
    [`new/${nth}`],
  )
  await corpus.changed([row?.doc_no ?? 0])
  for (const share of shares) visibleTo(about(`u${share}`))
}
console.log(
  `200 documents taken into a folder that all three read: ${snapshotCount - before} snapshots made anew, ` +
    `${visibleTo(about('u0.01')).docNos.length - documents / 100 >= 200 ? 'all' : 'not all'} found at once`,
)
console.log(
  `(${((performance.now() - began) / 200).toFixed(1)} ms each, the insert and three questions included)`,
)

async function timed(work: () => Promise<number>): Promise<number> {
  const from = performance.now()
  await work()
  return performance.now() - from
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN
}
