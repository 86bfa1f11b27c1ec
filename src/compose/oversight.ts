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
import { createWhatIf } from '../authz/what-if/what-if.ts'
import { createDelegationList } from '../delegation/lending/delegation-list.ts'
import type { Delegations } from '../delegation/lending/delegations.ts'
import type { Agents } from '../delegation/registry/agents.ts'
import { createRecordNames } from '../delegation/registry/record-names.ts'
import type { App } from '../http/env.ts'
import { activityRoutes } from '../http/routes/security/activity.ts'
import { auditRoutes, type OnRecord } from '../http/routes/security/audit.ts'
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
