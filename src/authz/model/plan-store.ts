import { AppError } from '../../kernel/errors.ts'
import { readRows, type Sql } from '../../store/sql.ts'
import type { WriterGain } from '../allow-list/holders.ts'
import type { Gains, Impact } from './impact.ts'
import type { Finding } from './invariants.ts'
import { countsOf, type PlanTests } from './plan-tests.ts'
import type { Candidate } from './with-marks.ts'

/** What would happen if a model came into force, as it is shown to whoever confirms it. */
export interface Report extends Omit<Impact, 'gains'> {
  /** ISO time up to which OpenFGA's change log had been read, and how many tuples that was. */
  readonly watermark: { readonly read_to: string; readonly tuples: number }
  readonly invalidTuples: {
    readonly count: number
    readonly samples: readonly { readonly tuple: string; readonly reason: string }[]
  }
  readonly refusals: readonly Finding[]
  readonly warnings: readonly Finding[]
  /**
   * All that the warnings tell a few of. Absent in plans that were made before it was kept: nothing of it is
   * confirmed.
   */
  readonly writerGains?: readonly WriterGain[]
}

/** A planned change of the model, as it is stored. */
export interface Plan extends Candidate {
  readonly id: string
  readonly planner: string
  readonly baseModel: string
  readonly report: Report
  readonly gains: Gains
  /** Undefined: made before plans had any. */
  readonly tests: PlanTests | undefined
  /** Already written to OpenFGA under this id. */
  readonly modelId: string | undefined
  readonly state: 'open' | 'active'
  readonly createdAt: Date
  readonly expiresAt: Date
  /** Subjects who have said yes. */
  readonly approvedBy: readonly string[]
  /** Why they did although tests failed, for each who said so. */
  readonly reasons: readonly Reason[]
}

interface Reason {
  readonly by: string
  readonly reason: string
}

/**
 * Throws `conflict` for a plan that is in force, `plan_outdated` for one that nobody can confirm any more.
 */
export function assertOpen(plan: Plan, current: string, now: number): void {
  if (plan.state === 'active') throw new AppError('conflict', { public: 'This plan is in force already.' })
  const reason = outdatedBy(plan, current, now)
  if (reason !== undefined) throw outdated(reason)
}

/** Why nobody can confirm it any more; undefined: it still counts, or is in force. */
export function outdatedBy(
  { state, baseModel, expiresAt }: Plan,
  current: string,
  now: number,
): string | undefined {
  if (state === 'active') return undefined
  if (expiresAt.getTime() <= now) return 'The plan is older than 24 hours.'
  if (baseModel !== current) return 'Another model is in force than the one it was made from.'
  return undefined
}

/** Throws `model_refused` for a plan that may not come into force. */
export function assertApplicable({ report: { refusals, complete: isComplete } }: Plan): void {
  if (refusals.length === 0 && isComplete) return
  throw new AppError('model_refused', {
    public:
      refusals.map(({ relation, detail }) => `${relation}: ${detail}`).join(' ') ||
      'The plan is not complete: somebody whom it does not name could gain something.',
  })
}

/** What of a plan goes on record. */
export const factsOf = ({ id, digest, baseModel, tests }: Plan) => ({
  plan: id,
  digest,
  base_model: baseModel,
  ...(tests && countsOf(tests)),
})

/** The 409 for a plan that nobody can confirm any more. */
export const outdated = (reason: string): AppError =>
  new AppError('plan_outdated', { public: `${reason} Make a new plan.` })

const approvedBy = `array(select subject from model_approvals a where a.plan = p.id order by at, subject) as "approvedBy"`
const select = `select id, planner, base_model as "baseModel", digest, dsl, json, allow_list as "allowList", report, gains,
  tests, model_id as "modelId", state, created_at as "createdAt", expires_at as "expiresAt", ${approvedBy},
  (select coalesce(jsonb_agg(jsonb_build_object('by', subject, 'reason', reason) order by at, subject), '[]')
   from model_approvals a where a.plan = p.id and reason is not null) as reasons
  from model_plans p`

/** `lock`: nobody else locks it before the end of the transaction. */
export async function readPlan(
  sql: Sql,
  id: string,
  { lock: forUpdate = false } = {},
): Promise<Plan | undefined> {
  // By itself: a statement that waited for the lock would still see the yeses of before its wait.
  if (forUpdate) await sql.query('select from model_plans where id = $1 for update', [id])
  return (await readRows<Plan>(sql, `${select} where id = $1`, [id]))[0]
}

