import { type PendingApproval, Unavailable } from '../errors/kinds.ts'
import { isRemitError } from '../errors/make.ts'
import { askedOf, type Ciba, type CibaRequest, digestOf } from '../tokens/ciba.ts'
import type { AccessToken } from '../tokens/token.ts'

/** What people were asked for one tool and have not answered, in this process. */
export interface OpenQuestions {
  /**
   * Asks, or looks again where this person was asked for exactly this already; no two looks at one question overlap.
   *
   * @throws ApprovalPending, and whatever `poll` throws, which ends the question.
   */
  look(ciba: Ciba, request: CibaRequest, now: () => number): Promise<AccessToken>
}

interface Question {
  readonly pending: PendingApproval
  /** Milliseconds since the epoch: sooner the issuer would only slow it down. */
  readonly nextAt: number
}

const heldMax = 10_000

export function createOpenQuestions(): OpenQuestions {
  const held = new Map<string, Question>()
  const last = new Map<string, Promise<unknown>>()

  function hold(key: string, pending: PendingApproval, now: number): void {
    held.delete(key)
    held.set(key, { pending, nextAt: now + pending.interval * 1_000 })
    const [oldest] = held.keys()
    if (held.size > heldMax && oldest !== undefined) held.delete(oldest)
  }

  async function lookOnce(key: string, ciba: Ciba, request: CibaRequest, now: () => number) {
    const question = held.get(key)
    if (question === undefined) {
      const pending = await ciba.start(request)
      hold(key, pending, now())
      throw askedOf(pending)
    }
    const { pending, nextAt } = question
    if (nextAt > now()) throw askedOf(pending)
    try {
      const token = await ciba.poll(pending, request)
      held.delete(key)
      return token
    } catch (error) {
      if (isRemitError(error, 'approval_pending')) hold(key, error.data.resume, now())
      // No answer says nothing about the question; everything else ends it, so that the next call asks anew.
      else if (!(error instanceof Unavailable)) held.delete(key)
      throw error
    }
  }

  return {
    async look(ciba, request, now) {
      // The agent is part of it: its client, and the person is in the digest.
      const key = `${ciba.agent} ${await digestOf(request)}`
      const before = last.get(key) ?? Promise.resolve()
      const looking = before.then(() => lookOnce(key, ciba, request, now))
      const settled = looking.then(
        () => undefined,
        () => undefined,
      )
      last.set(key, settled)
      try {
        return await looking
      } finally {
        if (last.get(key) === settled) last.delete(key)
      }
    },
  }
}
