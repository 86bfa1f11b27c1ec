import { type PendingApproval, Unavailable } from '../errors/kinds.ts'
import { isRemitError } from '../errors/make.ts'
import { keepLatest } from '../shared/keep-latest.ts'
import { approvalPendingOf, type Ciba, type CibaRequest, digestOf } from '../tokens/ciba.ts'
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

const questionsMax = 10_000

/** Open questions in this process, 10,000 at most; the oldest goes first. */
export function createOpenQuestions(): OpenQuestions {
  const questions = new Map<string, Question>()
  const turns = new Map<string, Promise<unknown>>()

  function hold(key: string, pending: PendingApproval, now: number): void {
    keepLatest(questions, key, { pending, nextAt: now + pending.interval * 1_000 }, questionsMax)
  }

  async function lookOnce(key: string, ciba: Ciba, request: CibaRequest, now: () => number) {
    const question = questions.get(key)
    if (question === undefined) {
      const pending = await ciba.start(request)
      hold(key, pending, now())
      throw approvalPendingOf(pending)
    }
    const { pending, nextAt } = question
    if (nextAt > now()) throw approvalPendingOf(pending)
    try {
      const token = await ciba.poll(pending, request)
      questions.delete(key)
      return token
    } catch (error) {
      if (isRemitError(error, 'approval_pending')) hold(key, error.data.resume, now())
      // No answer says nothing about the question; everything else ends it, so that the next call asks anew.
      else if (!(error instanceof Unavailable)) questions.delete(key)
      throw error
    }
  }

  return {
    async look(ciba, request, now) {
      // The agent is part of it: its client, and the person is in the digest.
      const key = `${ciba.agent} ${await digestOf(request)}`
      const previousTurn = turns.get(key) ?? Promise.resolve()
      const looking = previousTurn.then(() => lookOnce(key, ciba, request, now))
      const turn = looking.then(
        () => undefined,
        () => undefined,
      )
      turns.set(key, turn)
      try {
        return await looking
      } finally {
        if (turns.get(key) === turn) turns.delete(key)
      }
    },
  }
}
