import { type RecordActor, record } from '../../audit/record.ts'
import { assertNotAborted } from '../../kernel/assert-not-aborted.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import { createSerialQueue } from '../../kernel/serial-queue.ts'
import type { Database, Sql } from '../../store/sql.ts'
import { asUnavailable } from '../fga-errors.ts'
import type { ActiveModel } from './active.ts'
import { type AssessDeps, assess, beyondConfirmed } from './assess.ts'
import { diffLines } from './diff.ts'
import { textOf } from './dsl.ts'
import { listVersions, type ModelVersion, readPin, readVersion, writePin } from './pin.ts'
import {
  assertApplicable,
  assertOpen,
  factsOf,
  insertApproval,
  insertPlan,
  keepModelId,
  listAwaiting,
  listOpen,
  markActive,
  type OpenPlan,
  outdated,
  outdatedBy,
  type Plan,
  readPlan,
} from './plan-store.ts'
import { hold, showsMore, whatFails } from './plan-tests.ts'
import { candidateOf, type Texts, type WantedModel } from './texts.ts'
import type { TruthTable } from './truth-table.ts'

/** What applying a plan came to. */
export type Applied =
  | { readonly state: 'awaiting_second'; readonly plan: Plan }
  | { readonly state: 'active'; readonly plan: Plan; readonly modelId: string }

/**
 * Changes of the model in force: a plan shows what would happen and what fails, and enough different people
 * confirm it.
 */
export interface ModelChanges {
  /**
   * Throws `invalid_request` for what is no model, `not_found` for an earlier one that was never in force.
   */
  plan(who: RecordActor, wanted: WantedModel): Promise<Plan>
  /**
   * Says yes for this subject; the last yes that is needed puts the model in force. Throws `not_found`;
   * `invalid_request` where tests fail and no `reason` is given; `conflict` for a second yes of the same
   * person, by whichever of their accounts, or a plan that is in force; `forbidden` for who is no
   * administrator (any more); `plan_outdated` and `model_refused` as the errors' pages say;
   * `deadline_exceeded` where `signal` fired before its turn. What has begun takes minutes, and goes on after
   * it.
   */
  apply(who: RecordActor, planId: string, reason?: string, signal?: AbortSignal): Promise<Applied>
  /** How many different people have to confirm it. */
  approversOf(plan: Plan): number
  /** Why nobody can confirm it any more; undefined: it still counts, or is in force. */
  outdatedOf(plan: Plan): string | undefined
  /**
   * A plan as whoever confirms it reads it: with its texts, and what those change in today's. Throws
   * `not_found`.
   */
  read(planId: string): Promise<{
    readonly plan: Plan
    readonly text: string
    readonly diff: string
    readonly allowListDiff: string
  }>
  /**
   * Plans that can still be confirmed, whether anybody has or not, the newest first; `more`: not all of them.
   */
  open(): Promise<{ readonly plans: readonly OpenPlan[]; readonly more: boolean }>
  /** What is in force, what was, the newest first, and what waits for another yes. */
  show(): Promise<{
    readonly current: ModelVersion
    readonly history: readonly ModelVersion[]
    readonly awaiting: readonly Plan[]
  }>
}

/** What {@link createModelChanges} works with. */
export interface ModelChangesDeps extends AssessDeps {
  readonly database: Database
  readonly active: ActiveModel
  /** How many different people must confirm a plan. */
  readonly approvers: number
  /** And at least how many one whose tests fail, or did not run. */
  readonly approversDespiteTests: number
  readonly truthTable: Pick<TruthTable, 'ofPlan' | 'ownDigest'>
  readonly texts: Pick<Texts, 'readSource' | 'readAllowList'>
  /**
   * Asked of all who confirmed, in the transaction that their yeses count in; it must stay so until its end.
   */
  readonly isAdministrator: (sql: Sql, subject: string) => Promise<boolean>
  /** Every name that is one person, now or at any time since. */
  readonly namesOf: (sql: Sql, subject: string, since: Date) => Promise<ReadonlySet<string>>
  readonly newId: () => string
}

const planMs = 24 * 3_600_000

