import { type ApprovalPending, type PendingApproval, Unavailable } from '../errors/kinds.ts'
import { isRemitError } from '../errors/make.ts'
import { accessWith } from '../service/access.ts'
import { internalsOf, type Session, type SessionInternals } from '../service/session.ts'
import type { Detail } from '../shared/detail.ts'
import { keepLatest } from '../shared/keep-latest.ts'
import { approvalPendingOf, type Ciba, type CibaRequest, digestOf } from '../tokens/ciba.ts'
import type { AccessToken } from '../tokens/token.ts'
import type { Within } from '../tokens/within.ts'
import type { Tool, ToolCall, WrappedTool } from './tool.ts'

/** Settings of `withApproval`. */
export interface ApprovalOptions<Args> {
  /** The API that the tool calls: exact address, as it is registered. */
  readonly audience: string
  /** With one offer of documents `docs.search` alone, with one call to a third party `vault.use` alone. */
  readonly scopes?: readonly string[]
  /** What exactly the person is asked for, of this call's arguments. Default: the scopes alone. */
  readonly details?: (args: Args) => readonly Detail[]
  /**
   * What the person reads beside it, of this call's arguments: at most 128 characters of plain text on one
   * line. Their page tells them to refuse where the app did not show the same words.
   */
  readonly bindingMessage: (args: Args) => string
  /**
   * `interrupt` (default): asks, and throws `ApprovalPending`, whose `data.resume` the app stores; the call
   * that is given it goes on. `poll`: the same, but this process remembers: the same call again looks again.
   * `block`: waits.
   */
  readonly mode?: 'interrupt' | 'poll' | 'block'
  /** Seconds that the person has. Default: the issuer's. */
  readonly expirySeconds?: number
  /** What counts as less, where only the API knows it: 5 shares of 10. Default: the same, or plainly less. */
  readonly within?: Within
  /**
   * With `block`: called once the person was asked, so that the app can say so, with the words that it has to
   * show; also before an error ends the call. Not called where they said no to the same lately: that ends the
   * call at once.
   */
  readonly onPending?: (
    pending: ApprovalPending,
    session: Session,
    bindingMessage: string,
  ) => void | Promise<void>
  /**
   * With `block`: answers what the person asks back. Left out: their question ends the call, as
   * `ApprovalPending`.
   */
  readonly onQuestion?: (question: string, args: Args, session: Session) => string | Promise<string>
}

/**
 * A tool that asks its person first, on their own device (CIBA), for exactly what this call is about. The
 * tool runs only with a token that was granted for that: same person, same API, the details of these
 * arguments or less, which it finds in `access.details`. One answer is one call: it is not kept for the next.
 *
 * The wrapped tool throws: ApprovalPending; ApprovalDenied, so that a no is never a result; ApprovalExpired;
 * GrantedDiffers; WrongPerson; NoPerson.
 */
