import type { JsonObject } from '../../src/core/condition-values.ts'
import { compileModel } from '../../src/index.ts'
import { isHidden } from './hidden.ts'
import {
  createQuestions,
  createTuples,
  createWrites,
  modelQuestion,
  type Question,
  writeModelCode,
  writeQuestion,
} from './questions.ts'
import type { Random } from './random.ts'
import { recursesThroughStrangers } from './strangers.ts'
import { askBatch, askCheck, createStore, same, type Target, type Verdict, weightedTarget } from './target.ts'
import { createWorld } from './world.ts'

export interface Difference {
  readonly seed: number
  readonly question: Question
  readonly engine: Verdict
  readonly server: Verdict
  readonly model: JsonObject
  readonly tuples: readonly JsonObject[]
}

export interface Tally {
  answers: number
  /** Rejected models among the worlds: they end a world early. */
  refused: number
  /**
   * Known divergence: recursion through `and` or `but not`. When a cycle and a plain no meet there, the
   * server answers by which of them it meets first; the engine lets the no win. Such models are refused by
   * the weighted-graph engine (`findWeightedProblems`).
   */
  knownCycles: number
  /**
   * Known divergence: the server grants through another type's tupleset of that name
   * (`recursion-through-strangers`).
   */
  strangers: number
  /**
   * Known divergence: the server's ListUsers leaves out whom its own Check grants, where an exclusion beside
   * took them out.
   */
  unlisted: number
  /**
   * Known divergence: the server passes over a tuple for another one whose condition does not hold
   * (`isHidden`).
   */
  hidden: number
  /** Loose questions on which both deny, one of them by an error. */
  loose: number
  /** Questions that the server answers differently from one store to the next. */
  unsteady: number
  readonly byKind: Map<string, number>
  /**
   * How many server answers were a yes or a list with something in it: a fuzz of nothing but no finds
   * nothing.
   */
  positive: number
  readonly differences: Difference[]
}

const atOnce = 6

export const createTally = (): Tally => ({
  answers: 0,
  refused: 0,
  knownCycles: 0,
  strangers: 0,
  unlisted: 0,
  hidden: 0,
  loose: 0,
  unsteady: 0,
  byKind: new Map(),
  positive: 0,
  differences: [],
})

const count = (tally: Tally, kind: string, by = 1): void => {
  tally.answers += by
  tally.byKind.set(kind, (tally.byKind.get(kind) ?? 0) + by)
}

/** Adds what one world gave. */
export function addTo(tally: Tally, { byKind, differences, answers: _, ...counts }: Tally): void {
  for (const [kind, by] of byKind) count(tally, kind, by)
  tally.refused += counts.refused
  tally.knownCycles += counts.knownCycles
  tally.strangers += counts.strangers
  tally.unlisted += counts.unlisted
  tally.hidden += counts.hidden
  tally.loose += counts.loose
  tally.unsteady += counts.unsteady
  tally.positive += counts.positive
  tally.differences.push(...differences)
}

/** Whether the engine grants what the server does not, errors aside. */
const isMore = (engine: Verdict, server: Verdict): boolean =>
  engine === true ||
  (typeof engine !== 'string' &&
    typeof engine !== 'boolean' &&
    typeof server !== 'string' &&
    !same(engine, server))

/**
 * Whether the engine lists all that the server does, and beside it only those whom the server grants when
 * asked about each.
 */
async function isUnlisted(
  { kind, body }: Question,
  engine: Verdict,
  server: Verdict,
  target: Target,
  store: string,
): Promise<boolean> {
  if (kind !== 'list-users' || !Array.isArray(engine) || !Array.isArray(server)) return false
  if (server.some((user) => !engine.includes(user))) return false
  const { type, id } = body['object'] as { readonly type: string; readonly id: string }
  const { relation = null, context = {}, contextual_tuples: tuple_keys = [] } = body
  const asked = engine
    .filter((user) => !server.includes(user))
    .map((user) =>
      askCheck(target, store, {
        tuple_key: { user, relation, object: `${type}:${id}` },
        context,
        contextual_tuples: { tuple_keys },
      }),
    )
  return (await Promise.all(asked)).every((verdict) => verdict === true)
}

