import { operator } from '../../src/audit/record.ts'
import type { Asked } from '../../src/delegation/approvals/asked.ts'
import type { WantedGrant } from '../../src/delegation/approvals/grant-checks.ts'
import type { VaultCall } from '../../src/delegation/vault/call.ts'
import type { World } from './world.ts'

/** As if the person had said yes to exactly this, in one go; gives the grant's id. */
export async function agree(
  { service, database }: Pick<World, 'service' | 'database'>,
  wanted: Partial<WantedGrant> & Pick<WantedGrant, 'delegation' | 'objects'>,
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
export const askedCall = (call: VaultCall, body?: string): Extract<Asked, { kind: 'vault_call' }> => ({
  kind: 'vault_call',
  call,
  provider: 'github',
  ...(body !== undefined && { body }),
})
