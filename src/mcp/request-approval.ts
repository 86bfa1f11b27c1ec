import type { CallToolResult, McpServer } from '@modelcontextprotocol/server'
import {
  answerMax,
  approvalBody,
  approvalDetail,
  purposeMax,
  secondsLeast,
  secondsMost,
} from '@remit/contract/approval-schemas'
import { plain } from '@remit/contract/text'
import { z } from 'zod'
import type { Approval, Requester } from '../delegation/approvals/approval.ts'
import { approvalToWire, requesterOf } from '../delegation/approvals/approval.ts'
import type { Approvals } from '../delegation/approvals/approvals.ts'
import type { ResolveDetail } from '../delegation/approvals/resolve.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import type { Deadline } from '../retrieval/deadline.ts'
import { opensPages, sendTo } from './pages.ts'
import type { ToolContext } from './tool.ts'
import { addTool } from './tool.ts'

export interface ApprovalToolDeps {
  readonly approvals: Pick<Approvals, 'ask' | 'of' | 'wait' | 'answer'>
  readonly resolve: ResolveDetail
  readonly publicUrl: string
}

const input = z
  .strictObject({
    authorization_details: z
      .array(approvalDetail)
      .length(1)
      .optional()
      .describe('To ask: what `retrieve` offered, or what the error approval_required said, as it stands.'),
    purpose: plain(purposeMax)
      .optional()
      .describe('To ask: why, in your own words. The person sees them as yours.'),
    requested_expiry: z
      .int()
      .min(secondsLeast)
      .max(secondsMost)
      .default(300)
      .describe('Seconds to answer in.'),
    id: z
      .string()
      .regex(/^ap_[\w-]{1,100}$/)
      .optional()
      .describe('Instead of asking: the question whose state is wanted. Waits a few seconds for the person.'),
    answer: plain(answerMax).optional().describe('With id: your answer to what the person asked back.'),
  })
  .superRefine(({ authorization_details, purpose, id, answer }, context) => {
    const issue = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message })
    if ((authorization_details === undefined) === (id === undefined))
      issue('id', 'exactly one of authorization_details and id is needed')
    if (authorization_details !== undefined && purpose === undefined) issue('purpose', 'is needed to ask')
    if (answer !== undefined && id === undefined) issue('answer', 'goes with id')
  })

const output = z.strictObject({
  ...approvalBody.shape,
  url: z.string().describe('Where the person answers. Only they can, in their own browser.'),
  next: z.string().optional().describe('What to do now'),
})

const requestApprovalTool = {
  name: 'request_approval',
  title: 'Ask the person',
  description:
    'Asks the person you work for to agree to more than they lent you: to documents that a search could have found, or to one call with an account of theirs. They answer on their own page, not here; nothing you write decides it. `grant_id` of an approved answer is what the other tools take as `approval`. Ask once, and look again with `id`.',
  scopes: ['approvals.request'],
  input,
  output,
  annotations: { readOnlyHint: false, destructiveHint: false, idempotentHint: true, openWorldHint: false },
} as const

/**
 * `request_approval`: asks the person for more than was lent, and looks how that stands. It decides nothing.
 */
export function registerRequestApproval(
  server: McpServer,
  { approvals, resolve, publicUrl }: ApprovalToolDeps,
  toolContext: ToolContext,
): void {
  const pageOf = (id: string) => `${publicUrl}/approvals/${id}`

  async function readApproval(asker: Requester, id: string, deadline: Deadline): Promise<CallToolResult> {
    const found = await approvals.wait(asker, id, abortsBefore(deadline))
    if (found === undefined) throw new AppError('not_found')
    return approvalResult(found, pageOf(id))
  }

  addTool(server, toolContext, requestApprovalTool, async (parsed, { principal, deadline, context }) => {
    const asker = requesterOf(principal)
    // Back from the page; whatever the client says of it, the table says how it stands.
    const carried = context.mcpReq.requestState<string>()
    if (carried !== undefined) return readApproval(asker, carried, deadline)
    if (parsed.id !== undefined && parsed.answer === undefined)
      return readApproval(asker, parsed.id, deadline)
    if (parsed.id !== undefined)
      return approvalResult(await approvals.answer(asker, parsed.id, parsed.answer ?? ''), pageOf(parsed.id))
    const [detail] = parsed.authorization_details ?? []
    if (detail === undefined) throw invalid('authorization_details', 'Exactly one is needed.')
    const approval = await approvals.ask(asker, await resolve(principal, detail), {
      ...(parsed.purpose !== undefined && { purpose: parsed.purpose }),
      seconds: parsed.requested_expiry,
      front: 'rest',
    })
    const url = pageOf(approval.id)
    if (approval.state !== 'pending' || !opensPages(server)) return approvalResult(approval, url)
    const message =
      'An agent asks you to agree to something. What it is stands on this page, where you decide.'
    return sendTo({ url, message, carried: approval.id }, toolContext.state, context)
  })
}

const marginMs = 500

/** A little less than the call has. */
const abortsBefore = ({ signal, at: endsAt, now }: Deadline): AbortSignal =>
  AbortSignal.any([signal, AbortSignal.timeout(Math.max(0, endsAt - now() - marginMs))])

/**
 * A no is an error, so that no model reads it as an answer. What is open says how it goes on: a client that
 * opens no addresses has nobody but its model to send the person there.
 */
function approvalResult(approval: Approval, url: string): CallToolResult {
  const nextHint = nextStep(approval, url)
  const structuredContent = {
    ...approvalToWire(approval),
    url,
    ...(nextHint !== undefined && { next: nextHint }),
  }
  const isOver = approval.state === 'denied' || approval.state === 'expired'
  const content = [{ type: 'text' as const, text: JSON.stringify(structuredContent) }]
  return isOver ? { isError: true, content } : { structuredContent, content }
}

function nextStep({ id, state }: Approval, url: string): string | undefined {
  switch (state) {
    case 'pending':
      return `Give the person you work for this address: ${url}. When they have answered there, call request_approval with {"id":"${id}"}.`
    case 'info_requested':
      return `Answer their question: call request_approval with {"id":"${id}","answer":"…"}.`
    case 'approved':
    case 'denied':
    case 'expired':
      return undefined
  }
}
