import { readFileSync } from 'node:fs'
import { createTupleStore, type TupleStore } from '@remit/engine'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator, type RecordActor } from '../../src/audit/record.ts'
import { embeddedUrl, openEmbedded } from '../../src/authz/embedded.ts'
import { type ActiveModel, followModel } from '../../src/authz/model/active.ts'
import { createModelChanges, type ModelChanges } from '../../src/authz/model/changes.ts'
import { deployModel } from '../../src/authz/model/deploy.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import type { PlanTests } from '../../src/authz/model/plan-tests.ts'
import { createTexts } from '../../src/authz/model/texts.ts'
import { createFgaApi } from '../../src/authz/openfga.ts'
import { TextError } from '../../src/authz/text-error.ts'
import type { Database } from '../../src/store/sql.ts'
import { replaceOnce } from '../model/mutants.ts'
import { openTestDatabase } from '../support/database.ts'
import { tellingModels } from '../support/told-models.ts'

const textOf = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const dsl = textOf('model.fga')
const list = textOf('model.allow-list.yaml')
const unblocked = replaceOnce(dsl, 'define can_read: viewer but not blocked', 'define can_read: viewer').dsl
const [dan, carol, bob] = (['user:dan', 'user:carol', 'user:bob'] as const).map(
  (subject): RecordActor => ({ ...operator('t_1'), subject }),
) as [RecordActor, RecordActor, RecordActor]
const day = 24 * 3_600_000
const holding: PlanTests = { digest: 'one', passed: 7, failed: 0, failures: [] }
const failing: PlanTests = {
  digest: 'one',
  passed: 6,
  failed: 1,
  failures: [{ test: 'x', refused: 'no such type' }],
}
const unread: PlanTests = { ...holding, digest: undefined, passed: 0, error: 'It could not be read.' }

let database: Database
let active: ActiveModel
let models: ModelChanges
let ownTexts: ReturnType<typeof createTexts>
let nth = 0
// What each test changes of the world, and starts with.
let time: number
let approvers: number
let tests: PlanTests
let digest: string | undefined
let tuples: TupleStore
let administrators: Set<string>
/** One person each, by all names. */
let persons: readonly (readonly string[])[]
/** In the order in which it was asked who is an administrator. */
let asked: string[]
/** Just before each transaction, and when OpenFGA has a model that is tried or about to come into force. */
let begins: () => Promise<unknown>
let written: () => Promise<unknown>
let isListRead: boolean

beforeAll(async () => {
  database = await openTestDatabase()
  ownTexts = createTexts()
  const { adapter } = await openEmbedded(database, Date.now, () => undefined)
  const real = createFgaApi({ apiUrl: embeddedUrl, timeoutMs: 30_000, adapter })
  const { storeId, model } = await deployModel({
    api: real,
    database,
    dsl,
    redeploy: false,
    newTxn: () => 't_test',
    now: () => 0,
  })
  active = followModel({ sql: database, storeId, first: model, log: () => undefined })
  models = createModelChanges({
    database: {
      ...database,
      transaction: async (work) => {
        await begins()
        return database.transaction(work)
      },
    },
    api: tellingModels(() => written())(real),
    active,
    index: {
      catchUp: async () => undefined,
      view: () => ({ tuples }),
      status: () => ({ tailReadAt: time }),
    },
    listLiveDelegations: async () => [],
    get approvers() {
      return approvers
    },
    approversDespiteTests: 2,
    truthTable: { ofPlan: async () => tests, ownDigest: async () => digest },
    texts: {
      readSource: async (text) => ({ dsl: text, json: readDsl(text) }),
      readAllowList: (text, json) =>
        isListRead ? ownTexts.readAllowList(text, json) : Promise.reject(new TextError('It takes too long.')),
    },
    isAdministrator: async (_, subject) => {
      asked.push(subject)
      return administrators.has(subject)
    },
    namesOf: async (_, subject) => new Set(persons.find((names) => names.includes(subject)) ?? [subject]),
    now: () => time,
    newId: () => `m_${++nth}`,
  })
}, 180_000)
afterAll(async () => {
  await active?.[Symbol.asyncDispose]()
  await ownTexts?.[Symbol.asyncDispose]()
  await database?.close()
})
beforeEach(async () => {
  time = Date.now()
  approvers = 2
  tests = holding
  digest = 'one'
  tuples = holdingTuples('user:anne blocked document:a', 'user:anne viewer document:a')
  administrators = new Set(['user:dan', 'user:carol', 'user:bob'])
  persons = []
  begins = async () => undefined
  written = async () => undefined
  isListRead = true
  asked = []
})

