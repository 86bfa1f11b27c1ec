import { errors, type KoaContextWithOIDC, type Provider } from 'oidc-provider'
import { z } from 'zod'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { Runtime } from '../../store/runtime.ts'
import { isRole } from '../administration/administrators.ts'
import type { People } from '../people/people.ts'
import { cliClient, consoleClient } from '../registry/clients.ts'
import type { Consents } from './consents.ts'
import { basisIn } from './session-basis.ts'

export interface DemoConsent {
  /**
   * Says yes to a device code of the command line in this person's name. 422 names what is wrong: user, code,
   * scope.
   */
  confirm(code: string, person: string): Promise<void>
}

export interface DemoConsentDeps extends Pick<Runtime, 'clock' | 'newTxn'> {
  readonly provider: () => Provider
  readonly people: People
  readonly grants: Consents
  /** An administrator's roles of this person, each a scope. */
  readonly rolesOf: (person: string) => Promise<readonly string[]>
}

// As long as one access token: what is refreshed later comes from a sign-in.
const grantSeconds = 300
const requestParameters = z.looseObject({ resource: z.string(), scope: z.string() })

/**
 * Stands in for a person of the sample at their browser: it skips the sign-in and the consent page of the
 * device flow, and nothing else. Before it a code was begun at the authorization server, after it the code is
 * redeemed there, by its ordinary rules. Whoever can call it can be anybody: it is made in the demo only, is
 * reached over the machine's own socket only, serves the command line's client only, and every token says
 * `demo: true`, which other modes refuse. The tokens name no method of sign-in (`amr`), since there was none;
 * the record has the command beside the consent.
 */
export function createDemoConsent(deps: DemoConsentDeps): DemoConsent {
  const { provider, people, grants, clock, rolesOf, newTxn } = deps
  return {
    async confirm(userCode, person) {
      if (!(await people.has(person))) {
        const knownPeople = (await people.list()).map(({ key }) => key).join(', ')
        throw invalid(
          'user',
          `There is no account ${person}. Known: ${knownPeople || 'none yet; npm run remit -- demo fills the sample'}.`,
        )
      }
      const { DeviceCode, Grant } = provider()
      // Kept without the dash that people are shown.
      const code = await DeviceCode.findByUserCode(userCode.replaceAll('-', ''))
      if (code === undefined || code.clientId !== cliClient || code.accountId !== undefined || code.error)
        throw invalid('code', 'This code is not the command line’s, is over or was answered already.')
      const { resource, scope } = requestParameters.parse(code.params)
      const heldRoles = await rolesOf(person)
      const scopes = scope
        .split(' ')
        .filter((scopeName) => !isRole(scopeName) || heldRoles.includes(scopeName))
      if (scopes.length === 0)
        throw invalid(
          'scope',
          `${person} has no role for any of: ${scope}. Give one: npm run remit -- admin add user:${person} --role ROLE`,
        )
      const signedInAt = new Date(clock.now())
      const grant = new Grant({ accountId: person, clientId: cliClient, expiresIn: grantSeconds } as never)
      grant.addResourceScope(resource, scopes.join(' '))
      const grantId = await grant.save()
      const expiresAt = new Date(signedInAt.getTime() + grantSeconds * 1_000)
      const consent = { grantId, clientId: cliClient, subject: person, signedInAt, amr: [], expiresAt }
      await grants.save(
        { ...consent, delegation: undefined, upstream: undefined },
        { resource, scope: scopes.join(' '), txn: newTxn() },
      )
      Object.assign(code, {
        accountId: person,
        authTime: Math.floor(signedInAt.getTime() / 1_000),
        grantId,
        resource,
        scope: scopes.join(' '),
      })
      await code.save()
    },
  }
}

export interface ConsoleConsentDeps extends Pick<Runtime, 'publicUrl' | 'clock' | 'newTxn'> {
  readonly grants: Consents
  /** An administrator's roles of this person, each a scope. */
  readonly rolesOf: (person: string) => Promise<readonly string[]>
}

type Grant = InstanceType<KoaContextWithOIDC['oidc']['provider']['Grant']>

// As long as a sign-in counts for an administrator's routes.
const consoleSeconds = 15 * 60

/**
 * The yes of whoever signs in to the console: it is this service's own page, at the one address to which the
 * code can go, so that nobody else is let in by it and there is nothing to ask. For the roles that they have,
 * and no other scope; on record like every consent. Undefined for every other client, which asks on the
 * consent page.
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
      ...basisIn.read(session.acr),
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
