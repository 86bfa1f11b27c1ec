import { isPlain } from '@remit/contract/text'
import {
  type Account,
  type Adapter,
  type BackchannelAuthenticationRequest,
  type CIBAConfiguration,
  errors,
  type KoaContextWithOIDC,
  type Provider,
} from 'oidc-provider'
import { AppError } from '../../../kernel/errors.ts'
import type { Runtime } from '../../../store/runtime.ts'
import type { Requester } from '../../approvals/approval.ts'
import type { Approvals } from '../../approvals/approvals.ts'
import { bindingMessageMax } from '../../approvals/request-approval.ts'
import type { RequestedAccess } from '../../approvals/requested-access.ts'
import type { ResolveDetail } from '../../approvals/resolve.ts'
import type { OutboxDispatcher } from '../../notify/outbox-dispatcher.ts'
import type { Clients } from '../../registry/clients.ts'
import { ciba } from '../client-metadata.ts'
import { assertSignedRequest } from '../signed-jwts.ts'
import type { DelegationLookup, FoundDelegation } from './delegation-lookup.ts'
import {
  type ParsedRequest,
  parseRequest,
  resolveRequest,
  retentionSeconds,
  secondsOf,
} from './parsed-request.ts'
import type { BackchannelRequests } from './requests.ts'
import type { ResultOf } from './results.ts'
import { infoRequest } from './results.ts'

/** The front of the approvals table for programs that speak CIBA, as hooks of the library. */
export interface Backchannel {
  readonly feature: CIBAConfiguration
  /** Its store of requests, which says what came of each. */
  store(inner: Adapter, provider: () => Provider): Adapter
  /** Whom a request at the endpoint means; undefined for everybody whom this client's agent may not ask. */
  account(ctx: KoaContextWithOIDC, person: string): Promise<Account | undefined>
  /** A request that its client signed (CIBA §7.1.1): here alone, and only if it is one. */
  readonly signed: (ctx: KoaContextWithOIDC, claims: object, header: object) => void
  /** Around the token endpoint: what the person wants to know, and why they refused. */
  readonly answers: (ctx: KoaContextWithOIDC, next: () => Promise<void>) => Promise<void>
}

export interface BackchannelDeps extends Pick<Runtime, 'clock' | 'newTxn' | 'publicUrl'> {
  readonly approvals: Pick<Approvals, 'ask' | 'of'>
  readonly clients: Pick<Clients, 'registered'>
  readonly lentTo: DelegationLookup
  readonly requests: BackchannelRequests
  readonly resultOf: ResultOf
  readonly pings: Pick<OutboxDispatcher, 'wake'>
  readonly resolve: ResolveDetail
}

/** Whether a request came to the backchannel endpoint (CIBA). */
export const isBackchannel = (ctx: KoaContextWithOIDC): boolean =>
  ctx.oidc.route === 'backchannel_authentication'

// One word for everybody who cannot be asked: a name that nobody has tells nothing that another does not.
const unknown = () => new errors.UnknownUserId('could not identify end-user')

/** Found on the way to whom the request means, and asked at its end. */
interface Found extends FoundDelegation {
  readonly agent: string
}

interface Prepared {
  readonly asker: Requester
  readonly asked: RequestedAccess
}

