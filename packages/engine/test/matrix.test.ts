import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../src/condition-values.ts'
import {
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

for (const { name, open, isHere } of targets) {
  describe(`${name} answers OpenFGA's own matrix`, () => {
    test.skipIf(!isHere)('is reachable (OPENFGA_TEST_URL)', () => expect(isHere).toBe(true))
    test.skipIf(!hasMatrices)('finds the matrix files (REMIT_SHARED)', () => expect(hasMatrices).toBe(true))
    for (const file of hasMatrices && isHere ? matrixFiles : []) {
      describe(file, () => {
        for (const matrixTest of readMatrix(file)) declare(matrixTest, open)
      })
    }
  })
}

function declare(matrixTest: MatrixTest, open: () => Target | undefined): void {
  const { name, stages } = matrixTest
  if (stages.some(needsExpression)) {
    test.skip(`${name}: not passed, $expression is an experiment of the server`, () => {})
    return
  }
  test(`${name}: ${stages.length} stage(s), tuples stored`, () => run(stages, 'stored', open))
  const [only, ...more] = stages
  const count = only?.tuples?.length ?? 0
  if (more.length === 0 && count > 0 && count <= 100)
    test(`${name}: tuples contextual`, () => run(stages, 'contextual', open))
}

async function run(
  stages: readonly Stage[],
  placement: Placement,
  open: () => Target | undefined,
): Promise<void> {
  const target = open()
  if (target === undefined) throw new Error('the target went away')
  const store = await createStore(target)
  for (const stage of stages) {
    const model = await writeModel(target, store, parseDsl(stage.model))
    const extra = placement === 'contextual' ? [...(stage.tuples ?? [])] : []
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
  const flat = { ...rest, contextual_tuples: contextualOf(place, assertion) }
  expect(contextual_tuples).toBeDefined()
  const users = await askUsers(target, store, flat)
  expect(users, JSON.stringify(assertion)).toEqual(expected(assertion))
  for (const user of Array.isArray(users) ? users : []) {
    const check = withContext(place, assertion, { tuple_key: { user, relation, object } })
    expect(await askCheck(target, store, check), `listed but not allowed: ${user}`).toBe(true)
  }
}

type Contextual = { readonly context?: JsonObject; readonly contextualTuples?: readonly JsonObject[] }

const contextualOf = (place: Place, assertion: Contextual): readonly JsonObject[] => [
  ...place.extra,
  ...(assertion.contextualTuples ?? []),
]

const withContext = (place: Place, assertion: Contextual, body: JsonObject): JsonObject => ({
  ...body,
  authorization_model_id: place.model,
  context: assertion.context ?? {},
  contextual_tuples: { tuple_keys: contextualOf(place, assertion) },
})
