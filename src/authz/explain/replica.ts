import type { Fga } from '../fga.ts'
import type { LocalReplica, LogFollower, ReplicaView } from '../permission-index.ts'

/** How far the replica could be used for one answer. */
export interface ReplicaState {
  /** `ready`: it held all that OpenFGA held when it was asked. The others say why it did not. */
  readonly state: 'ready' | 'building' | 'behind' | 'other_model'
  /** Milliseconds: how far it may be behind. */
  readonly lagMs: number
}

/** A replica that had read the log to its end when it was asked. */
export interface CaughtUp extends ReplicaState {
  /** undefined where it is not built, or follows another model. Use it before the next `await`. */
  readonly view: () => ReplicaView | undefined
}

// Well within a request's deadline: an answer that says "behind" is better than none.
const waitMsMax = 1_500

/** Waits until the replica holds what OpenFGA holds now, or says that it does not. */
export async function caughtUp(
  index: LocalReplica & LogFollower,
  fga: Pick<Fga, 'modelId'>,
  signal: AbortSignal,
): Promise<CaughtUp> {
  const inTime = await index
    .catchUp({ signal: AbortSignal.any([signal, AbortSignal.timeout(waitMsMax)]) })
    .then(() => true)
    .catch(() => false)
  signal.throwIfAborted()
  const modelId = fga.modelId
  const { lagMs, state } = index.status()
  const replicaView = index.view()
  const view = (): ReplicaView | undefined => {
    const current = index.view()
    return current?.modelId === modelId ? current : undefined
  }
  if (replicaView === undefined) return { state: 'building', lagMs, view }
  if (replicaView.modelId !== modelId) return { state: 'other_model', lagMs, view }
  return { state: inTime && state === 'following' ? 'ready' : 'behind', lagMs, view }
}
