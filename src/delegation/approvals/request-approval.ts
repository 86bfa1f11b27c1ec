import { answerMax, purposeMax, secondsLeast, secondsMost } from '@remit/contract/approval-schemas'
import { isPlain } from '@remit/contract/text'
import { record } from '../../audit/record.ts'
import type { Clock } from '../../kernel/clock.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { Database, Sql } from '../../store/sql.ts'
import { agentObject } from '../registry/agents.ts'
import type { Approval, QuestionRound, Requester } from './approval.ts'
import { isHostBlocked } from './blocks.ts'
import { assertRoom } from './limits.ts'
import { digestOfAccess, type RequestedAccess } from './requested-access.ts'
import { isCurrent, readApprovals, roundsToColumn } from './rows.ts'

/** What an agent may say about its question, and how long the person has. */
export interface ApprovalOptions {
  /** The agent's own words, at most 500 characters on one line. */
  readonly purpose?: string
  /** Shown on both devices (CIBA), at most 128 characters on one line. */
  readonly bindingMessage?: string
  /** How long the person has: 30 to 86,400. Never longer than what was lent. */
  readonly seconds: number
  readonly front: Approval['front']
}

/** Characters of a binding message. */
export const bindingMessageMax = 128

export interface RequestApprovalDeps {
  readonly database: Database
  readonly clock: Clock
  readonly randomBytes: (size: number) => Buffer
}

/**
 * Puts a question to the person, or joins an equal one that is open. Everything is counted while the row of
 * this pair of person and agent is held: two questions at once are two for the limits, and one where they are
 * equal.
 */
export async function requestApproval(
  deps: RequestApprovalDeps,
  requester: Requester,
  access: RequestedAccess,
  options: ApprovalOptions,
): Promise<Approval> {
  assertWords(options)
  const id = `ap_${deps.randomBytes(16).toString('base64url')}`
  const now = new Date(deps.clock.now())
  return deps.database.transaction(async (sql) => {
    const { isBlocked } = await hold(sql, requester)
    const delegationEnd = await endOfLending(sql, requester, now)
    const { subject, agent, client, delegation } = requester
    const [openApproval] = await readApprovals(
      sql,
      `a.subject = $2 and a.agent = $3 and a.client = $4 and a.delegation = $5 and a.front = $6 and a.digest = $7
         and a.state in ('pending', 'info_requested') and ${isCurrent}`,
      now,
      [subject, agent, client, delegation, options.front, digestOfAccess(access)],
    )
    if (openApproval !== undefined) return openApproval
    const { isDenied } = await assertRoom(sql, requester, access, now)
    const isUnseen = isBlocked || isDenied
    const expiresAt = new Date(Math.min(now.getTime() + options.seconds * 1_000, delegationEnd.getTime()))
    await insert(sql, { id, requester, access, options, now, expiresAt, isUnseen })
    const [approval] = await readApprovals(sql, 'a.id = $2', now, [id])
    if (approval === undefined) throw new Error('An approval was lost while it was asked for.')
    await record(sql, recordedRequester(requester), {
      event: 'approval_asked',
      approval: id,
      front: options.front,
      kind: access.kind,
      ...(access.kind === 'documents' && { documents: access.documentIds }),
      ...(access.scopes.length > 0 && { scopes: access.scopes }),
      expires_at: expiresAt.toISOString(),
      blocked: isUnseen,
    })
    return approval
  })
}

/** Who a record is about where the agent did something. */
export const recordedRequester = ({ subject, agent, client, delegation, txn }: Requester) => ({
  subject,
  actors: [agentObject(agent)],
  client,
  delegation,
  txn,
})

/** Held until the transaction ends: whoever else counts questions of this pair waits here. */
async function hold(sql: Sql, { subject, agent }: Requester): Promise<{ readonly isBlocked: boolean }> {
  const [row] = await sql.query<{ blocked_at: Date | null }>(
    `insert into approval_askers (subject, agent) values ($1, $2)
     on conflict (subject, agent) do update set agent = excluded.agent returning blocked_at`,
    [subject, agent],
  )
  const isBlocked = row !== undefined && row.blocked_at !== null
  return { isBlocked: (await isHostBlocked(sql, subject, agent)) || isBlocked }
}

/** Asked once more: it may have ended since the token was looked at. */
async function endOfLending(sql: Sql, { subject, agent, delegation }: Requester, now: Date): Promise<Date> {
  const [row] = await sql.query<{ expires_at: Date }>(
    `select d.expires_at from delegations d join agents g on g.id = $3
     where d.id = $1 and d.subject = $2 and (d.agent = $3 or $3 = any(d.sub_agents))
       and d.state = 'live' and d.expires_at > $4 and g.disabled_at is null`,
    [delegation, subject, agent, now],
  )
  if (row === undefined) throw new AppError('actor_unauthorized', { internal: 'the delegation is over' })
  return row.expires_at
}

interface Inserting {
  readonly requester: Requester
  readonly access: RequestedAccess
  readonly options: ApprovalOptions
  readonly now: Date
  readonly id: string
  readonly expiresAt: Date
  /** The person never hears of it. */
  readonly isUnseen: boolean
}

async function insert(sql: Sql, { id, requester, access, options, now, expiresAt, isUnseen }: Inserting) {
  await sql.query(
    `insert into approvals (id, subject, agent, client, delegation, front, asked, digest, purpose, binding_message,
       state, created_at, expires_at, decided_at, blocked, txn)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
    [
      id,
      requester.subject,
      requester.agent,
      requester.client,
      requester.delegation,
      options.front,
      access,
      digestOfAccess(access),
      options.purpose ?? null,
      options.bindingMessage ?? null,
      // To the agent a denial like any other; the person never hears of it.
      isUnseen ? 'denied' : 'pending',
      now,
      expiresAt,
      isUnseen ? now : null,
      isUnseen,
      requester.txn,
    ],
  )
}

function assertWords({ purpose, bindingMessage, seconds }: ApprovalOptions): void {
  if (purpose !== undefined && !isPlain(purpose, purposeMax))
    throw invalid('purpose', plainTextRule(purposeMax))
  if (bindingMessage !== undefined && !isPlain(bindingMessage, bindingMessageMax))
    throw invalid('binding_message', plainTextRule(bindingMessageMax))
  if (!Number.isInteger(seconds) || seconds < secondsLeast || seconds > secondsMost)
    throw invalid('requested_expiry', `must be ${secondsLeast} to ${secondsMost} seconds`)
}

/** The message of a 422 for a text that is too long or has characters that cannot be shown. */
export const plainTextRule = (lengthMax: number): string =>
  `must be 1 to ${lengthMax} characters on one line, without control or formatting characters`

/** Questions that a person may ask back. */
export const questionsMax = 5

interface AnswerQuestionDeps {
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
