import type { Approvals } from '../../../delegation/approvals/approvals.ts'
import type { Decision, Refusal } from '../../../delegation/approvals/decide.ts'
import type { ApprovalGrants } from '../../../delegation/approvals/grants.ts'
import type { OwnApproval, OwnApprovals } from '../../../delegation/approvals/own.ts'
import type { RequestedAccess } from '../../../delegation/approvals/requested-access.ts'
import { digestOf } from '../../../delegation/approvals/view.ts'
import type { Subscriptions } from '../../../delegation/notify/subscriptions.ts'
import { atPages } from '../../../delegation/people/sign-ins.ts'
import type { StepUp, StepUpRefusal } from '../../../delegation/people/step-up.ts'
import { isVerifiedNow } from '../../../delegation/people/user-verification.ts'
import { AppError, invalid } from '../../../kernel/errors.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import type { Log } from '../../../kernel/log.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import { type Fields, isForm, textOf, textsOf } from '../../middleware/form.ts'
import { createLimits } from '../../middleware/limits.ts'
import { isRecent, type RequireSession, toSignIn } from '../../middleware/session.ts'
import { approvalPage, noApprovalPage } from '../../pages/approval.ts'
import { type TriedAnswer, untouched } from '../../pages/approval-answers.ts'
import type { ApprovalsDone } from '../../pages/approvals.ts'
import { showPage } from '../../pages/show.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'
import { answerIn } from '../../sign-in/passkey.ts'
import { refusalWords } from './own-approvals-refusals.ts'

export interface OwnApprovalRoutesDeps {
  readonly own: OwnApprovals
  readonly approvals: Pick<Approvals, 'decide' | 'blocks'>
  readonly grants: Pick<ApprovalGrants, 'revoke'>
  readonly stepUp: StepUp
  /** By which browsers are told, and in how many somebody is. */
  readonly push: { readonly publicKey: string; readonly subscriptions: Pick<Subscriptions, 'count'> }
  readonly sessionCookie: OwnCookie
  readonly requireSession: RequireSession
  readonly publicUrl: string
  readonly log: Log
  /** Requests of one person. */
  readonly perMinute: number
  readonly now: () => number
}

/** Whoever is signed in, counted. */
export interface Approver {
  readonly person: string
  readonly subject: FgaObject
}

/** What the pages need beside what their routes do. */
export interface ApprovalPagesDeps extends OwnApprovalRoutesDeps {
  readonly approver: (c: AppContext) => Approver
  readonly find: (subject: FgaObject, id: string) => Promise<OwnApproval | undefined>
}

/** The pages of a person's approvals, and the routes of their forms. */
export interface ApprovalPages {
  /** The page of one question; the 404 of none for somebody else's. */
  show(c: AppContext): Promise<Response>
  readonly forms: App
}

interface Told {
  readonly status?: 200 | 401 | 409 | 422
  readonly tried?: TriedAnswer
  readonly problem?: string
}

// Each try is a signature to verify.
const passkeysPerMinute = 30

