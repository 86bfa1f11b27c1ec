import type { Detail } from '../../src/index.ts'

/** A question that waits for a person, as the double's own person sees it. */
export interface AskedQuestion {
  readonly authReqId: string
  readonly client: string
  readonly hint: string
  readonly form: URLSearchParams
  readonly details: readonly Detail[]
  /** What the person did; undefined: nothing yet. */
  outcome:
    | { readonly approve: readonly Detail[]; readonly subject?: string }
    | { readonly deny: string | undefined }
    | { readonly ask: string }
    | 'expired'
    | undefined
  polls: number
}

export interface StartedSignIn {
  readonly deviceCode: string
  readonly userCode: string
  readonly client: string
  readonly resource: string
  readonly scope: string
  /** Who entered the code; undefined: nobody yet. */
  by: string | 'denied' | undefined
  polls: number
}

export interface FlowsDeps {
  mint(claims: Readonly<Record<string, unknown>>): Promise<string>
  /** Milliseconds between two polls at least; sooner is `slow_down`. */
  readonly intervalMs: () => number
  readonly now: () => number
}

const grants = {
  ciba: 'urn:openid:params:grant-type:ciba',
  device: 'urn:ietf:params:oauth:grant-type:device_code',
}

/** The flows in which a person takes part, for clients that proved themselves. */
export function createFlows({ mint, intervalMs, now }: FlowsDeps) {
  const questions: AskedQuestion[] = []
  const signIns: StartedSignIn[] = []
  const refreshes = new Map<string, { subject: string; client: string; resource: string; scope: string }>()
  const polledAt = new Map<string, number>()

  /** What people do at once, as soon as they are asked, or a sign-in has begun. */
  const people = {
    asked: (_question: AskedQuestion): void => undefined,
    signIn: (_started: StartedSignIn): void => undefined,
  }

  const refuse = (error: string, more: object = {}) => Response.json({ error, ...more }, { status: 400 })

  function isTooSoon(code: string): boolean {
    const before = polledAt.get(code)
    polledAt.set(code, now())
    return before !== undefined && now() - before < intervalMs()
  }

  async function tokenFor(
    {
      subject,
      client,
      resource,
      scope,
    }: { subject: string; client: string; resource: string; scope: string },
    more: object = {},
  ): Promise<Response> {
    const claims = { sub: subject, aud: resource, client_id: client, act: { sub: client } }
    const access_token = await mint(claims)
    return Response.json({ access_token, token_type: 'Bearer', expires_in: 300, scope, ...more })
  }

  function backchannel(form: URLSearchParams, client: string): Response {
    const question: AskedQuestion = {
      authReqId: `req_${crypto.randomUUID()}`,
      client,
      hint: form.get('login_hint') ?? '',
      form,
      details: JSON.parse(form.get('authorization_details') ?? '[]') as Detail[],
      outcome: undefined,
      polls: 0,
    }
    questions.push(question)
    people.asked(question)
    return Response.json({ auth_req_id: question.authReqId, expires_in: 300, interval: intervalMs() / 1_000 })
  }

  async function pollCiba(form: URLSearchParams, client: string): Promise<Response> {
    const question = questions.find(({ authReqId }) => authReqId === form.get('auth_req_id'))
    if (question === undefined || question.client !== client) return refuse('invalid_grant')
    question.polls += 1
    if (isTooSoon(question.authReqId)) return refuse('slow_down')
    const { outcome } = question
    if (outcome === undefined) return refuse('authorization_pending')
    if (outcome === 'expired') return refuse('expired_token')
    if ('deny' in outcome)
      return refuse('access_denied', outcome.deny === undefined ? {} : { reason: outcome.deny })
    if ('ask' in outcome)
      return refuse('authorization_pending', { info_request: { approval: 'ap_1', question: outcome.ask } })
    questions.splice(questions.indexOf(question), 1)
    return tokenFor(
      {
        subject: outcome.subject ?? question.hint,
        client,
        resource: question.form.get('resource') ?? '',
        scope: question.form.get('scope') ?? '',
      },
      { authorization_details: outcome.approve },
    )
  }

  function deviceStart(form: URLSearchParams, client: string): Response {
    const started: StartedSignIn = {
      deviceCode: `dc_${crypto.randomUUID()}`,
      userCode: crypto.randomUUID().slice(0, 8),
      client,
      resource: form.get('resource') ?? '',
      scope: form.get('scope') ?? '',
      by: undefined,
      polls: 0,
    }
    signIns.push(started)
    people.signIn(started)
    return Response.json({
      device_code: started.deviceCode,
      user_code: started.userCode,
      verification_uri: 'https://remit.test/oauth/device',
      expires_in: 600,
      interval: intervalMs() / 1_000,
    })
  }

  async function pollDevice(form: URLSearchParams, client: string): Promise<Response> {
    const started = signIns.find(({ deviceCode }) => deviceCode === form.get('device_code'))
    if (started === undefined || started.client !== client) return refuse('invalid_grant')
    started.polls += 1
    if (isTooSoon(started.deviceCode)) return refuse('slow_down')
    if (started.by === undefined) return refuse('authorization_pending')
    if (started.by === 'denied') return refuse('access_denied')
    signIns.splice(signIns.indexOf(started), 1)
    return withRefresh({ ...started, subject: started.by })
  }

  function withRefresh(what: { subject: string; client: string; resource: string; scope: string }) {
    const refresh_token = `rt_${crypto.randomUUID()}`
    refreshes.set(refresh_token, what)
    return tokenFor(what, { refresh_token })
  }

  /** A refresh token is good once, and for its own client. */
  async function refresh(form: URLSearchParams, client: string): Promise<Response> {
    const sent = form.get('refresh_token') ?? ''
    const what = refreshes.get(sent)
    refreshes.delete(sent)
    return what === undefined || what.client !== client ? refuse('invalid_grant') : withRefresh(what)
  }

  return {
    questions,
    signIns,
    people,
    /** What was signed in to is over: no refresh token counts any more. */
    endSignIns: () => refreshes.clear(),
    async answer(pathname: string, form: URLSearchParams, client: string): Promise<Response | undefined> {
      if (pathname === '/oauth/backchannel') return backchannel(form, client)
      if (pathname === '/oauth/device/auth') return deviceStart(form, client)
      const grant = form.get('grant_type')
      if (grant === grants.ciba) return pollCiba(form, client)
      if (grant === grants.device) return pollDevice(form, client)
      return grant === 'refresh_token' ? refresh(form, client) : undefined
    },
  }
}