/** Open plans on this model that at least one has confirmed, the newest first. */
export const listAwaiting = (sql: Sql, baseModel: string, now: Date): Promise<readonly Plan[]> =>
  readRows(
    sql,
    `${select} where state = 'open' and base_model = $1 and expires_at > $2
       and exists (select 1 from model_approvals a where a.plan = p.id)
     order by created_at desc limit 20`,
    [baseModel, now],
  )

/** What a list says of a plan; the rest of it can be megabytes. */
export interface OpenPlan
  extends Pick<Plan, 'id' | 'planner' | 'digest' | 'createdAt' | 'expiresAt' | 'approvedBy'> {
  /** False: it cannot be applied, since it is refused or somebody could gain who is not named. */
  readonly applicable: boolean
  /** False: tests fail or did not run, so that whoever confirms it has to say why. */
  readonly testsHold: boolean
  readonly people: { readonly gain: number; readonly lose: number }
  readonly agents: { readonly gain: number; readonly lose: number }
}

const openMax = 100

/**
 * Those that can still be confirmed on this model, the newest first, at most a hundred, and whether there are
 * more.
 */
export async function listOpen(
  sql: Sql,
  baseModel: string,
  now: Date,
): Promise<{ readonly plans: readonly OpenPlan[]; readonly more: boolean }> {
  const rows = await sql.query<OpenPlan>(
    `select id, planner, digest, created_at as "createdAt", expires_at as "expiresAt", ${approvedBy},
       (report->>'complete')::boolean and jsonb_array_length(report->'refusals') = 0 as applicable,
       coalesce(tests->'error' is null and tests->>'failed' = '0', false) as "testsHold",
       jsonb_build_object('gain', report#>'{changes,can_read,gained,count}',
                          'lose', report#>'{changes,can_read,lost,count}') as people,
       jsonb_build_object('gain', report#>'{changes,can_read_delegated,gained,count}',
                          'lose', report#>'{changes,can_read_delegated,lost,count}') as agents
     from model_plans p where state = 'open' and base_model = $1 and expires_at > $2
     order by created_at desc, id limit $3`,
    [baseModel, now, openMax + 1],
  )
  return { plans: rows.slice(0, openMax), more: rows.length > openMax }
}

/** Stores a new plan. */
export async function insertPlan(sql: Sql, plan: Plan): Promise<void> {
  const { id, planner, baseModel, digest, dsl, json, allowList, report, gains, tests, state } = plan
  await sql.query(
    `insert into model_plans
       (id, planner, base_model, digest, dsl, json, allow_list, report, gains, tests, state, created_at, expires_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
    [
      id,
      planner,
      baseModel,
      digest,
      dsl ?? null,
      json,
      allowList ?? null,
      report,
      gains,
      tests ?? null,
      state,
      plan.createdAt,
      plan.expiresAt,
    ],
  )
}

/** False: this subject has confirmed it before. */
export async function insertApproval(
  sql: Sql,
  plan: string,
  {
    subject,
    at: decidedAt,
    reason,
  }: { readonly subject: string; readonly at: Date; readonly reason: string | undefined },
): Promise<boolean> {
  const rows = await sql.query(
    `insert into model_approvals (plan, subject, at, reason) values ($1, $2, $3, $4)
     on conflict do nothing returning subject`,
    [plan, subject, decidedAt, reason ?? null],
  )
  return rows.length > 0
}

/** Takes back every yes of these subjects to a plan that is not in force. */
export async function endApprovals(sql: Sql, subjects: readonly string[]): Promise<void> {
  await sql.query(
    `delete from model_approvals where subject = any($1::text[])
       and plan in (select id from model_plans where state <> 'active')`,
    [subjects],
  )
}

/** Notes which model OpenFGA made of a plan. */
export async function keepModelId(sql: Sql, plan: string, modelId: string): Promise<void> {
  await sql.query('update model_plans set model_id = $2 where id = $1', [plan, modelId])
}

/** Notes that a plan's model is in force. */
export async function markActive(sql: Sql, plan: string): Promise<void> {
  await sql.query(`update model_plans set state = 'active' where id = $1`, [plan])
}
