import { callMethods } from '@remit/contract/vault-schemas'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { Principal } from '../../kernel/principal.ts'
import { contentType, hasBody, type VaultCall } from './call.ts'
import { type ConnectionForAgent, type Connections, unlinked } from './connections.ts'
import { type ResolvedPath, resolvePath } from './path.ts'
import { hasOverride, isMinting } from './patterns.ts'

/** A call whose path and connection are resolved. */
export interface ResolvedCall {
  readonly found: ConnectionForAgent
  readonly path: ResolvedPath
  /** Every part of it ours: the connection by its id, the path in its one spelling. */
  readonly call: VaultCall
}

/**
 * What an agent asks to call, as it would be sent: 404 for a provider that is none, 409 with the person's
 * page where nothing is linked for this agent, 422 for a path that can be read in two ways, 403 for one that
 * hands out credentials. `field` names the member of the request. NOT checked: that the person agreed to it.
 */
export type ResolveCall = (
  principal: Principal,
  vaultCall: VaultCall,
  field?: (member: keyof VaultCall) => string,
) => Promise<ResolvedCall>

/** NOT checked: that the person agreed to the call. */
export function createCallResolution({
  connections,
}: {
  readonly connections: Pick<Connections, 'find' | 'connectUrl'>
}): ResolveCall {
  async function connectionFor(principal: Principal, name: string): Promise<ConnectionForAgent> {
    const result = await connections.find(principal, name)
    if (result.ok) return result.value
    if (result.reason === 'not_found') throw new AppError('not_found')
    throw await unlinked(connections, principal, name, result.reason)
  }

  return async (principal, vaultCall, field = (member) => member) => {
    const found = await connectionFor(principal, vaultCall.connection)
    const { mints, apiOrigins } = found.provider
    const method = callMethods.find((candidate) => candidate === vaultCall.method)
    if (method === undefined) throw invalid(field('method'), `must be one of ${callMethods.join(', ')}`)
    const path = resolvePath(vaultCall.path, apiOrigins)
    if (!path.ok) throw invalid(field('path'), `The path ${path.detail}.`)
    if (hasOverride(path.value))
      throw invalid(field('path'), 'A query parameter says another method, headers or credentials.')
    if (isMinting(mints, path.value)) {
      throw new AppError('forbidden', {
        field: field('path'),
        public: 'This path hands out credentials: nothing opens it.',
      })
    }
    if (vaultCall.bodyDigest !== undefined && !hasBody(method))
      throw invalid(field('bodyDigest'), `${method} has no body.`)
    if ((vaultCall.contentType === undefined) !== (vaultCall.bodyDigest === undefined))
      throw invalid(field('contentType'), 'A body has a content type, and nothing else has one.')
    if (!contentType.optional().safeParse(vaultCall.contentType).success)
      throw invalid(field('contentType'), 'This is no media type.')
    return {
      found,
      path: path.value,
      call: { ...vaultCall, connection: found.id, method, path: path.value.text },
    }
  }
}
