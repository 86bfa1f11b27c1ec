import { isPlain } from '@remit/contract/text'
import { type RecordActor, record } from '../../audit/record.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Database, Sql } from '../../store/sql.ts'
import type { BrowserSession } from '../people/sessions.ts'
import { atPages } from '../people/sign-ins.ts'
import { isVerifiedNow } from '../people/user-verification.ts'
import { type Approval, isOpen } from './approval.ts'
import { blockAgent, ofSameHost } from './blocks.ts'
import { questionsMax } from './request-approval.ts'
import { decidedInToColumn, readApprovals, roundsToColumn } from './rows.ts'
import type { GrantDraft } from './terms.ts'
import { type ApproveAnswer, type ApprovedTerms, termsOf } from './terms.ts'
import { digestOf, type ShownApproval, showApproval, type ViewDeps } from './view.ts'

/** What a person answers. Texts are at most 500 characters on one line. */
export type Decision =
  | ApproveAnswer
  | {
      readonly answer: 'deny'
      /** Told to the agent. */
      readonly reason?: string
      /** Denies whatever else this agent asks of them, now and from now on. */
      readonly block?: boolean
    }
  | { readonly answer: 'ask'; readonly question: string }

/** The sign-in in which a person decides, and what they saw. */
export interface DecideOptions {
  /** Of the page that the person looked at (`digestOf`). */
  readonly digest: string
  /**
   * Theirs. NOT checked here: that the sign-in is recent and the request from our page; `requireSession`
   * does.
   */
  readonly session: Pick<BrowserSession, 'person' | 'subject'> &
    /**
     * When and how they signed in: a token for an API that comes of a yes (CIBA) rests on it, and is none
     * without.
     */
    Partial<Pick<BrowserSession, 'signedInAt' | 'amr' | 'upstream'>> & {
      /**
       * When they last verified themself in front of their device (UV), here or freshly at their own
       * provider.
       */
      readonly verifiedAt?: Date | undefined
    }
}

/**
 * `changed`: not what the page showed; nothing was decided. `over`: decided already, its time is over, or
 * what was lent is. `needs_verification`: a yes to this takes one of the last 5 minutes. `not_offered`, with
 * the member: more or other than the page shows. `not_plain`: a text that cannot be shown as what it is.
 * `too_many_rounds`: five questions. `question_open`: the agent has yet to answer.
 */
export type Refusal =
  | 'not_found'
  | 'over'
  | 'changed'
  | 'needs_verification'
  | 'not_offered'
  | 'not_plain'
  | 'too_many_rounds'
  | 'question_open'

/** Of grants.ts. */
export interface GrantMaker {
  /** Row, then tuples: it opens nothing before it is activated, and `mend()` clears up where it never is. */
  prepare(draft: GrantDraft): Promise<{ readonly id: string }>
  /**
   * In the transaction that says "approved", on record with it. False: its delegation or its time has ended.
   */
  activateWithin(sql: Sql, id: string, recordedAs: RecordActor): Promise<boolean>
}

export interface DecideDeps extends ViewDeps {
  readonly database: Database
  readonly grants: GrantMaker
}

/** Characters of a person's words to an agent. */
export const textMax = 500

/**
 * Decides for the one whose approval it is, on exactly what they saw. One conditional update makes it count,
 * with its record: of two decisions at once one finds nothing to change. A crash before leaves a grant that
 * is not live, which mends itself.
 */
export async function decideApproval(
  deps: DecideDeps,
  key: { readonly subject: FgaObject; readonly id: string },
  decision: Decision,
  { digest, session }: DecideOptions,
): Promise<Result<Approval, Refusal>> {
  const { database, clock } = deps
  const { subject, id } = key
  // Somebody else's session is nobody's here.
  if (session.subject !== subject) return refuse('not_found')
  const [approval] = await readApprovals(database, theirs, new Date(clock.now()), [id, subject])
  if (approval === undefined) return refuse('not_found')
  if (!isOpen(approval)) return refuse('over')
  const shownApproval = await showApproval(deps, approval)
  if (digestOf(shownApproval) !== digest) return refuse('changed')
  const change = await changeOf(deps, shownApproval, decision, session.verifiedAt)
  if (!change.ok) return change
  const recordedAs: RecordActor = {
    ...atPages(session.person, approval.txn),
    delegation: approval.delegation,
  }
  const isDone = await undone(
    database.transaction((sql) =>
      commit(sql, deps, { was: approval, to: change.value, recordedAs, session, now: new Date(clock.now()) }),
    ),
  )
  const [decided] = await readApprovals(database, theirs, new Date(clock.now()), [id, subject])
  if (decided === undefined) return refuse('not_found')
  if (isDone) return ok(decided)
  return refuse(isOpen(decided) ? 'changed' : 'over')
}

const theirs = 'a.id = $2 and a.subject = $3 and not a.blocked'

