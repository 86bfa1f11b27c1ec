import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { AppError } from '../../src/kernel/errors.ts'
import type { Database, Sql } from '../../src/store/sql.ts'
import { openSourceWorld, type SourceWorld } from './world.ts'

const rounds = Number(process.env['SOURCE_ROUNDS'] ?? 8)
/** Statements that are answered until the database goes away, as it is for a process that was killed. */
let left = Number.POSITIVE_INFINITY
let asked = 0

/** The database of a process that dies at some statement: nothing that it says afterwards arrives. */
function mortal(database: Database): Database {
  const alive = <T>(ask: () => Promise<T>): Promise<T> => {
    asked += 1
    left -= 1
    return left < 0 ? Promise.reject(new AppError('storage_unavailable')) : ask()
  }
  const over = (sql: Sql): Sql => ({ query: (text, values) => alive(() => sql.query(text, values)) })
  return {
    ...database,
    ...over(database),
    queryFixedPlan: (statement, values) => alive(() => database.queryFixedPlan(statement, values)),
    transaction: (work, options) => alive(() => database.transaction((sql) => work(over(sql)), options)),
  }
}

let at: SourceWorld
beforeAll(async () => {
  at = await openSourceWorld({ wrap: mortal })
})
afterAll(() => at?.[Symbol.asyncDispose]())

const people = ['anne', 'bob']
const names = ['a', 'b', 'c', 'd', 'e']
const readers = fc.subarray(['anne', 'bob', '@team'])
const change = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), name: fc.constantFrom(...names), readers }),
  fc.record({ kind: fc.constant('edit' as const), name: fc.constantFrom(...names) }),
  fc.record({ kind: fc.constant('remove' as const), name: fc.constantFrom(...names) }),
  fc.record({ kind: fc.constant('team' as const), members: fc.subarray(people) }),
)

type Change = typeof change extends fc.Arbitrary<infer Made> ? Made : never

function make(next: Change): void {
  const { wiki } = at
  if (next.kind === 'put') wiki.put(next.name, { text: `Zeppelin ${next.name}.`, readers: next.readers })
  else if (next.kind === 'team') wiki.groups.set('team', next.members)
  else if (next.kind === 'remove') wiki.remove(next.name)
  else if (wiki.pages.has(next.name)) wiki.put(next.name, { text: `Zeppelin ${next.name} anew.` })
}

/** What the wiki itself lets each person read. */
const allowed = (): Map<string, string[]> =>
  new Map(
    people.map((person) => [
      person,
      [...at.wiki.pages]
        .filter(([, page]) =>
          page.readers.some(
            (reader) =>
              reader === person || (reader === '@team' && at.wiki.groups.get('team')?.includes(person)),
          ),
        )
        .map(([name]) => `wiki/${name}`)
        .sort(),
    ]),
  )

test(`a reading that is killed at any statement lets nobody read what neither the old nor the new permissions let them, and the next one makes up for it (FUZZ_SEED=${seed})`, async () => {
  await at.add()
  at.wiki.groups.set('team', ['anne'])
  for (const name of names) at.wiki.put(name, { text: `Zeppelin ${name}.`, readers: ['anne', '@team'] })
  asked = 0
  await at.sync()
  const usual = asked
  let killed = 0
  const worlds = fc.sample(
    fc.tuple(
      fc.array(change, { minLength: 2, maxLength: 5 }),
      fc.integer({ min: 1, max: usual }),
      // How often, one after another, and whether it reads everything.
      fc.integer({ min: 1, max: 3 }),
      fc.boolean(),
    ),
    { seed, numRuns: rounds },
  )
  for (const [changes, statements, times, isAll] of worlds) {
    const before = allowed()
    for (const next of changes) make(next)
    if (isAll) await at.world.database.query('update sources set crawl_wanted_at = now()')
    for (let time = 0; time < times; time += 1) {
      await at.wake()
      left = statements
      await at.world.service.sources.runDue().catch(() => undefined)
      if (left < 0) killed += 1
      left = Number.POSITIVE_INFINITY
    }
    for (const person of people) {
      const either = [...(before.get(person) ?? []), ...(allowed().get(person) ?? [])]
      for (const id of await at.finds('zeppelin', person)) expect(either, `${person} finds`).toContain(id)
    }
    await at.settle()
    for (const person of people)
      expect(await at.finds('zeppelin', person), `${person} after ${JSON.stringify(changes)}`).toEqual(
        allowed().get(person),
      )
  }
  expect(killed).toBeGreaterThan(0)
}, 300_000)
