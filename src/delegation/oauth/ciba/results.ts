import type { AdapterPayload, Provider } from 'oidc-provider'
import { AppError } from '../../../kernel/errors.ts'
import { splitObject } from '../../../kernel/ids.ts'
import type { Runtime } from '../../../store/runtime.ts'
import type { Approval, DecidedIn } from '../../approvals/approval.ts'
import type { Approvals } from '../../approvals/approvals.ts'
import { type RequestedAccess, tokenSeconds } from '../../approvals/requested-access.ts'
import type { Delegation } from '../../lending/delegation.ts'
import type { Delegations } from '../../lending/delegations.ts'
import { atPages } from '../../people/sign-ins.ts'
import type { Agents } from '../../registry/agents.ts'
import { ownDetailType } from '../../registry/details.ts'
import { isOurs } from '../../registry/resources.ts'
import type { Consents } from '../consents.ts'
import type { BackchannelRequest, BackchannelRequests } from './requests.ts'

export interface ResultsDeps extends Pick<Runtime, 'seal' | 'clock' | 'publicUrl'> {
  readonly requests: BackchannelRequests
  readonly approvals: Pick<Approvals, 'of'>
  readonly delegations: Delegations
  readonly agents: Pick<Agents, 'get'>
  readonly grants: Consents
}

/** What the library's store says of one request, with what came of it. Undefined: as if it were unknown. */
export type ResultOf = (
  id: string,
  payload: AdapterPayload,
  provider: Provider,
) => Promise<AdapterPayload | undefined>

// From the yes on. Until it is fetched, nothing of it stands where the person could take it back: hours later
// they have forgotten it, or changed the password with which somebody else had said it.
const fetchMs = 600_000
// Longer than one poll is under way.
const overlapMs = 10_000

/**
 * What came of a request is said by the approvals table each time somebody polls, and is written nowhere
 * else: between a decision and its token there is nothing that a crash could leave undone. All that a yes
 * makes (the grant, its link, what is lent for another's API) has an id that follows from the approval, so
 * that it is made once, whoever polls, however often, with whichever of several auth_req_ids that stand for
 * the one question. Once that has ended, by the clock or by whom it is of, nothing more comes of the yes.
 */
export function createResults(deps: ResultsDeps): ResultOf {
  const { requests, approvals, seal, clock } = deps
  const seconds = (moment: Date) => Math.ceil(moment.getTime() / 1_000)

  return async (id, payload, provider) => {
    const request = await requests.get(id)
    // Nobody was asked: the process died before, and nobody was told this id.
    if (request === undefined) return overPayload(payload)
    const grantId = seal.hash('grant of approval', request.approval)
    // A replay ends this grant; nothing is made any more. But who asked twice at once is told nothing, and
    // ends nothing: the other poll's answer may still be on its way, and nobody but this client could have
    // come.
    const { consumed } = payload
    if (typeof consumed === 'number')
      return consumed * 1_000 + overlapMs > clock.now() ? undefined : { ...payload, grantId }
    const approval = await approvals.of({ ...request, txn: String(payload.jti) }, request.approval)
    if (approval === undefined || approval.state === 'expired') return overPayload(payload)
    const openPayload = { ...payload, exp: seconds(approval.expiresAt) }
    if (approval.state === 'denied') return { ...openPayload, ...denied(denialText(approval.reason)) }
    if (approval.state !== 'approved') return openPayload
    if (approval.decidedAt === undefined || approval.decidedAt.getTime() + fetchMs <= clock.now())
      return overPayload(payload)
    const grantMade = await grant({ request, approval, payload, grantId, provider }, deps)
    return grantMade === undefined
      ? { ...openPayload, ...denied('What was lent is over.') }
      : { ...openPayload, ...grantMade }
  }
}

/** Its end is when it began. */
const overPayload = (payload: AdapterPayload) => ({ ...payload, exp: payload.iat })

const denied = (errorDescription: string) => ({ error: 'access_denied', errorDescription })

interface Granting {
  readonly request: BackchannelRequest
  readonly approval: Approval
  readonly payload: AdapterPayload
  readonly grantId: string
  readonly provider: Provider
}

