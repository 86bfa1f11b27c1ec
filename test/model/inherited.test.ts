import { readFileSync } from 'node:fs'
import { check, compileModel, createTupleStore, type JsonObject, type TupleKey } from '@remit/engine'
import { describe, expect, test } from 'vitest'
import { createRandom } from '../../packages/engine/test/support/random.ts'
import { seed } from '../../packages/engine/test/support/seed.ts'
import {
  askBatch,
  createStore,
  engineTarget,
  isOverdue,
  serverTarget,
  type Target,
  type Verdict,
  weightedTarget,
  writeModel,
} from '../../packages/engine/test/support/target.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { createOracle, drawn, drawOwnTuples, ownJson, ownModel, ownQuestions } from '../authz/own-worlds.ts'
import { needsOpenfga } from '../support/native.ts'
import { replaceOnce } from './mutants.ts'

const nowMs = Date.parse('2026-06-01T00:00:00Z')
const context = { current_time: new Date(nowMs).toISOString() }
const weighted = weightedTarget()

const engines: readonly {
  readonly name: string
  readonly open: () => Target | undefined
  readonly options: object
  readonly worlds: number
}[] = [
  {
    name: 'the embedded engine',
    open: engineTarget,
    options: {},
    worlds: Number(process.env.FUZZ_WORLDS ?? 60),
  },
  { name: 'a real OpenFGA server', open: serverTarget, options: needsOpenfga, worlds: 12 },
  {
    name: 'the coming engine of OpenFGA (OPENFGA_WEIGHTED_TEST_URL)',
    open: weightedTarget,
    options: { skip: weighted === undefined },
    worlds: 12,
  },
]

async function openStore(target: Target, keys: readonly TupleKey[]): Promise<string> {
  const store = await createStore(target)
  await writeModel(target, store, JSON.parse(JSON.stringify(ownJson)))
  for (let at = 0; at < keys.length; at += 100) {
    const tuple_keys = keys.slice(at, at + 100) as unknown as JsonObject[]
    const written = await target.call('POST', `${store}/write`, { writes: { tuple_keys } })
    if (written.status !== 200) throw new Error(written.text)
  }
  return store
}

/** What a busy server had no time for is asked again. */
async function askAll(target: Target, store: string, items: readonly JsonObject[]): Promise<Verdict[]> {
  const verdicts = await askBatch(target, store, items)
  for (let tries = 0; tries < 10 && verdicts.some(isOverdue); tries++) {
    const late = verdicts.flatMap((verdict, at) => (isOverdue(verdict) ? [at] : []))
    const again = await askBatch(
      target,
      store,
      late.map((at) => items[at]).filter((item) => item !== undefined),
    )
    for (const [nth, at] of late.entries()) verdicts[at] = again[nth] ?? 'none'
  }
  return verdicts
}

describe.each(engines)('on $name', ({ open, options, worlds }) => {
  test(`a block at any level wins over every permission, and a zone lets through who passes all of it, in ${worlds} random worlds (FUZZ_SEED=${seed})`, {
    ...options,
    timeout: 300_000,
  }, async () => {
    const target = open()
    if (target === undefined) throw new Error('no server')
    const wrong: string[] = []
    const counts: Record<string, number> = { asked: 0, allowed: 0, throughZone: 0 }
    const count = (name: string): void => {
      counts[name] = (counts[name] ?? 0) + 1
    }
    const kinds = ['allowed', 'throughZone', 'document', 'folder', 'zone', 'collection', 'organization']
    const rare = (): string[] => kinds.filter((name) => (counts[name] ?? 0) <= worlds / 6)
    // A few more where these had too little of something, such as of people let in by a zone alone.
    for (let nth = 0; nth < worlds || (rare().length > 0 && nth < 2 * worlds); nth++) {
      const keys = drawOwnTuples(createRandom(seed + nth), 110)
      const oracle = createOracle(keys, nowMs)
      const withoutZones = createOracle(
        keys.filter(({ object }) => !object.startsWith('zone:')),
        nowMs,
      )
      const store = await openStore(target, keys)
      const asked = ownQuestions.flatMap((question) =>
        drawn.documents.map((document) => ({ question, document })),
      )
      const verdicts = await askAll(
        target,
        store,
        asked.map(({ question: { user, relation, contextual }, document }) => ({
          tuple_key: { user, relation, object: document },
          contextual_tuples: { tuple_keys: contextual as unknown as JsonObject[] },
          context,
        })),
      )
      for (const [at, { question, document }] of asked.entries()) {
        const expected = oracle.holds(question, document)
        count('asked')
        if (expected) count('allowed')
        if (oracle.views(question.user, document))
          for (const level of new Set(oracle.blockedAt(question.user, document))) count(level)
        if (expected && !withoutZones.views(question.user, document)) count('throughZone')
        if (verdicts[at] !== expected)
          wrong.push(`${seed + nth}: ${question.user} ${question.relation} ${document} is ${verdicts[at]}`)
      }
    }
    console.log(`seed ${seed}: ${JSON.stringify(counts)}`)
    expect(wrong).toEqual([])
    expect(rare(), 'the worlds are such worlds').toEqual([])
  })
})

