import { setTimeout as delay, setImmediate } from 'node:timers/promises'
import type { FollowingIndex } from '../../authz/index/create.ts'
import { type Share, shareName, shareOf } from '../../authz/index/share.ts'
import { splitObject } from '../../kernel/ids.ts'
import { memoize } from '../../kernel/memoize.ts'
import type { Snapshots } from '../access-filter/snapshots.ts'
import type { Content } from '../access-filter/visible.ts'
import type { Corpus } from '../corpus/corpus.ts'
import {
  digestOf,
  digestOfBits,
  type NominatorAnswer,
  type NominatorQuestion,
  type refusals,
} from './protocol.ts'

/** The replica of one share of the people, and the corpus. */
export interface AnswererDeps {
  readonly index: Pick<FollowingIndex, 'view' | 'evaluate' | 'newestMarkOf' | 'catchUp' | 'lookBack'>
  readonly corpus: Pick<Corpus, 'refresh'>
  readonly snapshots: Snapshots
  readonly share: Share
  /** The model in force, as this process knows it. */
  readonly modelId: () => string
  readonly now: () => number
}

/** Answers one question, or says why not. Does NOT check who asks: the connection does. */
export type Answerer = (
  question: NominatorQuestion,
  signal: AbortSignal,
) => Promise<NominatorAnswer | keyof typeof refusals>

// A change of the model is in force everywhere within a second.
const modelWaitMs = 700
const lookMs = 25
const readOnMaxMs = 500
// The replica is asked about so many at a time, so that no request holds the process.
const evaluatedMax = 200

/** The same is done for somebody who may read nothing as for everybody else. */
export function createAnswerer({ index, corpus, snapshots, share, modelId, now }: AnswererDeps): Answerer {
  async function isModel(wanted: string, signal: AbortSignal): Promise<boolean> {
    for (let waitedMs = 0; modelId() !== wanted && waitedMs < modelWaitMs; waitedMs += lookMs)
      await delay(lookMs, undefined, { signal })
    return modelId() === wanted
  }

  async function readOn(signal: AbortSignal): Promise<void> {
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(readOnMaxMs)])
    const readLog = async () => {
      await index.catchUp({ signal: inTime })
      // What was committed late stands before the end, and no mark tells of it.
      await index.lookBack({ signal: inTime, mayLag: true })
    }
    // What could not be read on is told by the mark.
    await Promise.allSettled([readLog(), corpus.refresh()])
  }

  /** undefined: the replica is not ready. What it cannot evaluate OpenFGA cannot either. */
  async function evaluate(
    { user, contextual, allowed }: NominatorQuestion,
    signal: AbortSignal,
  ): Promise<boolean[] | undefined> {
    const found: boolean[] = []
    for (let offset = 0; offset < allowed.length; offset += evaluatedMax) {
      if (offset > 0) await setImmediate(undefined, { signal })
      const slice = allowed.slice(offset, offset + evaluatedMax).map((asked) => ({
        ...splitObject(asked.object),
        relation: asked.relation,
      }))
      const kindOf = ({ type, relation }: (typeof slice)[number]) => `${type}#${relation}`
      const verdictsByKind = new Map(
        [...Map.groupBy(slice, kindOf)].map(([kind, alike]) => {
          const [type = '', relation = ''] = kind.split('#')
          const ids = alike.map(({ id }) => id)
          return [kind, index.evaluate({ user, relation, contextual, type }, ids, now())] as const
        }),
      )
      for (const asked of slice) {
        const verdicts = verdictsByKind.get(kindOf(asked))
        if (verdicts === undefined) return undefined
        found.push(verdicts.get(asked.id)?.allowed === true)
      }
    }
    return found
  }

  return async (question, signal) => {
    const { user, contextual } = question
    if (question.share !== shareName(share) || shareOf(user, share.of) !== share.number) return 'share'
    if (!(await isModel(question.model_id, signal))) return 'model'
    if (question.read_on) await readOn(signal)
    // Before what it is to show the age of: what comes in meanwhile makes that no older.
    const mark = index.newestMarkOf(question.marks) ?? null
    const relations = index.view()?.model.types.get('document')
    const visible = question.visible.map(({ relation, known }) => {
      const snapshot = snapshots.of({ user, relation, contextual })
      if (snapshot !== undefined) return spelled(snapshot.content, known)
      return relations?.has(relation) === false ? null : undefined
    })
    const allowed = await evaluate(question, signal)
    // One answer under two models would be neither's.
    if (index.view()?.modelId !== question.model_id) return 'unready'
    const seen = visible.filter((one) => one !== undefined)
    if (allowed === undefined || seen.length < visible.length) return 'unready'
    return {
      nonce: question.nonce,
      share: question.share,
      model_id: question.model_id,
      asked: digestOf(question),
      mark,
      visible: seen,
      allowed,
    }
  }
}

const digestOfContent = memoize((content: Content) => digestOfBits(content.bits()))

/** As long for nothing as for everything, but for what is known already. */
function spelled(content: Content, known: string | undefined) {
  const digest = digestOfContent(content)
  return digest === known ? { digest } : { digest, bits: content.bits().toString('base64') }
}
