import { record } from '../../audit/record.ts'
import type { Clock } from '../../kernel/clock.ts'
import { AppError } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Result } from '../../kernel/result.ts'
import type { Database } from '../../store/sql.ts'
import { type Approval, isOpen, type Requester } from './approval.ts'
import { type Blocks, createBlocks } from './blocks.ts'
import { createWaits, followApprovals } from './changes.ts'
import { type DecideDeps, type DecideOptions, type Decision, decideApproval, type Refusal } from './decide.ts'
import {
  type ApprovalOptions,
  answerQuestion,
  recordedRequester,
  requestApproval,
} from './request-approval.ts'
import type { RequestedAccess } from './requested-access.ts'
import { isCurrent, readApprovals } from './rows.ts'
import { type ShownApproval, showApproval } from './view.ts'

/**
 * What agents ask of the people they work for. One table, whichever front a question came by (REST, CIBA):
 * `pending → info_requested → pending → approved | denied | expired`. Each step is one conditional update
 * with its record; the clock expires by itself.
 */
export interface Approvals extends AsyncDisposable {
  /**
   * Puts a question to the person. An equal one that is open is joined: same asker, same front, same digest
   * of what is asked; then the words and the end are those of the first. A blocked agent's is denied at once,
   * and so is the same within 10 minutes of a no; both look like any denial. 422 for words that are not plain
   * or an end out of bounds; 403 where the delegation has ended; 429 beyond 5 open or 20 an hour of this
   * agent with this person. NOT checked: that what is asked was offered, or is a connection of theirs;
   * whoever resolved it has.
   */
  ask(requester: Requester, access: RequestedAccess, options: ApprovalOptions): Promise<Approval>
  /**
   * The asker's own, under the same client, person and delegation; undefined for every other and for none.
   */
  of(requester: Requester, id: string): Promise<Approval | undefined>
  /**
   * The same once it has changed, at once where it is not `pending`, and as it stands when the signal fires
   * or the service closes. Across processes. Throws a 503 while it is not known who may act.
   */
  wait(requester: Requester, id: string, signal: AbortSignal): Promise<Approval | undefined>
  /**
   * The agent's answer to the person's question, 1 to 1,000 plain characters. The first one gives the person
   * as long again. 404 for what is not theirs, 409 where no question is open, 422 for other text.
   */
  answer(requester: Requester, id: string, text: string): Promise<Approval>
  /**
   * The person's, newest first: all that waits for them, and of what was asked in the last 7 days the 50
   * newest that are over.
   */
  mine(
    subject: FgaObject,
  ): Promise<{ readonly open: readonly Approval[]; readonly recent: readonly Approval[] }>
  /** How many wait for an answer of this person's; of anybody's, where none is named. */
  waiting(subject?: FgaObject): Promise<number>
  /** As their page shows it. Another person's is undefined, as one that does not exist. */
  oneOfMine(subject: FgaObject, id: string): Promise<ShownApproval | undefined>
  decide(
    subject: FgaObject,
    id: string,
    decision: Decision,
    options: DecideOptions,
  ): Promise<Result<Approval, Refusal>>
  /**
   * After each commit, in this process and for what was heard from others. Nothing may rely on it alone: a
   * crash between a commit and its listener must mend itself. A listener that throws is logged.
   */
  onChange(listener: (approval: Approval) => void | Promise<void>): Disposable
  readonly blocks: Blocks
  /** Writes down what has expired, and forgets what is long over. Returns how many expired. */
  mend(): Promise<number>
  /** Answers whoever waits: the service is about to stop. */
  endWaits(): void
}

export interface ApprovalsDeps extends DecideDeps {
  readonly randomBytes: (size: number) => Buffer
  readonly log: Log
  readonly assertOpen: () => void
}

const recentMs = 7 * 24 * 3_600_000
const recentMax = 50

