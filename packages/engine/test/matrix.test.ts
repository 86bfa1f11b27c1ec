import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../src/core/condition-values.ts'
import { checkTuple, compileModel } from '../src/index.ts'
import {
  assertionsOf,
  expected,
  hasMatrices,
  type ListObjectsAssertion,
  type ListUsersAssertion,
  type MatrixTest,
  matrixFiles,
  needsExpression,
  readMatrix,
  type Stage,
} from './support/matrix.ts'
import { toKey } from './support/scene.ts'
import {
  askCheck,
  askObjects,
  askStream,
  askUsers,
  createStore,
  engineTarget,
  parseDsl,
  serverTarget,
  type Target,
  writeModel,
} from './support/target.ts'

/** Tuples go with every query instead of into the store. */
type Placement = 'stored' | 'contextual'

const targets: readonly { name: string; open: () => Target | undefined; isHere: boolean }[] = [
  { name: 'the engine', open: engineTarget, isHere: true },
  { name: 'the real server', open: serverTarget, isHere: serverTarget() !== undefined },
]

const all = hasMatrices
  ? matrixFiles.flatMap((file) => readMatrix(file).map((one) => ({ file, ...one })))
  : []
/** Expressions in tuples are an experiment of the server, and its parser for npm cannot read their models. */
const leftOut = all.filter(({ stages }) => stages.some(needsExpression))

describe.skipIf(!hasMatrices)("OpenFGA's own matrix (OPENFGA_MATRICES, REMIT_SHARED)", () => {
  test('is whole: all its stages and assertions', () => {
    const stages = all.flatMap((one) => one.stages)
    const assertions = stages.reduce((sum, stage) => sum + assertionsOf(stage), 0)
    // Those of v1.22.1. The copy among the published data lacks the end of both; another version has its own.
    const whole = process.env['OPENFGA_MATRICES'] ? [198, 1264] : [186, 1216]
    if (process.env['REMIT_CI_OPENFGA'] === undefined) expect([stages.length, assertions]).toEqual(whole)
    else expect(assertions).toBeGreaterThan(1_000)
    console.log(`${all.length} tests, ${stages.length} stages, ${assertions} assertions`)
  })

  test('is asked whole but for what $expression needs', () => {
    const names = leftOut.map(({ name }) => name)
    expect(names.filter((name) => !name.startsWith('inline_expression_'))).toEqual([])
    console.log(`not asked, by name: ${names.join(', ') || 'none'}`)
  })

  test('is asked with contextual tuples too, but for stages of another model than the one that took the tuples', () => {
    const asked = all.filter((one) => !leftOut.includes(one))
    const stages = asked.flatMap(({ name, stages: own }) =>
      contextualOf(own).map((tuples, index) => ({ name, index, tuples })),
    )
    const without = stages.filter(({ tuples }) => tuples === undefined)
    expect(without.filter(({ index }) => index === 0)).toEqual([])
    const names = without.map(({ name, index }) => `${name} (${index + 1})`)
    console.log(`${stages.length - without.length} stages; not, by name and number: ${names.join(', ')}`)
  })
})

for (const { name, open, isHere } of targets) {
  describe.skipIf(!hasMatrices || !isHere)(`${name} answers OpenFGA's own matrix (OPENFGA_TEST_URL)`, () => {
    for (const file of matrixFiles) {
      describe(file, () => {
        for (const one of all) if (one.file === file && !leftOut.includes(one)) declare(one, open)
      })
    }
  })
}

function declare({ name, stages }: MatrixTest, open: () => Target | undefined): void {
  test(`${name}: ${stages.length} stage(s), tuples stored`, () => run(stages, 'stored', open))
  const asked = contextualOf(stages).flatMap((tuples, index) => {
    const stage = stages[index]
    return tuples !== undefined && tuples.length > 0 && stage !== undefined ? assertionsOf(stage) : 0
  })
  if (asked.some((assertions) => assertions > 0))
    test(`${name}: tuples contextual`, () => run(stages, 'contextual', open))
}

/**
 * For each stage what goes with its questions in place of what the stages up to it stored. Undefined where
 * that is over 100 tuples, or does not fit the stage's model: a stored tuple is then ignored, a contextual
 * one is an error.
 */
