import type { Sql } from '../../store/sql.ts'
import type { WriterGain } from '../allow-list/holders.ts'
import type { ModelJson } from './dsl.ts'
import type { Gains, Impact } from './impact.ts'
import type { Finding } from './invariants.ts'
import type { PlanTests } from './plan-tests.ts'

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
  /** All that the warnings tell a few of. Absent in plans that were made before it was kept: nothing of it is confirmed. */
  readonly writerGains?: readonly WriterGain[]
}

/** A planned change of the model, as it is stored. */
export interface Plan {
  readonly id: string
  readonly planner: string
  readonly baseModel: string
  readonly digest: string
  readonly dsl: string | undefined
  readonly json: ModelJson
  /** Who may write which tuples under it. Undefined: made before plans had any. */
  readonly allowList: string | undefined
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

interface PlanRow {
  readonly id: string
  readonly planner: string
  readonly base_model: string
  readonly digest: string
  readonly dsl: string | null
  readonly json: ModelJson
  readonly allow_list: string | null
  readonly report: Report
  readonly gains: Gains
  readonly tests: PlanTests | null
  readonly model_id: string | null
  readonly state: 'open' | 'active'
  readonly created_at: Date
  readonly expires_at: Date
  readonly approved_by: string[]
  readonly reasons: readonly Reason[]
}

const select = `select p.*, array(select subject from model_approvals a where a.plan = p.id order by at, subject)
  as approved_by,
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
  const rows = await sql.query<PlanRow>(`${select} where id = $1`, [id])
  return rows.map(fromRow)[0]
}

/** Open plans on this model that at least one has confirmed, the newest first. */
export async function listAwaiting(sql: Sql, baseModel: string, now: Date): Promise<readonly Plan[]> {
  const rows = await sql.query<PlanRow>(
    `${select} where state = 'open' and base_model = $1 and expires_at > $2
       and exists (select 1 from model_approvals a where a.plan = p.id)
     order by created_at desc limit 20`,
    [baseModel, now],
  )
  return rows.map(fromRow)
}

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

interface OpenRow
  extends Pick<PlanRow, 'id' | 'planner' | 'digest' | 'created_at' | 'expires_at' | 'approved_by'> {
  readonly applicable: boolean
  readonly tests_hold: boolean
  readonly people: OpenPlan['people']
  readonly agents: OpenPlan['agents']
}

const openMax = 100

/** Those that can still be confirmed on this model, the newest first, at most a hundred, and whether there are more. */
export async function listOpen(
  sql: Sql,
  baseModel: string,
  now: Date,
): Promise<{ readonly plans: readonly OpenPlan[]; readonly more: boolean }> {
  const rows = await sql.query<OpenRow>(
    `select id, planner, digest, created_at, expires_at,
       array(select subject from model_approvals a where a.plan = p.id order by at, subject) as approved_by,
       (report->>'complete')::boolean and jsonb_array_length(report->'refusals') = 0 as applicable,
       coalesce(tests->'error' is null and tests->>'failed' = '0', false) as tests_hold,
       jsonb_build_object('gain', report#>'{changes,can_read,gained,count}',
                          'lose', report#>'{changes,can_read,lost,count}') as people,
       jsonb_build_object('gain', report#>'{changes,can_read_delegated,gained,count}',
                          'lose', report#>'{changes,can_read_delegated,lost,count}') as agents
     from model_plans p where state = 'open' and base_model = $1 and expires_at > $2
     order by created_at desc, id limit $3`,
    [baseModel, now, openMax + 1],
  )
  const plans = rows.slice(0, openMax).map(({ created_at, expires_at, approved_by, tests_hold, ...row }) => ({
    ...row,
    testsHold: tests_hold,
    createdAt: created_at,
    expiresAt: expires_at,
    approvedBy: approved_by,
  }))
  return { plans, more: rows.length > openMax }
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

const fromRow = (row: PlanRow): Plan => ({
  id: row.id,
  planner: row.planner,
  baseModel: row.base_model,
  digest: row.digest,
  dsl: row.dsl ?? undefined,
  json: row.json,
  allowList: row.allow_list ?? undefined,
  report: row.report,
  gains: row.gains,
  tests: row.tests ?? undefined,
  modelId: row.model_id ?? undefined,
  state: row.state,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  approvedBy: row.approved_by,
  reasons: row.reasons,
})
