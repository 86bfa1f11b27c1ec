import type { Provider } from 'oidc-provider'
import { z } from 'zod'
import { invalid } from '../../kernel/errors.ts'
import type { Runtime } from '../../store/runtime.ts'
import { isRole } from '../administration/administrators.ts'
import type { People } from '../people/people.ts'
import { cliClient } from '../registry/clients.ts'
import type { Consents } from './consents.ts'

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
          `There is no account ${person}. Known: ${knownPeople || 'none yet; npm start fills the sample'}.`,
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
      await grants.save(
        {
          grantId,
          clientId: cliClient,
          subject: person,
          delegation: undefined,
          signedInAt,
          amr: [],
          upstream: undefined,
          expiresAt: new Date(signedInAt.getTime() + grantSeconds * 1_000),
        },
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
