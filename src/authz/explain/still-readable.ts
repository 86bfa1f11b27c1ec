import type { FgaObject } from '../../kernel/ids.ts'
import { documentObject } from '../../kernel/ids.ts'
import type { Fga, Verdict } from '../fga.ts'
import type { Limiter } from '../gate/limiter.ts'
import { presentedTuples } from '../presented.ts'
import { type RegistryDeps, registryLimit } from './registry.ts'

/** Something that was given once. */
export interface GivenOnce {
  readonly document: string
  /** Under which an agent was given it; null: no agent. */
  readonly delegation: string | null
}

/** What {@link createStillReadable} asks. */
export interface StillReadableDeps extends RegistryDeps {
  readonly fga: Pick<Fga, 'batchCheck'>
  readonly limiter: Limiter
  readonly now: () => number
}

/** OpenFGA's answer now to what was answered then, in the order given. */
export type StillReadable = (
  reader: { readonly subject: FgaObject; readonly agent?: string | undefined },
  grants: readonly GivenOnce[],
  options: { readonly signal: AbortSignal },
) => Promise<readonly Verdict[]>

const batchMax = 50

/**
 * Asks anew, past every cache, by today's tuples and model, and by the registry of agents. Without the grants
 * of approvals, which were for then: what needed one is refused. Throws `authorization_unavailable` where
 * OpenFGA does not answer.
 */
export const createStillReadable =
  (dependencies: StillReadableDeps): StillReadable =>
  async ({ subject, agent }, grants, { signal }) => {
    const { fga, limiter, now } = dependencies
    const verdicts: Verdict[] = []
    for (let offset = 0; offset < grants.length; offset += batchMax) {
      const batch = grants.slice(offset, offset + batchMax)
      const checks = batch.map(({ document, delegation }) => ({
        user: subject,
        relation: agent === undefined ? 'can_read' : 'can_read_delegated',
        object: documentObject(document),
        ...(agent !== undefined && {
          contextual: presentedTuples({
            user: subject,
            agent: `agent:${agent}`,
            // What is absent never decides: no delegation has this id.
            delegation: delegation ?? 'none',
          }),
        }),
      }))
      const answered = await limiter.run(batch.length, signal, () =>
        fga.batchCheck(checks, { now: now(), signal }),
      )
      verdicts.push(...answered.verdicts)
    }
    if (agent === undefined) return verdicts
    const limits = await Promise.all(
      grants.map(({ document }) =>
        registryLimit(dependencies, {
          user: subject,
          agent,
          relation: 'can_read_delegated',
          object: documentObject(document),
        }),
      ),
    )
    return verdicts.map((verdict, index) => (limits[index]?.allows === false ? 'denied' : verdict))
  }