interface Change {
  readonly state: 'approved' | 'denied' | 'info_requested'
  readonly question?: string
  readonly reason?: string
  readonly blocks?: boolean
  readonly terms?: ApprovedTerms
  readonly grant?: string
}

async function changeOf(
  { clock, grants }: DecideDeps,
  shownApproval: ShownApproval,
  decision: Decision,
  verifiedAt: Date | undefined,
): Promise<Result<Change, Refusal>> {
  switch (decision.answer) {
    case 'ask': {
      if (shownApproval.state === 'info_requested') return refuse('question_open')
      if (shownApproval.rounds.length >= questionsMax) return refuse('too_many_rounds')
      if (!isPlain(decision.question, textMax)) return refuse('not_plain', 'question')
      return ok({ state: 'info_requested', question: decision.question })
    }
    case 'deny': {
      const { reason, block: blocks = false } = decision
      if (reason !== undefined && !isPlain(reason, textMax)) return refuse('not_plain', 'reason')
      return ok({ state: 'denied', blocks, ...(reason !== undefined && { reason }) })
    }
    case 'approve': {
      const now = clock.now()
      if (shownApproval.takesVerification && !isVerifiedNow({ verifiedAt }, now))
        return refuse('needs_verification')
      const terms = termsOf(shownApproval, decision, now)
      if (!terms.ok) return terms
      const { grant } = terms.value
      if (grant === undefined) return ok({ state: 'approved', terms: terms.value })
      const { id } = await grants.prepare(grant)
      return ok({ state: 'approved', terms: terms.value, grant: id })
    }
  }
}

interface Committing {
  readonly was: Approval
  readonly to: Change
  readonly recordedAs: RecordActor
  readonly session: DecideOptions['session']
  readonly now: Date
}

async function commit(
  sql: Sql,
  { grants }: Pick<DecideDeps, 'grants'>,
  committing: Committing,
): Promise<void> {
  const { was, to: change, recordedAs, session, now } = committing
  // The pair's row before any approval's, as whoever asks takes them: nobody waits in a circle.
  if (change.blocks) await blockAgent(sql, was, { recordedAs, now })
  if (!(await write(sql, was, change, { session, now }))) throw new Undone()
  // An approval without its grant would be a yes to nothing.
  if (change.grant !== undefined && !(await grants.activateWithin(sql, change.grant, recordedAs)))
    throw new Undone()
  if (change.blocks) await denyOthers(sql, was, { recordedAs, now })
  await record(sql, recordedAs, eventOf(was, change))
}

/** Somebody else was there before, or what was lent has ended: rolls back. */
class Undone extends Error {}

async function undone(task: Promise<void>): Promise<boolean> {
  try {
    await task
    return true
  } catch (error) {
    if (error instanceof Undone) return false
    throw error
  }
}

/** False: it is over, or not what was looked at. */
async function write(
  sql: Sql,
  was: Approval,
  change: Change,
  { session, now }: Pick<Committing, 'session' | 'now'>,
): Promise<boolean> {
  const rounds =
    change.question === undefined ? was.rounds : [...was.rounds, { question: change.question, askedAt: now }]
  const isDecided = change.state !== 'info_requested'
  const rows = await sql.query(
    `update approvals set state = $3, version = version + 1, rounds = $4::jsonb, decided_at = $5, reason = $6,
       answer = $7, grant_id = $8, decided_in = $10
     where id = $1 and version = $2 and state in ('pending', 'info_requested') and expires_at > $9 returning id`,
    [
      was.id,
      was.version,
      change.state,
      roundsToColumn(rounds),
      isDecided ? now : null,
      change.reason ?? null,
      change.terms?.answer ?? null,
      change.grant ?? null,
      now,
      change.state === 'approved' ? decidedInToColumn(session) : null,
    ],
  )
  return rows.length === 1
}

/** Whatever else the agent has open with this person is denied with it. */
async function denyOthers(
  sql: Sql,
  { subject, agent }: Approval,
  { recordedAs, now }: Pick<Committing, 'recordedAs' | 'now'>,
) {
  const joinedRequests = await sql.query<{ id: string }>(
    `update approvals set state = 'denied', version = version + 1, decided_at = $3
     where id in (select id from approvals where subject = $1 and ${ofSameHost}
       and state in ('pending', 'info_requested') and expires_at > $3 order by id for update) returning id`,
    [subject, agent, now],
  )
  for (const { id } of joinedRequests)
    await record(sql, recordedAs, { event: 'approval_decided', approval: id, decision: 'denied' })
}

function eventOf({ id, rounds }: Approval, { state, grant }: Change) {
  if (state === 'info_requested')
    return { event: 'approval_info_requested', approval: id, round: rounds.length + 1 } as const
  return {
    event: 'approval_decided',
    approval: id,
    decision: state,
    ...(grant !== undefined && { grant }),
  } as const
}
