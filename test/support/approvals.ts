import { operator } from '../../src/audit/record.ts'
import type { Grants } from '../../src/compose/grants.ts'
import type { Decision } from '../../src/delegation/approvals/decide.ts'
import type { RequestedAccess } from '../../src/delegation/approvals/requested-access.ts'
import type { GrantDraft } from '../../src/delegation/approvals/terms.ts'
import { digestOf } from '../../src/delegation/approvals/view.ts'
import type { VaultCall } from '../../src/delegation/vault/call.ts'
import type { World } from './world.ts'

/** As if the person had said yes to exactly this, in one go; gives the grant's id. */
export async function agree(
  {
    service,
    database,
  }: Pick<World, 'database'> & { readonly service: { readonly grants: Pick<Grants, 'approvalGrants'> } },
  wanted: Partial<GrantDraft> & Pick<GrantDraft, 'delegation' | 'objects'>,
): Promise<string> {
  const { approvalGrants } = service.grants
  const { id } = await approvalGrants.prepare({
    approval: `ap_${crypto.randomUUID()}`,
    subject: 'user:anne',
    agent: 'research-bot',
    until: new Date(Date.now() + 300_000),
    ...wanted,
  })
  const counts = await database.transaction((sql) =>
    approvalGrants.activateWithin(sql, id, operator('t_tests')),
  )
  if (!counts) throw new Error('The grant does not count.')
  return id
}

/** A call to an API of others as it is asked for, once it was resolved. */
export const askedCall = (
  call: VaultCall,
  body?: string,
): Extract<RequestedAccess, { kind: 'vault_call' }> => ({
  kind: 'vault_call',
  scopes: [],
  call,
  provider: 'github',
  ...(body !== undefined && { body }),
})

/** What the person says on their page, as it stands there; gives the grant's id of a yes. */
export async function decide(
  { approvals }: Pick<World['service'], 'approvals'>,
  id: string,
  decision: Decision,
  person = 'anne',
): Promise<string | undefined> {
  const subject = `user:${person}` as const
  const shown = await approvals.oneOfMine(subject, id)
  if (shown === undefined) throw new Error(`It is not shown to ${person}.`)
  const session = { person, subject, verifiedAt: new Date() }
  const decided = await approvals.decide(subject, id, decision, { digest: digestOf(shown), session })
  if (!decided.ok) throw new Error(`It was not decided: ${decided.reason}.`)
  return decided.value.grant
}
