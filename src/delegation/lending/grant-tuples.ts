import { type Fga, type Tuple, type TupleKey, tupleId } from '../../authz/fga.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { agentObject } from '../registry/agents.ts'
import type { ApprovalGrant } from './grant-row.ts'

/**
 * What a grant is in OpenFGA. Its end is a condition, so that a dead process leaves no door open. A vault
 * call is nothing there: OpenFGA is not asked about it.
 */
export function grantTuples({
  id,
  subject,
  agent,
  objects,
  until: expiresAt,
}: Pick<ApprovalGrant, 'id' | 'subject' | 'agent' | 'objects' | 'until'>): Tuple[] {
  if (objects.length === 0) return []
  const grant: FgaObject = `grant:${id}`
  return [
    {
      user: subject,
      relation: 'grantor',
      object: grant,
      condition: { name: 'until', context: { expires_at: expiresAt.toISOString() } },
    },
    { user: agentObject(agent), relation: 'agent', object: grant },
    ...objects.map((object) => ({ user: grant, relation: 'granted_by', object })),
  ]
}

const granting = ['document', 'folder', 'collection']

/** Tuples of a live grant that its row does not know: whoever wrote them, it was not src/delegation. */
export async function strayTuples(fga: Pick<Fga, 'read'>, grant: ApprovalGrant): Promise<TupleKey[]> {
  const expectedIds = new Set(grantTuples(grant).map(tupleId))
  const strays: TupleKey[] = []
  const filters = [
    { object: `grant:${grant.id}` },
    ...granting.map((type) => ({ user: `grant:${grant.id}`, object: `${type}:` })),
  ]
  for (const filter of filters) {
    for await (const { user, relation, object } of fga.read(filter))
      if (!expectedIds.has(tupleId({ user, relation, object }))) strays.push({ user, relation, object })
  }
  return strays
}