/** Hooks for the authorization server. Client authentication is the library's, before these. */
export function createBackchannel(deps: BackchannelDeps): Backchannel {
  const { approvals, clients, lentTo, requests, resultOf, pings, clock, newTxn, publicUrl } = deps
  const wishes = new WeakMap<KoaContextWithOIDC, ParsedRequest>()
  const found = new WeakMap<Account, Found>()
  const prepared = new WeakMap<KoaContextWithOIDC, Prepared>()

  async function ask(ctx: KoaContextWithOIDC, request: BackchannelAuthenticationRequest, seconds: number) {
    const { binding_message: bindingMessage } = ctx.oidc.params ?? {}
    const preparedRequest = prepared.get(ctx)
    if (preparedRequest === undefined) throw new Error('Nobody is known to be asked.')
    try {
      const approval = await approvals.ask(preparedRequest.asker, preparedRequest.asked, {
        front: 'ciba',
        seconds,
        ...(typeof bindingMessage === 'string' && { bindingMessage }),
      })
      return { ...preparedRequest.asker, approval: approval.id, expiresAt: approval.expiresAt }
    } catch (error) {
      await request.destroy()
      throw asOauth(ctx, error)
    }
  }

  return {
    feature: {
      enabled: true,
      deliveryModes: ['poll', 'ping'],
      validateRequestContext: (ctx) => {
        // Whoever sends one counts on it: nobody would ask for it.
        if (ctx.oidc.params?.['user_code'] !== undefined)
          throw new errors.InvalidRequest('user_code is not supported')
      },
      validateBindingMessage: (_ctx, message) => {
        if (message !== undefined && !isPlain(message, bindingMessageMax))
          throw new errors.InvalidBindingMessage(
            `binding_message is at most ${bindingMessageMax} characters of plain text on one line`,
          )
      },
      processLoginHintToken: () => {
        throw new errors.InvalidRequest('login_hint_token is not supported')
      },
      processLoginHint: (_ctx, hint) => hint,
      async verifyUserCode(ctx, account) {
        const delegationFound = found.get(account)
        const client = ctx.oidc.client?.clientId
        if (delegationFound === undefined || client === undefined) throw unknown()
        const { agent, delegation } = delegationFound
        const asker: Requester = {
          subject: `user:${account.accountId}`,
          agent,
          client,
          delegation,
          txn: newTxn(),
        }
        const wish = wishes.get(ctx) ?? parseRequest(ctx, publicUrl)
        prepared.set(ctx, { asker, asked: await resolveRequest(asker, wish, deps.resolve) })
      },
      async triggerAuthenticationDevice(ctx, request) {
        const { requested_expiry: expiry, client_notification_token: token } = ctx.oidc.params ?? {}
        const seconds = secondsOf(expiry)
        const requestedApproval = await ask(ctx, request, seconds)
        await requests.save(
          request.jti,
          { ...requestedApproval, expiresAt: new Date(clock.now() + retentionSeconds(seconds) * 1_000) },
          typeof token === 'string' ? token : undefined,
        )
        // A question that was joined ends when it ends.
        const secondsLeft = Math.max(
          1,
          Math.ceil((requestedApproval.expiresAt.getTime() - clock.now()) / 1_000),
        )
        ctx.body = { auth_req_id: request.jti, expires_in: secondsLeft }
        // A blocked agent's is decided already.
        pings.wake(requestedApproval.approval)
      },
    },
    store: (inner, provider) => ({
      ...inner,
      async find(id) {
        const payload = await inner.find(id)
        return payload ? resultOf(id, payload, provider()) : undefined
      },
    }),
    async account(ctx, person) {
      // Before anything is looked up: what is wrong with the request itself is said whoever is meant.
      wishes.set(ctx, parseRequest(ctx, publicUrl))
      const client = await clients.registered(ctx.oidc.client?.clientId ?? '')
      if (client?.kind !== 'agent') return undefined
      const delegationFound = await lentTo(person, client.agent)
      if (delegationFound === undefined) return undefined
      const account: Account = { accountId: person, claims: async () => ({ sub: person }) }
      found.set(account, { ...delegationFound, agent: client.agent })
      return account
    },
    signed(ctx, claims, header) {
      if (isBackchannel(ctx)) return assertSignedRequest({ ...claims }, { ...header }, clock.now())
      // Of pushed parameters the library makes such a request itself.
      if (ctx.oidc.entities.PushedAuthorizationRequest === undefined) throw new errors.RequestNotSupported()
    },
    async answers(ctx, next) {
      await next()
      const { grant_type: grantType, auth_req_id: id } = ctx.oidc?.params ?? {}
      const body = ctx.body as Readonly<Record<string, unknown>> | undefined
      if (grantType !== ciba || typeof id !== 'string') return
      if (body?.['error'] !== 'authorization_pending' && body?.['error'] !== 'access_denied') return
      const request = await requests.get(id)
      const approval = request && (await approvals.of({ ...request, txn: newTxn() }, request.approval))
      if (approval === undefined) return
      const requestedApproval = infoRequest(approval)
      if (body['error'] === 'access_denied' && approval.state === 'denied' && approval.reason !== undefined)
        ctx.body = { ...body, reason: approval.reason }
      else if (requestedApproval !== undefined)
        ctx.body = {
          ...body,
          error_description: 'The person has a question first.',
          info_request: requestedApproval,
        }
    },
  }
}

/** What the table says no to, in the form of the endpoint; anything else is none of ours. */
function asOauth(ctx: KoaContextWithOIDC, error: unknown): unknown {
  if (!(error instanceof AppError)) return error
  switch (error.code) {
    case 'rate_limited':
      ctx.set(error.headers)
      return Object.assign(new errors.TemporarilyUnavailable(error.public), { status: 429, statusCode: 429 })
    // What was lent has ended since.
    case 'actor_unauthorized':
      return unknown()
    default:
      return error
  }
}
