import { FgaApiError, WriteRequestDeletesOnMissing, WriteRequestWritesOnDuplicate } from '@openfga/sdk'
import { compileModel } from '@remit/engine'
import { step } from '../kernel/trace.ts'
import { type Fga, type Tuple, WriteRefused, type Writing } from './fga.ts'
import type { FgaApi } from './fga-api.ts'
import { asUnavailable, NoAnswer } from './fga-errors.ts'
import { type Change, fitsOne, type Polarity, polarityOf, stepsOf } from './write-order.ts'

// What a server takes at once unless it was told otherwise.
const usualMax = 100

/** Writes to one store. Learns from the server's refusal when it takes fewer tuples at once than usual. */
export function createWriter(
  api: FgaApi,
  storeId: string,
  pinned: () => string,
): Pick<Fga, 'write' | 'writeEach' | 'isOrderly'> {
  let max = usualMax
  let cachedPolarity: { readonly modelId: string; readonly polarity: Polarity } | undefined

  /** Of the model in force, read only where a change is too large for one Write. */
  async function polarity(modelId: string): Promise<Polarity> {
    if (cachedPolarity?.modelId === modelId) return cachedPolarity.polarity
    const json = await asUnavailable(async () => {
      const { authorization_model } = await api.readAuthorizationModel(storeId, modelId)
      if (authorization_model === undefined) throw new NoAnswer(`has no model ${modelId}`)
      return authorization_model
    })
    cachedPolarity = { modelId, polarity: polarityOf(compileModel(json)) }
    return cachedPolarity.polarity
  }

  async function plan(change: Change, modelId: string, fenced: boolean) {
    const tuplesMax = fenced ? max - 1 : max
    if (fitsOne(change, tuplesMax)) return { steps: [change], isSafe: true }
    return stepsOf(change, await polarity(modelId), tuplesMax)
  }

  /** What fits one Write goes with others that do, never parted; what does not has Writes of its own. */
  async function planEach(changes: readonly Change[], modelId: string, fenced: boolean): Promise<Change[]> {
    const tuplesMax = fenced ? max - 1 : max
    const steps: Change[] = []
    let page: Change[] = []
    let size = 0
    const endPage = (): void => {
      if (page.length > 0) steps.push(joined(page))
      page = []
      size = 0
    }
    for (const change of changes) {
      if (!fitsOne(change, tuplesMax)) {
        steps.push(...stepsOf(change, await polarity(modelId), tuplesMax).steps)
        continue
      }
      const tuples = change.writes.length + change.deletes.length
      if (size + tuples > tuplesMax) endPage()
      page.push(change)
      size += tuples
    }
    endPage()
    return steps
  }

  async function write(
    changes: readonly Change[],
    nextTurn: (() => Promise<Tuple>) | undefined,
  ): Promise<void> {
    // Once for all its Writes: they are in the order of one model.
    const modelId = pinned()
    const steps = await planEach(changes, modelId, nextTurn !== undefined)
    for (const { writes, deletes } of steps) {
      const turn = await nextTurn?.()
      await writeOnce(
        api,
        storeId,
        modelId,
        { writes: turn === undefined ? writes : [...writes, turn], deletes },
        turn !== undefined,
      )
    }
  }

  async function writeEach(
    changes: readonly Writing[],
    nextTurn: (() => Promise<Tuple>) | undefined,
  ): Promise<void> {
    const real = changes
      .map(({ writes = [], deletes = [] }) => ({ writes, deletes }))
      .filter(({ writes, deletes }) => writes.length + deletes.length > 0)
    try {
      await write(real, nextTurn)
    } catch (error) {
      if (!(error instanceof TooMany) || error.max >= max || error.max < 2) throw error
      max = error.max
      // What went before that Write is in, which the next try must know where nothing may exist.
      if (nextTurn !== undefined) throw error
      await write(real, undefined)
    }
  }

  return {
    write: (change, nextTurn) => writeEach([change], nextTurn),
    writeEach,
    isOrderly: async ({ writes = [], deletes = [] }, { fenced }) =>
      (await plan({ writes, deletes }, pinned(), fenced)).isSafe,
  }
}

/** One Write of changes of different objects, which share no tuple. */
const joined = (changes: readonly Change[]): Change => ({
  writes: changes.flatMap(({ writes }) => writes),
  deletes: changes.flatMap(({ deletes }) => deletes),
})

class TooMany extends WriteRefused {
  readonly max: number

  constructor(max: number) {
    super(`OpenFGA takes at most ${max} tuples in a Write`)
    this.max = max
  }
}

async function writeOnce(
  api: FgaApi,
  storeId: string,
  modelId: string,
  { writes, deletes }: Change,
  mustBeNew: boolean,
): Promise<void> {
  const attributes = { 'rpc.system.name': 'openfga', 'rpc.method': 'Write' }
  await step('openfga Write', { kind: 'client', attributes }, () =>
    asUnavailable(async () => {
      try {
        await api.write(storeId, {
          authorization_model_id: modelId,
          ...(writes.length > 0 && {
            writes: {
              tuple_keys: writes.map(({ user, relation, object, condition }) => ({
                user,
                relation,
                object,
                ...(condition && { condition: { name: condition.name, context: condition.context } }),
              })),
              on_duplicate: mustBeNew
                ? WriteRequestWritesOnDuplicate.Error
                : WriteRequestWritesOnDuplicate.Ignore,
            },
          }),
          ...(deletes.length > 0 && {
            deletes: {
              tuple_keys: deletes.map(({ user, relation, object }) => ({ user, relation, object })),
              on_missing: WriteRequestDeletesOnMissing.Ignore,
            },
          }),
        })
      } catch (error) {
        throw meantBy(error, mustBeNew) ?? error
      }
    }),
  )
}

/** What the server's refusal says, where it is one that leaves no doubt that nothing was written. */
function meantBy(error: unknown, mustBeNew: boolean): Error | undefined {
  if (!(error instanceof FgaApiError)) return undefined
  const { code, message } = (error.responseData ?? {}) as { code?: string; message?: string }
  if (code === 'exceeded_entity_limit') {
    const max = Number(/limit of (\d+)/.exec(message ?? '')?.[1])
    return Number.isSafeInteger(max) ? new TooMany(max) : undefined
  }
  const isRefused =
    (error.statusCode === 400 && code === 'write_failed_due_to_invalid_input') || error.statusCode === 409
  return mustBeNew && isRefused ? new WriteRefused() : undefined
}