function holdingTuples(...lines: readonly string[]): TupleStore {
  const store = createTupleStore()
  for (const line of lines) {
    const [user = '', relation = '', object = ''] = line.split(' ')
    store.add({ user, relation, object, condition: undefined }, Date.now())
  }
  return store
}
/** Another text each time, which means the same. */
const planned = (text = dsl) => models.plan(dan, { dsl: `${text}\n# ${++nth}\n` })
const recorded = (plan: string) =>
  database.query<{ event: string; subject: string; detail: object }>(
    `select event, subject, detail from decision_records where detail->>'plan' = $1 order by record_no`,
    [plan],
  )
const inForce = async () => {
  const [row] = await database.query<{ value: { model_id: string } }>(
    `select value from settings where key = 'authorization_model'`,
  )
  return row?.value.model_id
}
const facts = { tests_passed: 7, tests_failed: 0 }

describe('a plan and its yeses', () => {
  test('are stored and on record with whose they are, when and why', async () => {
    const base = active.current.id
    const made = await planned()
    expect(made).toMatchObject({
      planner: 'user:dan',
      baseModel: base,
      modelId: undefined,
      state: 'open',
      createdAt: new Date(time),
      expiresAt: new Date(time + day),
      approvedBy: [],
      reasons: [],
    })
    expect((await models.read(made.id)).plan).toMatchObject({ approvedBy: [], reasons: [], tests: holding })
    const first = await models.apply(dan, made.id, 'Folders first')
    expect(first).toMatchObject({
      state: 'awaiting_second',
      plan: { id: made.id, state: 'open', approvedBy: ['user:dan'] },
    })
    time += 1
    expect((await models.show()).awaiting.map(({ id }) => id)).toEqual([made.id])
    const last = await models.apply(carol, made.id)
    const modelId = await inForce()
    expect(modelId).not.toBe(base)
    expect(last).toMatchObject({
      state: 'active',
      modelId,
      plan: { id: made.id, state: 'active', approvedBy: ['user:dan', 'user:carol'] },
    })
    expect(active.current).toMatchObject({
      id: modelId,
      dsl: made.dsl,
      plan: made.id,
      activatedBy: ['user:dan', 'user:carol'],
      activatedAt: new Date(time),
    })
    expect((await models.read(made.id)).plan).toMatchObject({
      state: 'active',
      approvedBy: ['user:dan', 'user:carol'],
      reasons: [{ by: 'user:dan', reason: 'Folders first' }],
    })
    const { current, history, awaiting } = await models.show()
    expect([current.id, history[0]?.id, awaiting]).toEqual([modelId, modelId, []])
    const said = { plan: made.id, digest: made.digest, base_model: base, ...facts }
    expect(await recorded(made.id)).toEqual([
      { event: 'model_planned', subject: 'user:dan', detail: said },
      { event: 'model_approved', subject: 'user:dan', detail: { ...said, reason: 'Folders first' } },
      { event: 'model_activated', subject: 'user:carol', detail: { ...said, model_id: modelId } },
    ])
  })

  test('have a reason on record at the last yes and none at the first, where it is so given', async () => {
    const made = await planned()
    await models.apply(dan, made.id)
    await models.apply(carol, made.id, 'As he says')
    const details = (await recorded(made.id)).map(({ detail }) => detail)
    const said = { plan: made.id, digest: made.digest, base_model: made.baseModel, ...facts }
    expect(details.slice(1)).toEqual([said, { ...said, model_id: active.current.id, reason: 'As he says' }])
  })

  test('count until a day is over, to the millisecond', async () => {
    const made = await planned()
    time += day - 1
    expect(models.outdatedOf(made)).toBeUndefined()
    expect(await models.apply(dan, made.id)).toMatchObject({ state: 'awaiting_second' })
    time += 1
    expect(models.outdatedOf(made)).toContain('24 hours')
    await expect(models.apply(carol, made.id)).rejects.toMatchObject({ code: 'plan_outdated' })
  })

  test('are none once the day ends before the yes is stored, or while the model is written', async () => {
    const first = await planned()
    begins = async () => {
      time += day
    }
    await expect(models.apply(dan, first.id)).rejects.toMatchObject({ code: 'plan_outdated' })
    begins = async () => undefined
    expect((await models.read(first.id)).plan.approvedBy).toEqual([])
    approvers = 1
    const base = await inForce()
    const second = await planned()
    written = async () => {
      time += day
    }
    await expect(models.apply(dan, second.id)).rejects.toMatchObject({ code: 'plan_outdated' })
    expect(await inForce()).toBe(base)
  })

  test('are none of a plan that is over, whatever else it lacks, nor of one that is refused', async () => {
    tests = failing
    const over = await planned()
    time += day
    await expect(models.apply(dan, over.id)).rejects.toMatchObject({ code: 'plan_outdated' })
    const other = replaceOnce(
      dsl,
      'define can_read_delegated: ordinary or released',
      'define other: ordinary',
    )
    const refused = await planned(other.dsl)
    await expect(models.apply(dan, refused.id, 'why')).rejects.toMatchObject({ code: 'model_refused' })
    expect((await models.read(refused.id)).plan.approvedBy).toEqual([])
  })

  test('are of plans that there are', async () => {
    const refused = { code: 'not_found', public: 'There is no such plan.' }
    await expect(models.apply(dan, 'm_none')).rejects.toMatchObject(refused)
    await expect(models.read('m_none')).rejects.toMatchObject(refused)
  })

  test('are no more where the plan goes before its yes is stored', async () => {
    const made = await planned()
    begins = () => database.query('delete from model_plans where id = $1', [made.id])
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({ code: 'plan_outdated' })
  })

  test('are no more where the plan, or what is in force, goes while the model is written', async () => {
    approvers = 1
    const base = await inForce()
    const first = await planned()
    written = () => database.query('delete from model_plans where id = $1', [first.id])
    await expect(models.apply(dan, first.id)).rejects.toMatchObject({ code: 'plan_outdated' })
    const [pin] = await database.query<{ value: object }>(
      `select value from settings where key = 'authorization_model'`,
    )
    const second = await planned()
    written = () => database.query(`delete from settings where key = 'authorization_model'`)
    await expect(models.apply(dan, second.id)).rejects.toMatchObject({ code: 'plan_outdated' })
    await database.query(`insert into settings (key, value) values ('authorization_model', $1)`, [
      pin?.value ?? null,
    ])
    await active.refresh()
    expect(await inForce()).toBe(base)
  })

  test('are not begun for who has left, and hold nobody up', async () => {
    const made = await planned()
    await expect(models.apply(dan, made.id, undefined, AbortSignal.abort())).rejects.toMatchObject({
      code: 'deadline_exceeded',
    })
    expect((await models.read(made.id)).plan.approvedBy).toEqual([])
    const { signal } = new AbortController()
    expect(await models.apply(dan, made.id, undefined, signal)).toMatchObject({ state: 'awaiting_second' })
  })

  test('are as good as nothing where OpenFGA cannot take the model: it says 503, and a later yes counts', async () => {
    approvers = 1
    const made = await planned()
    const base = await inForce()
    // The first model is tried, the second is to come into force.
    let count = 0
    written = async () => {
      if (++count === 2) throw new Error('gone')
    }
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({ code: 'authorization_unavailable' })
    expect(await inForce()).toBe(base)
    written = async () => undefined
    expect(await models.apply(dan, made.id)).toMatchObject({ state: 'active' })
  })
})

