import { z } from '@hono/zod-openapi'
import { instant } from '@remit/contract/instant'
import { plain } from '@remit/contract/text'
import type { Block } from '../../../delegation/approvals/blocks.ts'
import { type Decision, textMax } from '../../../delegation/approvals/decide.ts'
import type { ListedApproval, OwnApproval, ShownGrant } from '../../../delegation/approvals/own.ts'
import type { RequestedAccess } from '../../../delegation/approvals/requested-access.ts'
import { digestOf } from '../../../delegation/approvals/view.ts'
import type { ShownCall } from '../../../delegation/vault/own-connections.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import { answerOf, objectOf } from '../../schemas.ts'

/** What the person's own browser is told of approvals, and what it sends. */

const state = z.enum(['pending', 'info_requested', 'approved', 'denied', 'expired'])
const moment = z.iso.datetime()
const kind = z.enum(['documents', 'vault_call', 'access'])

const summary = objectOf('OwnApprovalSummary', {
  id: z.string(),
  state,
  kind,
  agent: z.string(),
  agent_title: z.string(),
  created_at: moment,
  expires_at: moment,
})

const grant = objectOf('OwnGrant', {
  id: z.string(),
  approval: z.string(),
  agent: z.string(),
  agent_title: z.string(),
  objects: z.array(
    z.strictObject({
      object: z.string(),
      title: z.string().optional().openapi({ description: 'Left out where you may not read it now.' }),
    }),
  ),
  vault_call: z.boolean(),
  remembered: z.boolean().openapi({ description: 'Documents that come later are included.' }),
  uses_left: z.int().optional().openapi({ description: 'Left out: as often as wanted.' }),
  until: moment,
})

/** `GET /approvals`, for the person. */
export const listSchema = answerOf('OwnApprovalList', {
  open: z.array(summary),
  recent: z.array(summary).openapi({ description: 'Decided or over, of the last 7 days' }),
  grants: z.array(grant).openapi({ description: 'What you agreed to and what counts now' }),
  blocked: z.array(z.strictObject({ agent: z.string(), agent_title: z.string(), since: moment })),
})

const askedSchema = z.looseObject({ kind }).openapi({
  description:
    '`scopes`: of the token that a yes gives, for five minutes; none where it gives none. `vault_call`: `{provider, provider_title, host, account?, method, path, content_type?, body_digest?, body?}`. `access`: `{resource, authorization_details, collections?}`.',
})

const ownSchema = objectOf('OwnApproval', {
  ...summary.shape,
  client: z.string(),
  client_title: z.string().optional(),
  asked: askedSchema,
  purpose: z.string().optional().openapi({ description: 'The agent’s own words. Untrusted.' }),
  binding_message: z.string().optional().openapi({ description: 'The agent’s own words. Untrusted.' }),
  rounds: z.array(
    z.strictObject({
      question: z.string(),
      asked_at: moment,
      answer: z.string().optional().openapi({ description: 'The agent’s own words. Untrusted.' }),
      answered_at: moment.optional(),
    }),
  ),
  documents: z
    .array(
      z.strictObject({
        id: z.string(),
        title: z.string(),
        collection: z.string(),
        owner: z.string().optional(),
        sensitive: z.boolean(),
      }),
    )
    .openapi({ description: 'Those that you may read and have lent to this agent, now' }),
  places: z
    .array(z.strictObject({ object: z.string(), title: z.string(), document_ids: z.array(z.string()) }))
    .openapi({ description: 'For which a yes may be remembered' }),
  lent_for: z.string(),
  lent_until: moment,
  reason: z.string().optional(),
  grant_id: z.string().optional(),
  digest: z.string().openapi({ description: 'Of all this: whoever decides sends it back' }),
})

/** `GET /approvals/{id}`, for the person. */
export const oneSchema = answerOf('OwnApprovalAnswer', { approval: ownSchema })

const digest = z.string().max(100).openapi({ description: 'Of what was looked at, as GET gave it' })
const object = z.custom<FgaObject>(
  (value) => typeof value === 'string' && /^(folder|collection):./.test(value) && value.length <= 300,
  'must be folder:ID or collection:ID',
)

/** Body of `POST /approvals/{id}/decision`. */
export const decisionSchema = z
  .discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('approve'),
      digest,
      documents: z
        .array(z.string().max(200))
        .max(100)
        .optional()
        .openapi({ description: 'Of those that are shown. Left out: all of them' }),
      until: instant
        .optional()
        .openapi({ description: 'At most 24 hours from now. Left out: in 15 minutes' }),
      one_use: z.boolean().optional().openapi({
        description: 'One answer to the very question that was asked. Default true, unless remembered',
      }),
      remember: z
        .strictObject({
          object: object.openapi({ type: 'string', description: 'Of `places`' }),
          until: instant.describe('At most 30 days from now'),
        })
        .optional()
        .openapi({ description: 'This agent need not ask for what lies there, later documents included' }),
    }),
    z.strictObject({
      decision: z.literal('deny'),
      digest,
      reason: plain(textMax).optional().openapi({
        description: 'Told to the agent, where the sign-in is of the last 15 minutes; else left out',
      }),
      block: z
        .boolean()
        .optional()
        .openapi({ description: 'Whatever this agent asks from now on is denied' }),
    }),
    z.strictObject({ decision: z.literal('ask'), digest, question: plain(textMax) }),
  ])
  .openapi('ApprovalDecision')

