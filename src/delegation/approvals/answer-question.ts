import { answerMax } from '@remit/contract/approval-schemas'
import { isPlain } from '@remit/contract/text'
import { record } from '../../audit/record.ts'
import type { Clock } from '../../kernel/clock.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { Database } from '../../store/sql.ts'
import type { Approval, QuestionRound, Requester } from './approval.ts'
import { plainTextRule, recordedRequester } from './request-approval.ts'
import { roundsToColumn } from './rows.ts'

/** Questions that a person may ask back. */
export const questionsMax = 5

export interface AnswerQuestionDeps {
  readonly database: Database
  readonly clock: Clock
}

/**
 * The agent's answer to the question that is open, as untrusted text. The first answer gives the person as
 * long again as they had; no later one does. 409 where no question is open, also where another answer was
 * first.
 */
export async function answerQuestion(
  { database, clock }: AnswerQuestionDeps,
  requester: Requester,
  approval: Approval,
  text: string,
): Promise<void> {
  if (!isPlain(text, answerMax)) throw invalid('text', plainTextRule(answerMax))
  const now = new Date(clock.now())
  const lastRound = approval.rounds.at(-1)
  if (approval.state !== 'info_requested' || lastRound === undefined) throw noQuestion()
  const rounds: QuestionRound[] = [
    ...approval.rounds.slice(0, -1),
    { ...lastRound, answer: text, answeredAt: now },
  ]
  await database.transaction(async (sql) => {
    const answered = await sql.query(
      `update approvals set state = 'pending', version = version + 1, rounds = $3::jsonb, extended = true,
         expires_at = case when extended then expires_at else least(
           greatest(expires_at, $4::timestamptz + (expires_at - created_at)),
           (select d.expires_at from delegations d where d.id = approvals.delegation)) end
       where id = $1 and version = $2 and state = 'info_requested' and expires_at > $4 returning id`,
      [approval.id, approval.version, roundsToColumn(rounds), now],
    )
    if (answered.length === 0) throw noQuestion()
    await record(sql, recordedRequester(requester), {
      event: 'approval_answered',
      approval: approval.id,
      round: rounds.length,
    })
  })
}

const noQuestion = (): AppError => new AppError('conflict', { public: 'No question is open.' })