describe('how many people a plan takes', () => {
  test.each([
    [1, holding, 1],
    [3, holding, 3],
    [1, failing, 2],
    [3, failing, 3],
  ])('is, with %d and tests like these, %#', async (needed, run, people) => {
    approvers = needed
    tests = run
    const made = await planned()
    expect(models.approversOf(made)).toBe(people)
    const answers: string[] = []
    for (const who of [dan, carol, bob].slice(0, people))
      answers.push((await models.apply(who, made.id, 'why')).state)
    expect(answers).toEqual([...Array(people - 1).fill('awaiting_second'), 'active'])
  })

  test('is of persons, not of accounts, and of those who administer when the last one says yes', async () => {
    persons = [['user:dan', 'user:bob']]
    const made = await planned()
    await models.apply(dan, made.id)
    await expect(models.apply(bob, made.id)).rejects.toMatchObject({
      code: 'conflict',
      public: expect.stringContaining('it needs somebody else'),
    })
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({ code: 'conflict' })
    persons = []
    administrators.delete('user:dan')
    expect(await models.apply(carol, made.id)).toMatchObject({ state: 'awaiting_second' })
    administrators.add('user:dan')
    administrators.delete('user:carol')
    expect(await models.apply(bob, made.id)).toMatchObject({
      state: 'active',
      plan: { approvedBy: ['user:dan', 'user:bob'] },
    })
    expect(active.current.activatedBy).toEqual(['user:dan', 'user:bob'])
  })

  test('counts one person once, though another confirms after two of their accounts', async () => {
    approvers = 3
    const made = await planned()
    await models.apply(dan, made.id)
    await models.apply(bob, made.id)
    persons = [['user:dan', 'user:bob']]
    expect(await models.apply(carol, made.id)).toMatchObject({ state: 'awaiting_second' })
  })

  test('does not count who is no administrator, and stores nothing of them', async () => {
    administrators = new Set(['user:carol'])
    const made = await planned()
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({
      code: 'forbidden',
      public: 'You are no administrator any more.',
    })
    expect((await models.read(made.id)).plan.approvedBy).toEqual([])
  })

  test('is asked in one order, whoever comes last: two that lock the same people do not wait for each other', async () => {
    const made = await planned()
    await models.apply(dan, made.id)
    asked = []
    await models.apply(carol, made.id)
    expect(asked).toEqual(['user:carol', 'user:dan', 'user:carol', 'user:dan'])
  })

  test('is asked again when the model is written: who ceased meanwhile does not count', async () => {
    const made = await planned()
    await models.apply(dan, made.id)
    const base = await inForce()
    written = async () => administrators.delete('user:dan')
    await expect(models.apply(carol, made.id)).rejects.toMatchObject({
      code: 'forbidden',
      public: 'Somebody who confirmed is no administrator any more.',
    })
    expect(await inForce()).toBe(base)
  })

  test('is not one more for two accounts that become one person while the model is written', async () => {
    const made = await planned()
    await models.apply(dan, made.id)
    written = async () => {
      persons = [['user:dan', 'user:bob']]
    }
    await expect(models.apply(bob, made.id)).rejects.toMatchObject({ code: 'conflict' })
  })
})