/** Undefined: what it rests on is over. */
async function grant(granting: Granting, deps: ResultsDeps): Promise<Partial<AdapterPayload> | undefined> {
  const { request, approval, payload, grantId, provider } = granting
  const answer = approval.answer ?? approval.asked
  const signIn = approval.decidedIn
  if (signIn === undefined) return undefined
  const liveDelegation = await lentBy(granting, answer, deps)
  if (liveDelegation === undefined) return undefined
  const { clock, grants } = deps
  const expiresAt = new Date(Math.min(clock.now() + tokenSeconds * 1_000, liveDelegation.expiresAt.getTime()))
  const person = splitObject(request.subject).id
  const resource = String(payload.resource)
  // What was answered to, never what the request named: a page showed the one.
  const scope = answer.scopes.join(' ')
  let consentEnd: Date
  try {
    consentEnd = await grants.save(
      {
        grantId,
        clientId: request.client,
        subject: person,
        delegation: liveDelegation.id,
        // What was lent before does not end with what came of one question.
        lends: liveDelegation.id !== request.delegation,
        ...signInOf(signIn),
        txn: approval.txn,
        expiresAt,
        approval: approval.id,
      },
      { resource, scope, txn: approval.txn },
    )
  } catch (error) {
    // The sign-in counts no more (whoever was revoked, or whose link ended, since they decided), or the
    // consent is over.
    if (error instanceof AppError && error.code === 'forbidden') return undefined
    throw error
  }
  // Made anew at each fetch, and never past what the person's list and their way back go by: the consent that
  // the first fetch made.
  const { Grant } = provider
  const grantMade = new Grant({
    jti: grantId,
    accountId: person,
    clientId: request.client,
    expiresIn: Math.max(1, Math.floor((consentEnd.getTime() - clock.now()) / 1_000)),
  } as never)
  if (scope !== '') grantMade.addResourceScope(resource, scope)
  grantMade.addOIDCScope('openid')
  const rar = detailsOf(approval, answer)
  for (const detail of rar) grantMade.addRar({ ...detail })
  await grantMade.save()
  return {
    grantId,
    amr: [...signIn.amr],
    authTime: Math.floor(signIn.signedInAt.getTime() / 1_000),
    // Said to whoever was not there to see it.
    claims: { id_token: { auth_time: { essential: true } } },
    ...(rar.length > 0 && { rar: [...rar] }),
  }
}

const signInOf = ({ signedInAt, amr, upstream }: DecidedIn) => ({ signedInAt, amr, upstream })

/** For our own APIs what was lent before; for another's what the yes itself lends, there alone. */
async function lentBy(
  { request, approval }: Granting,
  answer: RequestedAccess,
  { delegations, agents, seal, publicUrl }: ResultsDeps,
): Promise<Delegation | undefined> {
  const liveDelegation = await delegations.get(request.delegation)
  const stands = liveDelegation !== undefined && (await delegations.isLive(liveDelegation.id))
  if (!stands || answer.kind !== 'access' || isOurs(answer.resource, publicUrl))
    return stands ? liveDelegation : undefined
  const agent = await agents.get(request.agent)
  if (agent === undefined) return undefined
  try {
    return await delegations.lend(
      {
        id: `d_${seal.hash('delegation of approval', approval.id)}`,
        subject: request.subject,
        agent: agent.id,
        scope: [],
        resource: answer.resource,
        details: answer.details,
        purpose: agent.purpose,
        // The same whenever it is made, so that making it again after a crash finds it.
        expiresAt: new Date(approval.expiresAt.getTime() + tokenSeconds * 1_000),
      },
      atPages(splitObject(request.subject).id, approval.txn),
    )
  } catch (error) {
    // It was taken back since, or the agent was disabled.
    if (error instanceof AppError && (error.code === 'conflict' || error.code === 'invalid_request'))
      return undefined
    throw error
  }
}

function detailsOf({ grant: id }: Approval, answer: RequestedAccess): readonly { readonly type: string }[] {
  switch (answer.kind) {
    case 'documents':
      return [{ type: ownDetailType, ...(id !== undefined && { grant: id }) }]
    case 'vault_call':
      return [{ type: 'vault_call', ...(id !== undefined && { grant: id }) }]
    case 'access': {
      const { collections, details } = answer
      return [...(collections === undefined ? [] : [{ type: ownDetailType, collections }]), ...details]
    }
  }
}

// RFC 6749 §5.2: an error_description has no other characters. The person's own are in `reason`.
const describable = (text: string): string => text.replace(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, '?')

/** What a denial says to the program, with the person's reason as far as the form can hold it. */
const denialText = (reason: string | undefined): string =>
  reason === undefined || reason === '' ? 'The person refused.' : `The person refused: ${describable(reason)}`

/** Beside `authorization_pending`: what the person wants to know first, and where the answer goes. */
export function infoRequest({ id, state, rounds }: Approval): object | undefined {
  const question = rounds.at(-1)?.question
  if (state !== 'info_requested' || question === undefined) return undefined
  return { approval: id, question }
}