/** Plans and applies changes of the authorization model, one after another. */
export function createModelChanges(dependencies: ModelChangesDeps): ModelChanges {
  const { database, active: activeModel, truthTable, now, newId } = dependencies
  // One at a time: each evaluates everything, and two last yeses must not pass each other.
  const queue = createSerialQueue()

  async function plan(caller: RecordActor, requested: WantedModel): Promise<Plan> {
    const base = activeModel.current
    const candidate = await candidateOf(database, requested, base, dependencies.texts)
    const { report, gains } = await assess(base, candidate, dependencies)
    const tests = await truthTable.ofPlan(candidate.json)
    const newPlan: Plan = {
      ...candidate,
      id: newId(),
      planner: caller.subject,
      baseModel: base.id,
      report,
      gains,
      tests,
      modelId: undefined,
      state: 'open',
      createdAt: new Date(now()),
      expiresAt: new Date(now() + planMs),
      approvedBy: [],
      reasons: [],
    }
    await database.transaction(async (sql) => {
      await insertPlan(sql, newPlan)
      await record(sql, caller, { event: 'model_planned', ...factsOf(newPlan) })
    })
    return newPlan
  }

  async function apply(caller: RecordActor, planId: string, reason: string | undefined): Promise<Applied> {
    await activeModel.refresh()
    const found = await readPlan(database, planId)
    if (found === undefined) throw noPlan()
    assertOpen(found, activeModel.current.id, now())
    assertApplicable(found)
    if (!hold(found.tests) && reason === undefined)
      throw invalid('reason', `${whatFails(found.tests)} Say why it may come into force all the same.`)
    const counted = await approve(caller, planId, reason)
    if (counted.isEnough) return await activate(dependencies, caller, counted.plan, reason)
    const plan = { ...counted.plan, approvedBy: [...counted.plan.approvedBy, caller.subject] }
    return { state: 'awaiting_second', plan }
  }

  /**
   * Stores a yes that is not the last one. With the row locked: of two first yeses in two processes the
   * second is the last one, where each of them stored for itself would wait for a third person.
   */
  function approve(
    caller: RecordActor,
    planId: string,
    reason: string | undefined,
  ): Promise<{ readonly plan: Plan; readonly isEnough: boolean }> {
    return database.transaction(async (sql) => {
      const plan = await readPlan(sql, planId, { lock: true })
      if (plan === undefined) throw outdated('Another model is in force.')
      assertOpen(plan, activeModel.current.id, now())
      if (plan.approvedBy.includes(caller.subject)) throw saidYes()
      const people = await administratorsAmong(dependencies, sql, plan, caller.subject)
      if (people.length >= neededFor(dependencies, plan)) return { plan, isEnough: true }
      await insertApproval(sql, plan.id, { subject: caller.subject, at: new Date(now()), reason })
      await record(sql, caller, { event: 'model_approved', ...factsOf(plan), ...(reason && { reason }) })
      return { plan, isEnough: false }
    })
  }

  return {
    plan: (caller, requested) => queue.run(() => plan(caller, requested)),
    apply: (caller, planId, reason, signal) =>
      queue.run(() => {
        assertNotAborted(signal)
        return apply(caller, planId, reason)
      }),
    approversOf: (plan) => neededFor(dependencies, plan),
    outdatedOf: (plan) => outdatedBy(plan, activeModel.current.id, now()),
    async read(planId) {
      const plan = await readPlan(database, planId)
      const base = plan && (await readVersion(database, plan.baseModel))
      if (plan === undefined || base === undefined) throw noPlan()
      const text = textOf(plan)
      return {
        plan,
        text,
        diff: diffLines(textOf(base), text),
        allowListDiff: diffLines(base.allowList ?? '', plan.allowList ?? ''),
      }
    },
    open: () => listOpen(database, activeModel.current.id, new Date(now())),
    async show() {
      const { current } = activeModel
      const history = await listVersions(database)
      return { current, history, awaiting: await listAwaiting(database, current.id, new Date(now())) }
    },
  }
}

const neededFor = (
  { approvers, approversDespiteTests }: Pick<ModelChangesDeps, 'approvers' | 'approversDespiteTests'>,
  { tests }: Plan,
): number => (hold(tests) ? approvers : Math.max(approvers, approversDespiteTests))

/** Another table than the one that was run may find what nobody who confirmed has seen. */
async function testAgain({ truthTable }: ModelChangesDeps, { tests, json }: Plan): Promise<void> {
  const digest = await truthTable.ownDigest()
  if (digest !== undefined && digest === tests?.digest) return
  const newTests = await truthTable.ofPlan(json)
  if (showsMore(newTests, tests)) throw outdated(`The truth table changed. ${whatFails(newTests)}`)
}