function contextualOf(stages: readonly Stage[]): readonly (readonly JsonObject[] | undefined)[] {
  return stages.map((stage, index) => {
    const tuples = stages.slice(0, index + 1).flatMap((one) => one.tuples ?? [])
    const model = compileModel(parseDsl(stage.model))
    const fits = tuples.every((tuple) => {
      const key = toKey(tuple)
      return key !== undefined && checkTuple(model, key) === undefined
    })
    return fits && tuples.length <= 100 ? tuples : undefined
  })
}

async function run(
  stages: readonly Stage[],
  placement: Placement,
  open: () => Target | undefined,
): Promise<void> {
  const target = open()
  if (target === undefined) throw new Error('the target went away')
  const store = await createStore(target)
  const contextual = contextualOf(stages)
  for (const [index, stage] of stages.entries()) {
    const model = await writeModel(target, store, parseDsl(stage.model))
    const extra = placement === 'contextual' ? contextual[index] : []
    if (extra === undefined) continue
    if (placement === 'stored') await writeTuples(target, store, model, stage.tuples ?? [])
    await runStage({ target, store, model, extra }, stage)
  }
}

async function writeTuples(
  target: Target,
  store: string,
  model: string,
  tuples: readonly JsonObject[],
): Promise<void> {
  for (let at = 0; at < tuples.length; at += 40) {
    const answer = await target.call('POST', `${store}/write`, {
      writes: { tuple_keys: tuples.slice(at, at + 40) },
      authorization_model_id: model,
    })
    expect(answer.status, answer.text).toBe(200)
  }
}

interface Place {
  readonly target: Target
  readonly store: string
  readonly model: string
  readonly extra: readonly JsonObject[]
}

async function runStage(place: Place, stage: Stage): Promise<void> {
  const { target, store } = place
  for (const assertion of stage.checkAssertions ?? []) {
    const body = withContext(place, assertion, { tuple_key: assertion.tuple })
    expect(await askCheck(target, store, body), JSON.stringify(assertion)).toEqual(expected(assertion))
  }
  for (const assertion of stage.listObjectsAssertions ?? []) await assertObjects(place, assertion)
  for (const assertion of stage.listUsersAssertions ?? []) await assertUsers(place, assertion)
}

async function assertObjects(place: Place, assertion: ListObjectsAssertion): Promise<void> {
  const { target, store } = place
  const { user, type, relation } = assertion.request
  const body = withContext(place, assertion, { user, type, relation })
  const objects = await askObjects(target, store, body)
  expect(objects, JSON.stringify(assertion)).toEqual(expected(assertion))
  expect(await askStream(target, store, body), `streamed ${JSON.stringify(assertion)}`).toEqual(
    typeof objects === 'string' ? 'failed' : objects,
  )
  for (const object of Array.isArray(objects) ? objects : []) {
    const check = withContext(place, assertion, { tuple_key: { user, relation, object } })
    expect(await askCheck(target, store, check), `listed but not allowed: ${object}`).toBe(true)
  }
}

async function assertUsers(place: Place, assertion: ListUsersAssertion): Promise<void> {
  const { target, store } = place
  const { object, relation, filters } = assertion.request
  const [type = '', id = ''] = object.split(/:(.*)/s)
  const user_filters = filters.map((filter) => {
    const [filterType = '', filterRelation] = filter.split('#')
    return filterRelation === undefined
      ? { type: filterType }
      : { type: filterType, relation: filterRelation }
  })
  const body = withContext(place, assertion, { object: { type, id }, relation, user_filters })
  const { contextual_tuples, ...rest } = body
  const flat = { ...rest, contextual_tuples: tuplesWith(place, assertion) }
  expect(contextual_tuples).toBeDefined()
  const users = await askUsers(target, store, flat)
  expect(users, JSON.stringify(assertion)).toEqual(expected(assertion))
  for (const user of Array.isArray(users) ? users : []) {
    const check = withContext(place, assertion, { tuple_key: { user, relation, object } })
    expect(await askCheck(target, store, check), `listed but not allowed: ${user}`).toBe(true)
  }
}

type Contextual = { readonly context?: JsonObject; readonly contextualTuples?: readonly JsonObject[] }

const tuplesWith = (place: Place, assertion: Contextual): readonly JsonObject[] => [
  ...place.extra,
  ...(assertion.contextualTuples ?? []),
]

const withContext = (place: Place, assertion: Contextual, body: JsonObject): JsonObject => ({
  ...body,
  authorization_model_id: place.model,
  context: assertion.context ?? {},
  contextual_tuples: { tuple_keys: tuplesWith(place, assertion) },
})