export function withApproval<Args, Result>(
  options: ApprovalOptions<Args>,
  tool: Tool<Args, Result>,
): WrappedTool<Args, Result> {
  const { mode = 'interrupt' } = options
  const lookAgain = createOpenQuestions()

  function requestOf(args: Args, session: Session, { signal }: ToolCall): CibaRequest {
    const { audience, scopes = [], details, bindingMessage, expirySeconds, within: containment } = options
    return {
      person: session.person,
      audience,
      scopes,
      details: details?.(args) ?? [],
      bindingMessage: bindingMessage(args),
      expirySeconds,
      within: containment,
      signal,
    }
  }

  async function approved(
    args: Args,
    session: Session,
    call: ToolCall,
    internals: SessionInternals,
  ): Promise<AccessToken> {
    const { ciba } = internals
    if (ciba === undefined) throw new TypeError('createRemit was given no ciba: nobody can be asked.')
    const request = requestOf(args, session, call)
    if (call.resume !== undefined && mode !== 'block') return ciba.poll(call.resume, request)
    switch (mode) {
      case 'interrupt':
        throw approvalPendingOf(await ciba.start(request))
      case 'poll':
        return lookAgain(ciba, request, internals.platform.now)
      case 'block': {
        const isResumed = call.resume !== undefined
        const started = call.resume ?? (await ciba.start(request))
        return waitFor({ ciba, started, isResumed, request, args, session, internals })
      }
    }
  }

  async function waitFor({
    ciba,
    started,
    isResumed,
    request,
    args,
    session,
    internals,
  }: Waiting<Args>): Promise<AccessToken> {
    const { platform } = internals
    let pending = started
    let answered: string | undefined
    let isTold = false
    async function tell(): Promise<void> {
      if (isTold) return
      isTold = true
      await options.onPending?.(approvalPendingOf(started), session, request.bindingMessage)
    }
    async function look(): Promise<AccessToken | ApprovalPending | Unavailable> {
      try {
        return await ciba.poll(pending, request)
      } catch (error) {
        // The person is still there, and the next look may get through.
        if (error instanceof Unavailable && platform.now() < pending.expiresAt) return error
        if (isRemitError(error, 'approval_pending')) return error
        // Their question may still stand: the app needs its words, and what to go on with.
        if (!isRemitError(error, 'approval_denied')) await tell()
        throw error
      }
    }
    if (isResumed) await tell()
    // The first look is at once: after a no, or where they block the agent, nobody was asked, and it is over.
    for (let waits = isResumed; ; waits = true) {
      if (waits) await platform.sleep(pending.interval * 1_000, request.signal)
      const found = await look()
      await tell()
      if (found instanceof Unavailable) continue
      if (!isRemitError(found, 'approval_pending')) return found
      pending = found.data.resume
      const { question } = found.data
      if (question === undefined || question.text === answered) continue
      if (options.onQuestion === undefined) throw found
      const { signal } = request
      await session.approvals.answer(
        question.approval,
        await options.onQuestion(question.text, args, session),
        { signal },
      )
      answered = question.text
    }
  }

  return async (args, session, call = {}) => {
    const internals = internalsOf(session)
    call.signal?.throwIfAborted()
    const token = await approved(args, session, call, internals)
    return await tool(args, accessWith(session.person, token, internals.platform), session, call)
  }
}

interface Waiting<Args> {
  readonly ciba: Ciba
  readonly started: PendingApproval
  /** Asked by an earlier call, which may have looked just now. */
  readonly isResumed: boolean
  readonly request: CibaRequest
  readonly args: Args
  readonly session: Session
  readonly internals: SessionInternals
}

interface Question {
  readonly pending: PendingApproval
  /** Milliseconds since the epoch: sooner the issuer would only slow it down. */
  readonly nextAt: number
}

const questionsMax = 10_000

/**
 * What people were asked for one tool and have not answered, in this process: 10,000 at most; the oldest goes
 * first. What it makes asks, or looks again where this person was asked for exactly this already; no two
 * looks at one question overlap. It throws ApprovalPending, and whatever `poll` throws, which ends the
 * question.
 */
function createOpenQuestions() {
  const questions = new Map<string, Question>()
  const turns = new Map<string, Promise<unknown>>()

  function hold(key: string, pending: PendingApproval, now: number): void {
    keepLatest(questions, key, { pending, nextAt: now + pending.interval * 1_000 }, questionsMax)
  }

  async function lookOnce(key: string, ciba: Ciba, request: CibaRequest, now: () => number) {
    const question = questions.get(key)
    if (question === undefined) {
      const pending = await ciba.start(request)
      hold(key, pending, now())
      throw approvalPendingOf(pending)
    }
    const { pending, nextAt } = question
    if (nextAt > now()) throw approvalPendingOf(pending)
    try {
      const token = await ciba.poll(pending, request)
      questions.delete(key)
      return token
    } catch (error) {
      if (isRemitError(error, 'approval_pending')) hold(key, error.data.resume, now())
      // No answer says nothing about the question; everything else ends it, so that the next call asks anew.
      else if (!(error instanceof Unavailable)) questions.delete(key)
      throw error
    }
  }

  return async (ciba: Ciba, request: CibaRequest, now: () => number): Promise<AccessToken> => {
    // The agent is part of it: its client, and the person is in the digest.
    const key = `${ciba.agent} ${await digestOf(request)}`
    const previousTurn = turns.get(key) ?? Promise.resolve()
    const looking = previousTurn.then(() => lookOnce(key, ciba, request, now))
    const turn = looking.then(
      () => undefined,
      () => undefined,
    )
    turns.set(key, turn)
    try {
      return await looking
    } finally {
      if (turns.get(key) === turn) turns.delete(key)
    }
  }
}
