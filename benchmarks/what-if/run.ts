import { readFileSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { compileModel, createTupleStore, type TupleKey } from '@remit/engine'
import type { LiveDelegation } from '../../src/authz/compare/askers.ts'
import { contextAt } from '../../src/authz/fga.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import type { SupposedChange } from '../../src/authz/what-if/change.ts'
import { suppose } from '../../src/authz/what-if/suppose.ts'

// A million tuples: documents in folders in collections, each folder shared with a group, some documents with
// people.
const documents = 200_000
const folders = 4_000
const groups = 2_000
const people = 20_000
const delegations = 200
const membersEach = 95
const sharesEach = 2

const model = compileModel(readDsl(readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')))
const tuples = createTupleStore()
let order = 0
const add = (user: string, relation: string, object: string, condition?: TupleKey['condition']): void => {
  const key = { user, relation, object, condition }
  if (tuples.get(key) === undefined) tuples.add(key, String(order++).padStart(9, '0'))
}
const until = { name: 'until', context: { expires_at: '2999-01-01T00:00:00Z' } }
for (let group = 0; group < groups; group++)
  for (let nth = 0; nth < membersEach; nth++)
    add(`user:p${(group * 37 + nth * 211) % people}`, 'member', `group:g${group}`)
for (let folder = 0; folder < folders; folder++) {
  add(`collection:c${folder % 20}`, 'filed_in', `folder:f${folder}`)
  if (folder >= 40) add(`folder:f${folder % 40}`, 'parent', `folder:f${folder}`)
  add(`group:g${folder % groups}#member`, 'viewer', `folder:f${folder}`)
}
for (let document = 0; document < documents; document++) {
  add(`folder:f${document % folders}`, 'parent', `document:d${document}`)
  add(`collection:c${document % 20}`, 'filed_in', `document:d${document}`)
  for (let nth = 0; nth < sharesEach; nth++)
    add(`user:p${(document * 7 + nth * 5_003) % people}`, 'viewer', `document:d${document}`)
}
const lent = Array.from({ length: delegations }, (_, nth): LiveDelegation => {
  add(`user:p${nth}`, 'delegator', `delegation:t${nth}`, until)
  add('agent:bot', 'agent', `delegation:t${nth}`)
  for (let of = 0; of < 10; of++) add(`delegation:t${nth}`, 'delegated_to', `collection:c${(nth + of) % 20}`)
  return { id: `t${nth}`, subject: `user:p${nth}`, agents: ['bot'] }
})
console.log(`${tuples.size} tuples, ${documents} documents, ${people} people, ${delegations} delegations\n`)

const g3 = tuples.node('group:g3')
const member = (g3 && tuples.at(g3, 'member'))?.concrete[0]?.user.name ?? ''
const changes: readonly (readonly [string, SupposedChange])[] = [
  [
    'somebody leaves a group',
    { writes: [], deletes: [{ user: member, relation: 'member', object: 'group:g3' }] },
  ],
  [
    'a group is given a folder',
    { writes: [{ user: 'group:g9#member', relation: 'viewer', object: 'folder:f1000' }], deletes: [] },
  ],
  [
    'a folder of 5,000 documents is sensitive',
    { writes: [{ user: 'user:*', relation: 'sensitive', object: 'folder:f7' }], deletes: [] },
  ],
  [
    'a document is shared with one person',
    { writes: [{ user: 'user:p11', relation: 'viewer', object: 'document:d5' }], deletes: [] },
  ],
  [
    'a collection of 10,000 documents is lent',
    { writes: [{ user: 'delegation:t5', relation: 'delegated_to', object: 'collection:c17' }], deletes: [] },
  ],
]

console.log('| change | asked | differences | took | longest slice |\n|---|---|---|---|---|')
for (const [name, change] of changes) {
  const took: number[] = []
  let slice = 0
  let differences = 0
  let asked = 0
  for (let round = 0; round < 5; round++) {
    differences = 0
    const started = performance.now()
    let resumed = started
    const ended = await suppose({
      change,
      before: model,
      after: model,
      tuples,
      delegations: lent,
      context: contextAt(Date.now()),
      now: () => performance.now(),
      async pause() {
        slice = Math.max(slice, performance.now() - resumed)
        await setImmediate()
        resumed = performance.now()
      },
      limits: { questions: 5_000_000, duration: 60_000 },
      take(_, __, { before, after }) {
        if (before !== after) differences += 1
      },
    })
    took.push(performance.now() - started)
    asked = ended.asked
  }
  const sorted = took.toSorted((a, b) => a - b)
  console.log(
    `| ${name} | ${asked} | ${differences} | p50 ${Math.round(sorted[2] ?? 0)} ms, at most ${Math.round(sorted[4] ?? 0)} ms | ${Math.round(slice)} ms |`,
  )
}