/** Answer to `DELETE /approvals/grants/{id}`. */
export const grantEnded = answerOf('OwnGrantEnded', { id: z.string() })

/** Answer to `DELETE /approvals/blocks/{id}`. */
export const blockLifted = answerOf('BlockLifted', { agent: z.string() })

/** A sent decision as the feature takes it. Whether it may be taken is not checked here. */
export function decisionOf(sent: z.output<typeof decisionSchema>): Decision {
  switch (sent.decision) {
    case 'ask':
      return { answer: 'ask', question: sent.question }
    case 'deny':
      return {
        answer: 'deny',
        ...(sent.reason !== undefined && { reason: sent.reason }),
        ...(sent.block !== undefined && { block: sent.block }),
      }
    case 'approve':
      return {
        answer: 'approve',
        ...(sent.documents !== undefined && { documentIds: sent.documents }),
        ...(sent.until !== undefined && { until: new Date(sent.until) }),
        ...(sent.one_use !== undefined && { oneUse: sent.one_use }),
        ...(sent.remember !== undefined && {
          remember: { object: sent.remember.object, until: new Date(sent.remember.until) },
        }),
      }
  }
}

/** One line of the list. */
export const summaryToWire = (approval: ListedApproval): z.output<typeof summary> => ({
  id: approval.id,
  state: approval.state,
  kind: approval.asked.kind,
  agent: approval.agent,
  agent_title: approval.agentTitle,
  created_at: approval.createdAt.toISOString(),
  expires_at: approval.expiresAt.toISOString(),
})

/** One question in full, with the digest of what the person sees. */
export const ownToWire = ({
  shown: details,
  call,
}: Pick<OwnApproval, 'shown' | 'call'>): z.output<typeof ownSchema> => ({
  ...summaryToWire(details),
  client: details.client,
  client_title: details.clientTitle,
  asked: askedToWire(details.asked, call),
  purpose: details.purpose,
  binding_message: details.bindingMessage,
  rounds: details.rounds.map(({ question, askedAt, answer, answeredAt }) => ({
    question,
    asked_at: askedAt.toISOString(),
    answer,
    answered_at: answeredAt?.toISOString(),
  })),
  documents: details.documents.map(({ id, title, collection, owner, isSensitive }) => ({
    id,
    title,
    collection,
    owner,
    sensitive: isSensitive,
  })),
  places: details.places.map(({ object: folder, title, documentIds }) => ({
    object: folder,
    title,
    document_ids: [...documentIds],
  })),
  lent_for: details.lentFor,
  lent_until: details.lentUntil.toISOString(),
  reason: details.reason,
  grant_id: details.grant,
  digest: digestOf(details),
})

function askedToWire(question: RequestedAccess, call: ShownCall | undefined): z.output<typeof askedSchema> {
  const scopes = [...question.scopes]
  switch (question.kind) {
    case 'documents':
      return { kind: question.kind, scopes }
    case 'vault_call':
      return {
        kind: question.kind,
        scopes,
        provider: question.provider,
        ...(call && { provider_title: call.providerTitle, host: call.host, account: call.account }),
        method: question.call.method,
        path: question.call.path,
        ...(question.call.contentType !== undefined && { content_type: question.call.contentType }),
        ...(question.call.bodyDigest !== undefined && { body_digest: question.call.bodyDigest }),
        ...(question.body !== undefined && { body: question.body }),
      }
    case 'access':
      return {
        kind: question.kind,
        resource: question.resource,
        scopes,
        authorization_details: question.details.map((detail) => ({ ...detail })),
        ...(question.collections !== undefined && { collections: [...question.collections] }),
      }
  }
}

/** What the person agreed to, as JSON. */
export const grantToWire = (shownGrant: ShownGrant): z.output<typeof grant> => ({
  id: shownGrant.id,
  approval: shownGrant.approval,
  agent: shownGrant.agent,
  agent_title: shownGrant.agentTitle,
  objects: shownGrant.items.map(({ object: id, title }) => ({ object: id, title })),
  vault_call: shownGrant.vaultCall !== undefined,
  remembered: shownGrant.remembered,
  ...(shownGrant.maxUses !== undefined && { uses_left: shownGrant.maxUses - shownGrant.used }),
  until: shownGrant.until.toISOString(),
})

/** An agent that may not ask, as JSON. */
export const blockToWire = ({ agent, agentTitle, since: blockedSince }: Block) => ({
  agent,
  agent_title: agentTitle,
  since: blockedSince.toISOString(),
})
