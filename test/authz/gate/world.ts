import { check } from '@remit/engine'
import {
  type Check,
  type Consistency,
  contextAt,
  type Fga,
  type QueryOptions,
  type Tuple,
  type TupleKey,
  type Verdict,
} from '../../../src/authz/fga.ts'
import { createVerdictCache, type VerdictCache } from '../../../src/authz/gate/verdict-cache.ts'
import type { Clearing, GateOptions, Guarded, Proof } from '../../../src/authz/gate.ts'
import { dropAfterWrites } from '../../../src/authz/index/own-writes.ts'
import { observeWrites } from '../../../src/authz/observed-fga.ts'
import type { PermissionIndex } from '../../../src/authz/permission-index.ts'
import { type FgaObject, splitObject } from '../../../src/kernel/ids.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import { anne } from '../double.ts'
import { createTestIndex, gateOf, type TestIndex } from '../parts.ts'

export interface AskedCall {
  readonly consistency: Consistency | undefined
  readonly ids: readonly string[]
}

export interface Asked {
  readonly ids: readonly string[]
  /** `asked`, `asked_fast`, or `held` with its age: of each document released. */
  readonly proofs: readonly (Proof | undefined)[]
  readonly calls: readonly AskedCall[]
  readonly clearing: Clearing
}

/**
 * OpenFGA and its replica side by side, each with what it holds, under a clock that a test moves: so that one
 * can know what the other does not yet.
 */
export interface GateWorld {
  /** What OpenFGA holds. */
  readonly truth: TestIndex
  readonly replica: TestIndex
  readonly held: VerdictCache
  /** What the gate is given: writes through it are observed. */
  readonly fga: Fga
  readonly now: () => number
  /** Adds to both, and the replica has read it. */
  add(...lines: readonly string[]): void
  remove(...lines: readonly string[]): void
  /** Moves the clock, and the replica reads the log to its end, unless it is `behind`. */
  pass(ms: number, how?: 'behind'): void
  ask(
    options?: Partial<GateOptions> & {
      principal?: Principal
      ids?: readonly string[]
      documents?: readonly Guarded[]
    },
  ): Promise<Asked>
  useModel(id: string): void
  /** Stands between a decision of OpenFGA and its answer. */
  onDecided(then: () => Promise<void> | void): void
  answer(with_: (id: string) => Verdict | undefined): void
}

const noon = Date.parse('2026-11-24T12:00:00.000Z')
const store = '01ARZ3NDEKTSV4RRFFQ69G5FAV'

export function createGateWorld({
  ttlMs = 5_000,
  index = (replica) => replica,
  model,
}: {
  readonly ttlMs?: number
  /** Stands before the replica. */
  readonly index?: (replica: TestIndex) => PermissionIndex
  /** As text. Default: ours. */
  readonly model?: string
} = {}): GateWorld {
  let at = noon
  let modelId = 'model-1'
  let decided: () => Promise<void> | void = () => undefined
  let override: (id: string) => Verdict | undefined = () => undefined
  const now = () => at
  const truth = createTestIndex(modelId, now, model)
  const replica = createTestIndex(modelId, now, model)
  const calls: AskedCall[] = []

  /** Also of folders and groups: a document may be asked about in parts. */
  function truly({ user, relation, object, contextual = [] }: Check, options: QueryOptions): Verdict {
    const view = truth.view()
    try {
      const question = {
        user,
        relation,
        object,
        contextualTuples: contextual,
        context: contextAt(options.now),
      }
      if (view === undefined) return 'error'
      return check(view.model, view.tuples, question) ? 'allowed' : 'denied'
    } catch {
      return 'error'
    }
  }

  async function batchCheck(
    checks: Parameters<Fga['batchCheck']>[0],
    options: Parameters<Fga['batchCheck']>[1],
  ) {
    calls.push({
      consistency: options.consistency,
      ids: [...new Set(checks.map(({ object }) => object))].flatMap((object) => {
        const { type, id } = splitObject(object)
        return type === 'document' ? [id] : []
      }),
    })
    const verdicts = checks.map(
      (question) => override(splitObject(question.object).id) ?? truly(question, options),
    )
    await decided()
    return { verdicts, requestIds: [`r-${calls.length}`] }
  }

  // As much of OpenFGA as the gate uses.
  const raw = {
    storeId: store,
    get modelId() {
      return modelId
    },
    batchCheck,
    async write({ writes = [], deletes = [] }: Parameters<Fga['write']>[0]) {
      truth.add(...writes)
      truth.remove(...deletes)
    },
  } as unknown as Fga
  const held = createVerdictCache({ now, elapsed: now, ttlMs })
  const fga = observeWrites(raw, [dropAfterWrites(replica, held, () => undefined)])
  const gate = gateOf({ fga, now, held, index: index(replica) })

  return {
    truth,
    replica,
    held,
    fga,
    now,
    add(...lines) {
      for (const one of [truth, replica]) one.add(...lines.map(toTuple))
      replica.read()
    },
    remove(...lines) {
      for (const one of [truth, replica]) one.remove(...lines.map(toTuple))
      replica.read()
    },
    pass(ms, how) {
      at += ms
      if (how !== 'behind') replica.read()
    },
    async ask({ principal = anne, ids = ['a'], documents, consistency = 'fast', ...rest } = {}) {
      const before = calls.length
      const clearing = gate.open(principal, { consistency, ...rest })
      const { cleared, stopped } = await clearing.clear(
        documents ?? ids.map((documentId) => ({ documentId })),
      )
      if (stopped !== undefined) throw stopped
      const released = cleared.map(({ documentId }) => documentId)
      return {
        ids: released,
        proofs: released.map((id) => clearing.proofOf(id)),
        calls: calls.slice(before),
        clearing,
      }
    },
    useModel(id) {
      modelId = id
    },
    onDecided(then) {
      decided = then
    },
    answer(with_) {
      override = with_
    },
  }
}

/** `user:anne viewer document:a`, with `until TIME` behind it for one that ends. */
export function toTuple(line: string): Tuple & TupleKey {
  const [user = '', relation = '', object = '', until, end = ''] = line.split(' ')
  return {
    user,
    relation,
    object: object as FgaObject,
    ...(until === 'until' && { condition: { name: 'until', context: { expires_at: end } } }),
  }
}
