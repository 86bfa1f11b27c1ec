import * as client from 'openid-client'
import type { Decision } from '../../../src/delegation/approvals/decide.ts'
import { digestOf } from '../../../src/delegation/approvals/view.ts'
import type { IssuerWorld } from './world.ts'

export const cibaGrant = 'urn:openid:params:grant-type:ciba'
type Asking = 'agent-app' | 'helper-app'
export type Answer = Readonly<Record<string, unknown>> & {
  readonly error?: string
  readonly auth_req_id?: string
  readonly access_token?: string
}

/** Programs that ask a person through the backchannel, and the person who answers. Errors are answers. */
export async function createAsking(world: IssuerWorld) {
  const discover = (id: Asking, method = client.PrivateKeyJwt(world.keys[id])) =>
    client.discovery(new URL(world.issuer), id, undefined, method, {
      execute: [client.allowInsecureRequests],
      algorithm: 'oauth2',
    })
  const configurations = {
    'agent-app': await discover('agent-app'),
    'helper-app': await discover('helper-app'),
  }

  /** One request as the library sends it, with its own assertion of who it is. */
  async function send(
    requestingClient: Asking,
    endpoint: string,
    parameters: Readonly<Record<string, string>> | URLSearchParams,
  ): Promise<{ readonly status: number; readonly headers: Headers; readonly body: Answer }> {
    const body = new URLSearchParams(parameters)
    const config = configurations[requestingClient]
    const headers = new Headers({ accept: 'application/json' })
    const proves = client.PrivateKeyJwt(world.keys[requestingClient])
    // It is a promise, which its type does not say.
    await Promise.resolve(proves(config.serverMetadata(), config.clientMetadata(), body, headers))
    const response = await fetch(`${world.issuer}${endpoint}`, { method: 'POST', body, headers })
    return { status: response.status, headers: response.headers, body: (await response.json()) as Answer }
  }

  return {
    configurations,
    discover,
    send,
    begin: (requestingClient: Asking, parameters: Readonly<Record<string, string>> = {}) =>
      send(requestingClient, '/backchannel', {
        scope: 'openid docs.search docs.read',
        login_hint: 'anne',
        ...parameters,
      }),
    poll: (requestingClient: Asking, id: unknown, parameters: Readonly<Record<string, string>> = {}) =>
      send(requestingClient, '/token', { grant_type: cibaGrant, auth_req_id: String(id), ...parameters }),
    /** The person's newest open question. */
    async open(person: string) {
      const { open: openApprovals } = await world.service.approvals.mine(`user:${person}`)
      return openApprovals[0]
    },
    /** What a yes to it may be remembered for. */
    async places(person: string) {
      const { open: openApprovals } = await world.service.approvals.mine(`user:${person}`)
      const shownApproval =
        openApprovals[0] && (await world.service.approvals.oneOfMine(`user:${person}`, openApprovals[0].id))
      return shownApproval?.places ?? []
    },
    /** Decides the person's newest open question, as the page would. */
    async decide(person: string, decision: Decision, signedIn: object = {}) {
      const { approvals } = world.service
      const subject = `user:${person}` as const
      const { open: openApprovals } = await approvals.mine(subject)
      const shownApproval = openApprovals[0] && (await approvals.oneOfMine(subject, openApprovals[0].id))
      if (shownApproval === undefined) throw new Error(`${person} is asked nothing.`)
      const now = new Date()
      const session = { person, subject, signedInAt: now, amr: ['pwd'], verifiedAt: now, ...signedIn }
      const decided = await approvals.decide(subject, shownApproval.id, decision, {
        digest: digestOf(shownApproval),
        session,
      })
      if (!decided.ok) throw new Error(`Not decided: ${decided.reason}`)
      return decided.value
    },
  }
}
