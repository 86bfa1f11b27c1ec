import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { readActivity } from '../audit/activity.ts'
import { createRecordReader } from '../audit/query.ts'
import { createRecordQuestions } from '../audit/questions.ts'
import { readThread } from '../audit/thread.ts'
import type { LiveDelegation } from '../authz/compare/askers.ts'
import { createExplainer } from '../authz/explain/explain.ts'
import { createMemberships } from '../authz/explain/memberships.ts'
import { createNeverHere } from '../authz/explain/never-here.ts'
import { createStillReadable } from '../authz/explain/still-readable.ts'
import { createViewAs } from '../authz/explain/view-as.ts'
import { createWhoCan } from '../authz/explain/who-can.ts'
import { createModelChanges } from '../authz/model/changes.ts'
import { createTruthTable } from '../authz/model/truth-table.ts'
import { createWhatIf } from '../authz/what-if/what-if.ts'
import type { Administrators } from '../delegation/administration/administrators.ts'
import { createDelegationList } from '../delegation/lending/delegation-list.ts'
import type { Delegations } from '../delegation/lending/delegations.ts'
import type { Persons } from '../delegation/people/persons.ts'
import type { Agents } from '../delegation/registry/agents.ts'
import { createRecordNames } from '../delegation/registry/record-names.ts'
import type { App } from '../http/env.ts'
import { modelRoutes } from '../http/routes/model/model.ts'
import { modelTestRoutes } from '../http/routes/model/model-tests.ts'
import type { OnRecord } from '../http/routes/reading.ts'
import { activityRoutes, auditRoutes } from '../http/routes/security/audit.ts'
import { auditQuestionRoutes } from '../http/routes/security/audit-questions.ts'
import { explainRoutes } from '../http/routes/security/explain.ts'
import { pagedRoutes } from '../http/routes/security/paged.ts'
import { whatIfRoutes } from '../http/routes/security/what-if.ts'
import type { ApiAccess } from './api-access.ts'
import type { Authz } from './authz.ts'
import type { ComposeContext } from './context.ts'

/** Of the service, what the security teams' routes take. */
export interface OversightDeps extends Pick<ComposeContext, 'database' | 'now'> {
  readonly authz: Pick<Authz, 'fga' | 'index' | 'limiter' | 'texts' | 'allowListOf'>
  readonly agents: Agents
  readonly delegations: Pick<Delegations, 'isLive'>
  readonly listLiveDelegations: () => Promise<readonly LiveDelegation[]>
  /** Questions of agents that wait for somebody. */
  readonly countWaiting: () => Promise<number>
  readonly record: OnRecord
  readonly access: ApiAccess
}

/** What security teams ask: why, who, what if, and what the record says. */
export function oversightRoutes(dependencies: OversightDeps): readonly App[] {
  const { database, now, access, record } = dependencies
  const { reading, requireBearer, isReader, isAdministrator } = access
  const looking = { ...reading, record, names: createRecordNames({ sql: database }) }
  const { fga, index, limiter, texts } = dependencies.authz
  const asking = { sql: database, fga, index, limiter, agentOf: dependencies.agents.get, now }
  const paged = { ...reading, neverHere: createNeverHere({ sql: database, index }) }
  return [
    explainRoutes({ ...paged, explain: createExplainer(asking) }),
    auditRoutes({ ...looking, reader: createRecordReader({ sql: database }) }),
    auditQuestionRoutes({
      ...looking,
      ...paged,
      questions: createRecordQuestions({ database }),
      thread: (txn) => readThread(database, txn),
      today: createStillReadable(asking),
      listLent: createDelegationList({ sql: database, now }),
      now,
    }),
    ...pagedRoutes({
      ...paged,
      viewAs: createViewAs({ ...asking, isLive: dependencies.delegations.isLive }),
      memberships: createMemberships(asking),
      whoCan: createWhoCan(asking),
    }),
    whatIfRoutes({
      whatIf: createWhatIf({
        ...asking,
        texts,
        listLiveDelegations: dependencies.listLiveDelegations,
        allowListOf: dependencies.authz.allowListOf,
      }),
      requireBearer,
      isReader,
      isWriter: isAdministrator,
      now,
    }),
    activityRoutes({
      ...reading,
      readActivity: (options) => readActivity(database, options),
      countWaiting: dependencies.countWaiting,
      index: () => index.status(),
      now,
    }),
  ]
}

/** Of the service, what the model's routes take. */
interface ModelsDeps extends Pick<ComposeContext, 'config' | 'infrastructure' | 'database' | 'now'> {
  readonly authz: Pick<Authz, 'active' | 'index' | 'matchesFile' | 'texts'>
  readonly administrators: Pick<Administrators, 'keeps'>
  readonly persons: Persons
  readonly listLiveDelegations: () => Promise<readonly LiveDelegation[]>
  readonly access: Pick<ApiAccess, 'requireBearer' | 'isAdministrator'>
}

/** How the authorization model is tried, planned, confirmed and applied. */
export function modelsRoutes(dependencies: ModelsDeps): readonly App[] {
  const { config, database, now, administrators, persons, listLiveDelegations } = dependencies
  const { active: activeModel, index, matchesFile, texts } = dependencies.authz
  const api = dependencies.infrastructure.openfga
  const { requireBearer, isAdministrator } = dependencies.access
  const behind = { requireBearer, isAdministrator, now }
  const truthTable = createTruthTable({
    api,
    texts,
    own: () => readFile(new URL('../../model.fga.yaml', import.meta.url), 'utf8'),
  })
  const models = createModelChanges({
    database,
    api,
    active: activeModel,
    index,
    listLiveDelegations,
    approvers: config.modelApplyApprovers,
    approversDespiteTests: config.modelApplyApproversDespiteTests,
    truthTable,
    texts,
    isAdministrator: (sql, subject) => administrators.keeps(sql, subject, 'security.write'),
    namesOf: (sql, subject, sinceTime) => persons.namesOf(sql, subject, { since: sinceTime }),
    now,
    newId: () => `m_${randomBytes(16).toString('base64url')}`,
  })
  return [modelRoutes({ ...behind, models, matchesFile }), modelTestRoutes({ ...behind, truthTable, texts })]
}
