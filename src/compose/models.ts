import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { LiveDelegation } from '../authz/compare/askers.ts'
import { createModelChanges } from '../authz/model/changes.ts'
import { createTruthTable } from '../authz/model/truth-table.ts'
import type { Administrators } from '../delegation/administration/administrators.ts'
import type { Persons } from '../delegation/people/persons.ts'
import type { App } from '../http/env.ts'
import { modelRoutes } from '../http/routes/model/model.ts'
import { modelTestRoutes } from '../http/routes/model/model-tests.ts'
import type { ApiAccess } from './api-access.ts'
import type { Authz } from './authz.ts'
import type { ComposeContext } from './context.ts'

/** Of the service, what the model's routes take. */
export interface ModelsDeps extends Pick<ComposeContext, 'config' | 'infrastructure' | 'database' | 'now'> {
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