test('a deployment that has the model without not_blocked gives the same answers by either, in random worlds', () => {
  const former = replaceOnce(
    readFileSync(new URL('../../model.fga', import.meta.url), 'utf8').replaceAll(
      /^    define not_blocked: \[user\]\n/gm,
      '',
    ),
    '([user, group#member] or blocked from organization) but not not_blocked',
    '[user, group#member] or blocked from organization',
  )
  const model = compileModel(
    readDsl(
      replaceOnce(
        former.dsl,
        '([user, group#member] or blocked from filed_in) but not not_blocked',
        '[user, group#member] or blocked from filed_in',
      ).dsl,
    ),
  )
  let allowed = 0
  for (let nth = 0; nth < 30; nth++) {
    const tuples = createTupleStore()
    for (const key of drawOwnTuples(createRandom(seed + nth), 110)) tuples.add(key, '')
    for (const { user, relation, contextual } of ownQuestions) {
      for (const object of drawn.documents) {
        const question = { user, relation, object, contextualTuples: contextual, context }
        const answer = check(ownModel, tuples, question)
        if (answer) allowed += 1
        expect(check(model, tuples, question), `${seed + nth}: ${user} ${relation} ${object}`).toBe(answer)
      }
    }
  }
  expect(allowed).toBeGreaterThan(100)
})

/** A chain of folders below a collection in an organization, the document at its end. */
const chain = (folders: number, top: string): TupleKey[] => [
  { user: top, relation: 'parent', object: 'folder:1' },
  ...Array.from({ length: folders - 1 }, (_, at) => ({
    user: `folder:${at + 1}`,
    relation: 'parent',
    object: `folder:${at + 2}`,
  })),
  { user: `folder:${folders}`, relation: 'parent', object: 'document:1' },
  { user: 'collection:1', relation: 'filed_in', object: 'document:1' },
  { user: 'collection:1', relation: 'filed_in', object: 'zone:1' },
  { user: 'organization:1', relation: 'organization', object: 'collection:1' },
  { user: 'user:1', relation: 'viewer', object: 'folder:1' },
  { user: 'user:2', relation: 'viewer', object: 'folder:1' },
  { user: 'user:3', relation: 'viewer', object: 'document:1' },
  { user: 'user:4', relation: 'owner', object: 'document:1' },
  { user: 'group:1#member', relation: 'member', object: 'group:2' },
  { user: 'user:2', relation: 'member', object: 'group:1' },
  { user: 'user:4', relation: 'member', object: 'group:1' },
]

describe.each(engines)('with folders in folders, on $name', ({ open, options }) => {
  const ask = async (keys: readonly TupleKey[]) => {
    const target = open()
    if (target === undefined) throw new Error('no server')
    const store = await openStore(target, keys)
    return askAll(
      target,
      store,
      drawn.people.map((user) => ({
        tuple_key: { user, relation: 'can_read', object: 'document:1' },
        context,
      })),
    )
  }

  test.each(['folder:1', 'zone:1', 'collection:1', 'organization:1'])(
    'twenty deep a block of a nested group at %s keeps out whom it names, and nobody else',
    options,
    async (object) => {
      const top = object === 'zone:1' ? object : 'collection:1'
      expect(await ask(chain(20, top))).toEqual([true, true, true, true])
      const blocked = { user: 'group:2#member', relation: 'blocked', object }
      expect(await ask([...chain(20, top), blocked])).toEqual([true, false, true, false])
    },
  )

  test(
    'deeper than is answered it is refused or denied to whoever is blocked at the top, and never allowed',
    options,
    async () => {
      const blocked = { user: 'group:2#member', relation: 'blocked', object: 'organization:1' }
      for (const depth of [22, 24, 26, 40]) {
        const verdicts = await ask([
          // Only by the chain, whose end is far.
          ...chain(depth, 'collection:1').filter(
            ({ relation, object }) => relation !== 'filed_in' || object !== 'document:1',
          ),
          blocked,
        ])
        expect([verdicts[1], verdicts[3]], `${depth} deep`).not.toContain(true)
      }
    },
  )
})

test('the model is one that the coming engine takes whole: nothing recurses through “and” or “but not”', () => {
  expect(ownModel.isWeighted).toBe(true)
})