describe('whoever confirms a plan reads', () => {
  test('its text and what changes, also of the list, and nothing where what it was made from is not kept', async () => {
    const made = await planned(unblocked)
    const read = await models.read(made.id)
    expect(read.text).toBe(made.dsl)
    expect(read.diff).toContain(
      '-    define can_read: viewer but not blocked\n+    define can_read: viewer\n',
    )
    expect(read.allowListDiff).toBe('')
    const listed = await models.plan(dan, { allowList: list })
    const { allowListDiff } = await models.read(listed.id)
    expect(allowListDiff).toContain('+schema: 1\n')
    expect(allowListDiff).not.toMatch(/^-[^-\n]/m)
    await database.query(`update model_plans set base_model = 'gone' where id = $1`, [made.id])
    await expect(models.read(made.id)).rejects.toMatchObject({ code: 'not_found' })
  })

  test('that it is listed while it is open', async () => {
    const made = await planned()
    const { plans, more } = await models.open()
    expect(plans.map(({ id }) => id)).toContain(made.id)
    expect(more).toBe(false)
  })
})

describe('at the last yes', () => {
  beforeEach(() => {
    approvers = 1
  })

  test('what nobody confirmed is not gained, by one or by several', async () => {
    const base = await inForce()
    const made = await planned(unblocked)
    expect(made.gains).toMatchObject({ can_read: { 'user:anne': ['a'] } })
    const more = ['b', 'c'].flatMap((id) => [
      `user:bob blocked document:${id}`,
      `user:bob viewer document:${id}`,
    ])
    tuples = holdingTuples(...more)
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({
      code: 'plan_outdated',
      public: expect.stringMatching(/^2 gains were .* user:bob and document:b\./),
    })
    tuples = holdingTuples(...more.slice(0, 2))
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({
      public: expect.stringMatching(/^1 gains were /),
    })
    expect(await inForce()).toBe(base)
    tuples = holdingTuples()
    expect(await models.apply(dan, made.id)).toMatchObject({ state: 'active' })
    const back = await planned()
    expect(await models.apply(dan, back.id)).toMatchObject({ state: 'active' })
  })

  test('a plan that can be applied no more is refused', async () => {
    const made = await models.plan(dan, { allowList: list })
    isListRead = false
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({ code: 'model_refused' })
    isListRead = true
    expect(await models.apply(dan, made.id)).toMatchObject({ state: 'active' })
    expect(active.current.allowList).toBe(list)
    const shorter = await models.plan(dan, { allowList: list.replace(/^ {4}tagger: .*\n/m, '') })
    const { allowListDiff } = await models.read(shorter.id)
    expect(allowListDiff).toContain('\n-    tagger: ')
    expect(allowListDiff).not.toMatch(/^\+[^+\n]/m)
  })

  test('the table counts as it was where it is the same, and anew where it is another', async () => {
    const same = await planned()
    tests = failing
    expect(await models.apply(dan, same.id)).toMatchObject({ state: 'active' })
    tests = holding
    const other = await planned()
    tests = failing
    digest = 'two'
    await expect(models.apply(dan, other.id)).rejects.toMatchObject({
      code: 'plan_outdated',
      public: expect.stringContaining('1 test of the truth table fails'),
    })
    tests = holding
    expect(await models.apply(dan, other.id)).toMatchObject({ state: 'active' })
  })

  test('a table that was not run, or that cannot be read, shows nothing and takes two people with a reason', async () => {
    tests = unread
    digest = undefined
    const made = await planned()
    await expect(models.apply(dan, made.id)).rejects.toMatchObject({
      code: 'invalid_request',
      field: 'reason',
    })
    await models.apply(dan, made.id, 'why')
    // It can be read again, and fails.
    tests = failing
    await expect(models.apply(carol, made.id, 'why')).rejects.toMatchObject({ code: 'plan_outdated' })
  })

  test('a plan from before there were tests has them run, also where the table cannot be read', async () => {
    const made = await planned()
    await database.query('update model_plans set tests = null where id = $1', [made.id])
    await models.apply(dan, made.id, 'why')
    tests = unread
    digest = undefined
    await expect(models.apply(carol, made.id, 'why')).rejects.toMatchObject({ code: 'plan_outdated' })
    tests = holding
    digest = 'one'
    expect(await models.apply(carol, made.id, 'why')).toMatchObject({ state: 'active' })
  })
})