/** The page of one question, and the pages' forms, which can send neither JSON nor DELETE. */
export function createApprovalPages(dependencies: ApprovalPagesDeps): ApprovalPages {
  const { approvals, grants, stepUp, sessionCookie, requireSession, approver, find, log, now } = dependencies
  const limits = createLimits({ perMinute: passkeysPerMinute, now })
  const forms = createRouter()
  const { takeAway, write } = requireSession

  async function show(c: AppContext, { status = 200, tried: attempt = untouched, problem }: Told = {}) {
    const { subject } = approver(c)
    const session = c.get('session')
    const approval = await find(subject, c.req.param('id') ?? '')
    if (approval === undefined) return showPage(c, noApprovalPage(session), { status: 404 })
    const digest = digestOf(approval.shown)
    const isVerified = !approval.shown.takesVerification || isVerifiedNow(session, now())
    const page = approvalPage({
      ...session,
      approval,
      digest,
      triedAnswer: attempt,
      isStale: !isRecent(session.signedInAt, now()),
      stepUp: isVerified ? undefined : await stepUp.ask(session, matterOf(approval, digest)),
      now: now(),
      publicUrl: dependencies.publicUrl,
      isAsked: c.req.query('done') === 'asked',
      problem,
    })
    return showPage(c, page, { status, script: true })
  }

  /**
   * Verifies the person where the form brings what their passkey said; their session says so from then on.
   */
  async function verified(
    c: AppContext,
    proof: { readonly own: OwnApproval; readonly digest: string; readonly answer: unknown },
  ): Promise<StepUpRefusal | undefined> {
    const session = c.get('session')
    limits.take(session.subject)
    const result = await stepUp.answer(sessionCookie.read(c) ?? '', session, {
      matter: matterOf(proof.own, proof.digest),
      answer: answerIn(proof.answer),
      txn: c.get('txn'),
    })
    if (result.ok) {
      c.set('session', { ...session, ...result.value })
      return undefined
    }
    log('passkey_refused', { reason: result.reason, detail: result.detail })
    return result.reason
  }

  async function decide(c: AppContext): Promise<Response> {
    const { subject } = approver(c)
    const approvalId = c.req.param('id') ?? ''
    const approval = await find(subject, approvalId)
    if (approval === undefined) return show(c)
    const fields = await c.req.parseBody({ all: true })
    const recent = isRecent(c.get('session').signedInAt, now())
    if (fields['decision'] !== 'deny' && !recent) return toSignIn(c)
    const digest = textOf(fields['digest'])
    const attempt = answerFormOf(fields)
    const kind = approval.shown.asked.kind
    try {
      const decision = withoutUnverifiedReason(
        decisionIn(fields['decision'], attempt, { kind, now: now() }),
        recent,
      )
      if (decision.answer === 'approve' && textOf(fields['answer']) !== '') {
        const refusal = await verified(c, { own: approval, digest, answer: fields['answer'] })
        if (refusal !== undefined)
          return show(c, { status: 401, tried: attempt, problem: passkeyWords[refusal] ?? notAccepted })
      }
      const result = await approvals.decide(subject, approvalId, decision, {
        digest,
        session: c.get('session'),
      })
      if (!result.ok) return show(c, { ...refusals(result.reason, result.detail), tried: attempt })
      if (decision.answer === 'ask') return c.redirect(`/approvals/${approval.shown.id}?done=asked`, 303)
      const outcome = doneAs(decision)
      return back(c, outcome === 'denied' && attempt.reason !== '' && !recent ? 'denied_unsaid' : outcome)
    } catch (error) {
      if (!(error instanceof AppError) || (error.status !== 422 && error.status !== 409)) throw error
      return show(c, { status: error.status, tried: attempt, problem: error.public ?? 'That did not work.' })
    }
  }

  forms.post(
    '/approvals/:id/decision',
    // A program's JSON is the other route's.
    async (c, next) => (isForm(c) ? takeAway(c, next) : next()),
    async (c: AppContext, next) => (isForm(c) ? decide(c) : next()),
  )

  forms.post('/approvals/grants/:id/revoke', takeAway, async (c: AppContext) => {
    const { person, subject } = approver(c)
    // One that is over already, perhaps by a second press, is over.
    await grants.revoke(subject, c.req.param('id') ?? '', atPages(person, c.get('txn')))
    return back(c, 'taken_back')
  })

  forms.post('/approvals/blocks/lift', write, async (c: AppContext) => {
    const { person, subject } = approver(c)
    const { agent } = await c.req.parseBody()
    await approvals.blocks.lift(subject, textOf(agent), atPages(person, c.get('txn'), c.get('over')))
    return back(c, 'unblocked')
  })

  return { show: (c) => show(c), forms }
}

/** What a passkey's answer is for: this question as this page shows it. */
const matterOf = ({ shown: details }: OwnApproval, digest: string): string =>
  `approval ${details.id} ${digest}`

const back = (c: AppContext, outcome: ApprovalsDone): Response =>
  c.redirect(`/approvals?done=${outcome}`, 303)

