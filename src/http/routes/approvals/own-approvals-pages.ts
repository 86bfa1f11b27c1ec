import type { Refusal } from '../../../delegation/approvals/decide.ts'
import type { OwnApproval } from '../../../delegation/approvals/own.ts'
import { digestOf } from '../../../delegation/approvals/view.ts'
import { atPages } from '../../../delegation/people/sign-ins.ts'
import type { StepUpRefusal } from '../../../delegation/people/step-up.ts'
import { isVerifiedNow } from '../../../delegation/people/user-verification.ts'
import { AppError } from '../../../kernel/errors.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import { isForm } from '../../middleware/form.ts'
import { createLimits } from '../../middleware/limits.ts'
import { isRecent, toSignIn } from '../../middleware/session.ts'
import { approvalPage, noApprovalPage } from '../../pages/approval.ts'
import { type TriedAnswer, untouched } from '../../pages/approval-answers.ts'
import type { ApprovalsDone } from '../../pages/approvals.ts'
import { pageHeaders } from '../../pages/layout.ts'
import { answerIn } from '../../sign-in/passkey.ts'
import { text } from '../../sign-in/sign-in.ts'
import type { Approver, OwnApprovalRoutesDeps } from './own-approvals.ts'
import { answerFormOf, decisionIn, withoutUnverifiedReason } from './own-approvals-form.ts'
import { refusalWords } from './own-approvals-refusals.ts'

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
  const write = requireSession({ write: true })
  const takes = requireSession({ write: true, recent: false })

  async function show(c: AppContext, { status = 200, tried: attempt = untouched, problem }: Told = {}) {
    const { person, subject } = approver(c)
    const session = c.get('session')
    const approval = await find(subject, c.req.param('id') ?? '')
    const isNone = approval === undefined
    for (const [name, value] of Object.entries(pageHeaders([], { script: !isNone }))) c.header(name, value)
    if (isNone) return c.html(noApprovalPage({ ...session, person }), 404)
    const digest = digestOf(approval.shown)
    const isVerified = !approval.shown.takesVerification || isVerifiedNow(session, now())
    const page = approvalPage({
      approval,
      person,
      csrf: session.csrf,
      waiting: session.waiting,
      digest,
      triedAnswer: attempt,
      isStale: !isRecent(session.signedInAt, now()),
      stepUp: isVerified ? undefined : await stepUp.ask(session, matterOf(approval, digest)),
      now: now(),
      publicUrl: dependencies.publicUrl,
      isAsked: c.req.query('done') === 'asked',
      ...(problem !== undefined && { problem }),
    })
    return c.html(page, status)
  }

  /** Verifies the person where the form brings what their passkey said; their session says so from then on. */
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
    const digest = text(fields['digest'])
    const attempt = answerFormOf(fields)
    const kind = approval.shown.asked.kind
    try {
      const decision = withoutUnverifiedReason(
        decisionIn(fields['decision'], attempt, { kind, now: now() }),
        recent,
      )
      if (decision.answer === 'approve' && text(fields['answer']) !== '') {
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
    async (c, next) => (isForm(c) ? takes(c, next) : next()),
    async (c: AppContext, next) => (isForm(c) ? decide(c) : next()),
  )

  forms.post('/approvals/grants/:id/revoke', takes, async (c: AppContext) => {
    const { person, subject } = approver(c)
    // One that is over already, perhaps by a second press, is over.
    await grants.revoke(subject, c.req.param('id') ?? '', atPages(person, c.get('txn')))
    return back(c, 'taken_back')
  })

  forms.post('/approvals/blocks/lift', write, async (c: AppContext) => {
    const { person, subject } = approver(c)
    const { agent } = await c.req.parseBody()
    await approvals.blocks.lift(subject, text(agent), atPages(person, c.get('txn'), c.get('over')))
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
