import { readFileSync } from 'node:fs'
import { compileModel } from '@remit/engine'
import type { StoredTuple } from '../../src/authz/fga.ts'
import { Reachability } from '../../src/authz/index/reachable-acls.ts'
import { Replica } from '../../src/authz/index/replica.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'

/**
 * What a tuple of the replica weighs, in the heap and beside it, with the ACLs that are made of it:
 * `node --expose-gc benchmarks/index/bytes.ts folders|owned [TUPLES]`. In a process of its own, since what
 * others leave would count.
 */
const [shape = 'folders', countText = '200000'] = process.argv.slice(2)
const count = Number(countText)
const pageSize = 10_000
const { gc: collect } = globalThis
if (collect === undefined) throw new Error('Give node --expose-gc.')

type Key = Omit<StoredTuple, 'writtenAt'>

const shapes: Readonly<Record<string, (n: number) => Key>> = {
  /** A hundredth memberships, a hundredth folders, the rest documents in them: as `npm run bench:index`. */
  folders(n) {
    const folder = Math.floor(n / 100)
    if (n % 100 === 0)
      return { object: `group:g${folder % 2000}`, relation: 'member', user: `user:p${folder}` }
    return n % 100 === 1
      ? { object: `folder:f${folder}`, relation: 'viewer', user: `group:g${folder % 2000}#member` }
      : { object: `document:d${n}`, relation: 'parent', user: `folder:f${folder}` }
  },
  /** Three on a document: its collection, its folder, its owner. */
  owned(n) {
    const number = Math.floor(n / 3)
    const object = `document:wiki/${number}` as const
    if (n % 3 === 0) return { object, relation: 'filed_in', user: `collection:c${number % 5}` }
    return n % 3 === 1
      ? { object, relation: 'parent', user: `folder:f${Math.floor(number / 30)}` }
      : { object, relation: 'owner', user: `user:p${number % 5_000}` }
  },
}

function liveBytes(): number {
  for (let times = 0; times < 4; times++) collect?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

const tupleOf = shapes[shape]
if (tupleOf === undefined) throw new Error(`no such shape: ${shape}`)
const replica = new Replica()
const reaches = new Reachability()
reaches.useModel(compileModel(readDsl(readFileSync(new URL('../../model.fga', import.meta.url), 'utf8'))))
reaches.follow(replica.tuples)
const before = liveBytes()
for (let start = 0; start < count; start += pageSize) {
  const page = Array.from({ length: Math.min(pageSize, count - start) }, (_, index) => ({
    ...tupleOf(start + index),
    writtenAt: 1_700_000_000_000 + start + index,
  }))
  // Texts as they come from elsewhere: whole, each its own.
  const read: typeof page = JSON.parse(JSON.stringify(page))
  for (const tuple of read) replica.put(tuple)
  reaches.filled(read)
}
const bytes = (liveBytes() - before) / replica.tuples.size
// Asked after it was weighed: what nobody asks any more is collected.
const question = { user: 'user:p1', relation: 'can_read', contextual: [] } as const
const nominated = reaches.nominate(question, Date.now())?.length
console.log(
  `${replica.tuples.size} tuples, ${shape}: ${bytes.toFixed(0)} bytes each (${nominated} documents nominated)`,
)
