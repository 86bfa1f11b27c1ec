import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import { AppError } from '../../kernel/errors.ts'
import type { Runtime } from '../../store/runtime.ts'
import { consoleClient } from '../registry/clients.ts'
import type { Consents } from './consents.ts'
import { upstreamIn } from './session-upstream.ts'

export interface ConsoleConsentDeps extends Pick<Runtime, 'publicUrl' | 'clock' | 'newTxn'> {
  readonly grants: Consents
  /** An administrator's roles of this person, each a scope. */
  readonly rolesOf: (person: string) => Promise<readonly string[]>
}

type Grant = InstanceType<KoaContextWithOIDC['oidc']['provider']['Grant']>

// As long as a sign-in counts for an administrator's routes.
const consoleSeconds = 15 * 60

/**
 * The yes of whoever signs in to the console: it is this service's own page, at the one address to which the code can
 * go, so that nobody else is let in by it and there is nothing to ask. For the roles that they have, and no other scope;
 * on record like every consent. Undefined for every other client, which asks on the consent page.
 *
 * @throws AccessDenied for whoever has no role that is asked for, or whose sign-in counts no more.
 */
export function createConsoleConsent({ publicUrl, grants, clock, rolesOf, newTxn }: ConsoleConsentDeps) {
  return async ({ oidc }: KoaContextWithOIDC): Promise<Grant | undefined> => {
    const { session, client } = oidc
    if (client?.clientId !== consoleClient || session?.accountId === undefined) return undefined
    // They are about to prove anew who they are.
    if (oidc.promptPending('login') || session.loginTs === undefined) return undefined
    const resources = Object.keys(oidc.resourceServers ?? {})
    const requestedScopes = String(oidc.params?.['scope'] ?? '').split(' ')
    const heldRoles = await rolesOf(session.accountId)
    const scopes = requestedScopes.filter((scope) => heldRoles.includes(scope))
    if (resources.length !== 1 || resources[0] !== publicUrl || scopes.length === 0)
      throw new errors.AccessDenied('this account has no role for what is asked for')
    const signedInAt = session.loginTs
    const secondsLeft = Math.floor(signedInAt + consoleSeconds - clock.now() / 1_000)
    const { Grant } = oidc.provider
    const grant = new Grant({
      accountId: session.accountId,
      clientId: consoleClient,
      expiresIn: Math.max(1, Math.min(consoleSeconds, secondsLeft)),
    } as never)
    grant.addResourceScope(publicUrl, scopes.join(' '))
    const withheld = requestedScopes.filter((scope) => scope !== 'openid' && !scopes.includes(scope))
    if (withheld.length > 0) grant.rejectResourceScope(publicUrl, withheld.join(' '))
    if (requestedScopes.includes('openid')) grant.addOIDCScope('openid')
    const grantId = await grant.save()
    const link = {
      grantId,
      clientId: consoleClient,
      subject: session.accountId,
      delegation: undefined,
      signedInAt: new Date(signedInAt * 1_000),
      amr: session.amr ?? [],
      upstream: upstreamIn.read(session.acr),
      expiresAt: new Date((signedInAt + consoleSeconds) * 1_000),
    }
    try {
      await grants.save(link, { resource: publicUrl, scope: scopes.join(' '), txn: newTxn() })
    } catch (error) {
      if (error instanceof AppError && error.code === 'forbidden')
        throw new errors.AccessDenied('this sign-in counts no more')
      throw error
    }
    return grant
  }
}