/** One random world on both sides: its model, its tuples, and many questions. */
export async function compareWorld(
  seed: number,
  random: Random,
  engine: Target,
  server: Target,
  tally: Tally,
): Promise<void> {
  const world = createWorld(random)
  const stores = { engine: await createStore(engine), server: await createStore(server) }
  const [mine, theirs] = await Promise.all([
    writeModelCode(engine, stores.engine, world.model),
    writeModelCode(server, stores.server, world.model),
  ])
  count(tally, 'model')
  if (!same(mine, theirs)) {
    tally.differences.push({
      seed,
      question: modelQuestion(world.model),
      engine: mine,
      server: theirs,
      model: world.model,
      tuples: [],
    })
  }
  if (mine !== true || theirs !== true) {
    tally.refused++
    return
  }
  const { isWeighted, ast } = compileModel(world.model)
  const hasStrangers = recursesThroughStrangers(ast)
  const tuples = createTuples(random, world)
  const writes = [writeQuestion({ writes: { tuple_keys: tuples } }), ...createWrites(random, world, tuples)]
  const { batch, others } = createQuestions(random, world)
  const stored: JsonObject[] = []
  const put = async (question: Question): Promise<readonly [Verdict, Verdict]> => {
    const both = [question.ask(engine, stores.engine), question.ask(server, stores.server)] as const
    return await Promise.all(both)
  }
  const compare = async (question: Question, left: Verdict, right: Verdict): Promise<void> => {
    count(tally, question.kind)
    if (right === true || (Array.isArray(right) && right.length > 0)) tally.positive++
    if (same(left, right)) return
    if (question.isLoose && !isMore(left, right)) {
      tally.loose++
      return
    }
    if (!isWeighted && question.kind !== 'write') {
      tally.knownCycles++
      return
    }
    // Only its yes where there is none: the other way round is a defect of ours whatever the model.
    if (hasStrangers && right === true && left === false) {
      tally.strangers++
      return
    }
    if (await isUnlisted(question, left, right, server, stores.server)) {
      tally.unlisted++
      return
    }
    const place = { model: world.model, tuples: await readAll(engine, stores.engine) }
    if (await isHidden(question, left, place, server)) {
      tally.hidden++
      return
    }
    if (left === true && right === false && (await isDeniedByCycle(question, world.model, stored))) {
      tally.knownCycles++
      return
    }
    const steady = await isSteady(question, server, stores.server, world.model, stored, right)
    if (steady)
      tally.differences.push({ seed, question, engine: left, server: right, model: world.model, tuples })
    else tally.unsteady++
  }
  // Each write finds what the one before it left.
  for (const question of writes) {
    const [left, right] = await put(question)
    if (right === true) stored.push(question.body)
    await compare(question, left, right)
  }
  const bodies = batch.map(({ body }) => body)
  const [mineOfBatch, theirsOfBatch] = await Promise.all([
    askBatch(engine, stores.engine, bodies),
    askBatch(server, stores.server, bodies),
  ])
  for (const [index, question] of batch.entries())
    await compare(question, mineOfBatch[index] ?? 'missing', theirsOfBatch[index] ?? 'missing')
  // Few at once: the server's questions wait for each other's connections to its database, until none goes
  // on.
  for (let at = 0; at < others.length; at += atOnce) {
    const some = others.slice(at, at + atOnce)
    const answers = await Promise.all(some.map(put))
    for (const [index, question] of some.entries()) {
      const [left, right] = answers[index] ?? ['missing', 'missing']
      await compare(question, left, right)
    }
  }
}

/** Asks the server again, in the same store and in fresh ones: its planner may pick other resolvers there. */
async function isSteady(
  question: Question,
  server: Target,
  store: string,
  model: JsonObject,
  writes: readonly JsonObject[],
  first: Verdict,
): Promise<boolean> {
  if (question.kind === 'write' || question.kind === 'model') return true
  for (let i = 0; i < 8; i++) if (!same(await question.ask(server, store), first)) return false
  for (let i = 0; i < 4; i++) {
    const fresh = await createStore(server)
    await writeModelCode(server, fresh, model)
    for (const body of writes) await server.call('POST', `${fresh}/write`, body)
    for (let j = 0; j < 2; j++) if (!same(await question.ask(server, fresh), first)) return false
  }
  return true
}

/**
 * Whether the server's other engine, the one with weights, says yes where the default one denies: that one
 * denies where a cycle below an operator reaches it before a plain no does, on an idle machine every time.
 */
async function isDeniedByCycle(
  question: Question,
  model: JsonObject,
  writes: readonly JsonObject[],
): Promise<boolean> {
  const weighted = weightedTarget()
  if (weighted === undefined) return false
  const store = await createStore(weighted)
  await writeModelCode(weighted, store, model)
  for (const body of writes) await weighted.call('POST', `${store}/write`, body)
  return same(await question.ask(weighted, store), true)
}

async function readAll(target: Target, store: string): Promise<JsonObject[]> {
  const found: JsonObject[] = []
  for (let token = ''; ; ) {
    const { body } = await target.call('POST', `${store}/read`, { page_size: 100, continuation_token: token })
    for (const tuple of body['tuples'] as readonly { readonly key: JsonObject }[]) found.push(tuple.key)
    token = String(body['continuation_token'])
    if (token === '') return found
  }
}