const doneAs = (decision: {
  readonly answer: 'approve' | 'deny'
  readonly block?: boolean
}): ApprovalsDone => (decision.answer === 'approve' ? 'approved' : decision.block ? 'blocked' : 'denied')

const notAccepted = 'This passkey was not accepted. Nothing was decided.'
const passkeyWords: Partial<Readonly<Record<StepUpRefusal, string>>> = {
  unknown_challenge: 'That took too long, was sent twice, or something here has changed. Look again.',
  not_yours: 'That passkey is somebody else’s. Use one of yours.',
  too_young:
    'That passkey was added less than a day ago, without another one of yours: it cannot approve this yet.',
}

const notOffered: Readonly<Record<string, string>> = {
  documentIds: 'Tick at least one of the documents, or refuse.',
  until: 'It cannot last that long. Choose a shorter time.',
  remember: 'None of the documents that you ticked lies there. Choose another place.',
}

function refusals(reason: Refusal, detail: string | undefined): Told {
  const problem = (reason === 'not_offered' ? notOffered[detail ?? ''] : undefined) ?? refusalWords[reason]
  if (reason === 'needs_verification') return { status: 401, problem }
  return { status: reason === 'not_offered' || reason === 'not_plain' ? 422 : 409, problem }
}

/** The answer's form as it was filled in. */
const answerFormOf = (fields: Fields): TriedAnswer => {
  const extent = textOf(fields['extent'])
  return {
    documents: textOf(fields['decision']) === 'approve' ? textsOf(fields['document']) : undefined,
    extent: extent === '' ? 'once' : extent,
    seconds: textOf(fields[extent === 'while' ? 'while_seconds' : 'seconds']),
    place: textOf(fields['place']),
    rememberSeconds: textOf(fields['remember_seconds']),
    // A form's line may have been pasted with spaces around it.
    reason: textOf(fields['reason']).trim(),
    blocks: textOf(fields['block']) === 'yes',
    question: textOf(fields['question']).trim(),
  }
}

/**
 * What it says; the feature judges it. A form always names its documents: none ticked is none, not all of
 * them.
 */
function decisionIn(
  decision: unknown,
  attempt: TriedAnswer,
  { kind, now }: { readonly kind: RequestedAccess['kind']; readonly now: number },
): Decision {
  switch (decision) {
    case 'ask':
      return { answer: 'ask', question: attempt.question }
    case 'deny':
      return {
        answer: 'deny',
        block: attempt.blocks,
        ...(attempt.reason !== '' && { reason: attempt.reason }),
      }
    case 'approve':
      return { answer: 'approve', ...yesOf(attempt, { kind, now }) }
    default:
      throw invalid('decision', 'Approve, refuse or ask.')
  }
}

/**
 * Refusing takes no recent sign-in, but its words reach the agent with one alone: whoever stole a session
 * could else tell a program what to do.
 */
export const withoutUnverifiedReason = (decision: Decision, isRecent: boolean): Decision =>
  isRecent || decision.answer !== 'deny' ? decision : { answer: 'deny', block: decision.block ?? false }

function yesOf(
  { documents, extent, seconds, place: folder, rememberSeconds }: TriedAnswer,
  { kind, now }: { readonly kind: RequestedAccess['kind']; readonly now: number },
) {
  if (kind === 'access') return {}
  const documentIds = documents ?? []
  if (kind === 'vault_call') return { until: endOf(seconds, now) }
  switch (extent) {
    case 'once':
      return { documentIds, oneUse: true, until: endOf(seconds, now) }
    case 'while':
      return { documentIds, oneUse: false, until: endOf(seconds, now) }
    case 'remember':
      return { documentIds, remember: { object: folder as FgaObject, until: endOf(rememberSeconds, now) } }
    default:
      throw invalid('extent', 'Choose how far it goes.')
  }
}

function endOf(seconds: string, now: number): Date {
  if (!/^\d{1,8}$/.test(seconds)) throw invalid('seconds', 'Choose for how long.')
  return new Date(now + Number(seconds) * 1_000)
}