/**
 * Written to OpenFGA first, then pinned with its record and the last yes in one transaction, then switched
 * to. A crash before the transaction leaves a model that nobody asks and a plan that waits; one after it
 * leaves a row that every process reads.
 */
async function activate(
  dependencies: ModelChangesDeps,
  caller: RecordActor,
  plan: Plan,
  reason: string | undefined,
): Promise<Applied> {
  const { active: activeModel, database, now } = dependencies
  const newAssessment = await assess(activeModel.current, plan, dependencies)
  assertApplicable({ ...plan, report: newAssessment.report })
  const [firstGain, ...moreGains] = beyondConfirmed(newAssessment, plan)
  if (firstGain !== undefined)
    throw outdated(`${moreGains.length + 1} gains were not in what was confirmed, for example ${firstGain}.`)
  await testAgain(dependencies, plan)
  const modelId = plan.modelId ?? (await write(dependencies, plan))
  const approvers = await database.transaction(async (sql) => {
    const pin = await readPin(sql, { lock: 'update' })
    const locked = await readPlan(sql, plan.id, { lock: true })
    // Another process may have been quicker.
    if (locked === undefined || pin === undefined) throw outdated('Another model is in force.')
    assertOpen(locked, pin.model_id, now())
    // Trying the plan may have taken minutes.
    const people = await administratorsAmong(dependencies, sql, locked, caller.subject)
    if (people.length < neededFor(dependencies, locked))
      throw new AppError('forbidden', { public: 'Somebody who confirmed is no administrator any more.' })
    const counted = [...locked.approvedBy, caller.subject].filter((approver) =>
      people.flat().includes(approver),
    )
    const approval = { subject: caller.subject, at: new Date(now()), reason }
    if (!(await insertApproval(sql, plan.id, approval))) throw saidYes()
    await markActive(sql, plan.id)
    const { digest, dsl, json, allowList } = plan
    await writePin(sql, activeModel.storeId, {
      id: modelId,
      digest,
      dsl,
      json,
      allowList,
      plan: plan.id,
      activatedBy: counted,
      activatedAt: approval.at,
    })
    await record(sql, caller, {
      event: 'model_activated',
      ...factsOf(plan),
      model_id: modelId,
      ...(reason && { reason }),
    })
    return counted
  })
  // It is in force: where this process fails to switch, it answers nobody until it has, and tries on
  // (active.ts).
  await Promise.allSettled([activeModel.refresh()])
  return { state: 'active', plan: { ...plan, state: 'active', approvedBy: approvers }, modelId }
}

/**
 * The people who confirmed, `subject` last among them, each as the subjects by which they did. Whoever may
 * not administer now does not count, and of a person's yeses, as whom they have come since the plan was made,
 * one does. In one order: two transactions that lock the same administrators do not wait for each other.
 */
async function administratorsAmong(
  { isAdministrator, namesOf }: ModelChangesDeps,
  sql: Sql,
  { approvedBy, createdAt }: Plan,
  subject: string,
): Promise<readonly (readonly string[])[]> {
  const people: { readonly subjects: string[]; readonly names: ReadonlySet<string> }[] = []
  for (const approver of [...approvedBy, subject].sort()) {
    if (!(await isAdministrator(sql, approver))) continue
    const samePerson = people.find(({ names }) => names.has(approver))
    if (samePerson === undefined)
      people.push({ subjects: [approver], names: await namesOf(sql, approver, createdAt) })
    else samePerson.subjects.push(approver)
  }
  const planner = people.find(({ subjects }) => subjects.includes(subject))
  if (planner === undefined) throw new AppError('forbidden', { public: 'You are no administrator any more.' })
  if (planner.subjects.length > 1) throw saidYes()
  return people.map(({ subjects }) => subjects)
}

async function write({ active: activeModel, api, database }: ModelChangesDeps, plan: Plan): Promise<string> {
  const { authorization_model_id: id } = await asUnavailable(() =>
    api.writeAuthorizationModel(activeModel.storeId, plan.json),
  )
  // A try after a crash takes this one.
  await keepModelId(database, plan.id, id)
  return id
}

const noPlan = (): AppError => new AppError('not_found', { public: 'There is no such plan.' })

const saidYes = (): AppError =>
  new AppError('conflict', { public: 'You have confirmed this plan already: it needs somebody else.' })