/** Starts to follow changes, then answers. Does NOT verify tokens: a requester is verified before. */
export async function openApprovals(deps: ApprovalsDeps): Promise<Approvals> {
  const { database, clock, log, assertOpen } = deps
  const changes = await followApprovals(database, log)
  const waits = createWaits({ changes, clock, assertOpen })
  const read = (condition: string, ...values: readonly (string | Date)[]) =>
    readApprovals(database, condition, new Date(clock.now()), values)

  const approvalOf: Approvals['of'] = async ({ subject, agent, client, delegation }, id) =>
    (
      await read(
        'a.id = $2 and a.subject = $3 and a.agent = $4 and a.client = $5 and a.delegation = $6',
        id,
        subject,
        agent,
        client,
        delegation,
      )
    )[0]

  async function tell(listener: Parameters<Approvals['onChange']>[0], id: string): Promise<void> {
    try {
      for (const approval of await read('a.id = $2', id)) await listener(approval)
    } catch (error) {
      log('approval_untold', { reason: reasonOf(error) })
    }
  }

  return {
    ask: (requester, access, options) => requestApproval(deps, requester, access, options),
    of: approvalOf,
    wait: (requester, id, signal) =>
      waits.until(
        () => approvalOf(requester, id),
        { id, owner: `${requester.subject} ${requester.agent}` },
        signal,
      ),
    async answer(requester, id, text) {
      const approval = await approvalOf(requester, id)
      if (approval === undefined) throw new AppError('not_found')
      await answerQuestion(deps, requester, approval, text)
      const answered = await approvalOf(requester, id)
      if (answered === undefined) throw new AppError('not_found')
      return answered
    },
    async mine(subject) {
      const candidates = await read(
        // What waits is two days old at most. It comes first: no number of others, asked later, hides it.
        `a.subject = $2 and not a.blocked and a.created_at > $3
         order by (a.state in ('pending', 'info_requested') and ${isCurrent}) desc, a.created_at desc, a.id
         limit 1000`,
        subject,
        new Date(clock.now() - recentMs),
      )
      return {
        open: candidates.filter(isOpen),
        recent: candidates.filter((approval) => !isOpen(approval)).slice(0, recentMax),
      }
    },
    async waiting(subject) {
      const [row] = await database.query<{ count: number }>(
        `select count(*) as count from approvals a
         where ($2::text is null or a.subject = $2) and not a.blocked and a.state = 'pending' and ${isCurrent}`,
        [new Date(clock.now()), subject ?? null],
      )
      return row?.count ?? 0
    },
    async oneOfMine(subject, id) {
      const [approval] = await read('a.id = $2 and a.subject = $3 and not a.blocked', id, subject)
      return approval && showApproval(deps, approval)
    },
    decide: (subject, id, decision, options) => decideApproval(deps, { subject, id }, decision, options),
    onChange: (listener) => changes.onChange((id) => void tell(listener, id)),
    blocks: createBlocks(database),
    mend: () => expireApprovals(deps),
    endWaits: () => waits.close(),
    async [Symbol.asyncDispose]() {
      waits.close()
      await changes[Symbol.asyncDispose]()
    },
  }
}

const batchMax = 200
// Decided or not: a grant that came of it has ended long before.
const keptMs = 90 * 24 * 3_600_000

/**
 * Writes down, and puts on record, what the clock decided long ago: open ones whose time, delegation or agent
 * is over. Forgets those that were over 90 days ago. Returns how many expired.
 */
async function expireApprovals({
  database,
  clock,
}: {
  readonly database: Database
  readonly clock: Clock
}): Promise<number> {
  const now = new Date(clock.now())
  await database.query(
    `delete from approvals where expires_at < $1 and state not in ('pending', 'info_requested')`,
    [new Date(clock.now() - keptMs)],
  )
  let count = 0
  for (;;) {
    const overdue = await readApprovals(database, isOver, now, [])
    for (const approval of overdue) if (await write(database, approval)) count += 1
    if (overdue.length < batchMax) return count
  }
}

const isOver = `a.state in ('pending', 'info_requested') and not ${isCurrent} order by a.expires_at limit ${batchMax}`

/** False: somebody was there before. */
const write = (database: Database, approval: Approval): Promise<boolean> =>
  database.transaction(async (sql) => {
    const rows = await sql.query(
      `update approvals set state = 'expired', version = version + 1
       where id = $1 and version = $2 and state in ('pending', 'info_requested') returning id`,
      [approval.id, approval.version],
    )
    if (rows.length === 0) return false
    await record(sql, recordedRequester(approval), { event: 'approval_expired', approval: approval.id })
    return true
  })
