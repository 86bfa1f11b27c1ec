import { type CryptoKey, decodeJwt, exportJWK, generateKeyPair, type JWK, jwtVerify, SignJWT } from 'jose'
import type { Person } from '../../src/index.ts'
import { createFlows } from './flows.ts'

export const url = 'https://remit.test'
export const issuer = `${url}/oauth`
/** An API of others, whose tokens the same issuer makes. */
export const broker = 'https://broker.test/api'

/** What went over the wire, as the other side saw it. */
export interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: Headers
  readonly body: string
}

export type Answering = (seen: Seen) => Promise<Response | undefined> | Response | undefined

export interface Double
  extends Pick<ReturnType<typeof createFlows>, 'questions' | 'signIns' | 'people' | 'endSignIns'> {
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>
  readonly seen: Seen[]
  /** Stands before everything else; undefined passes on. */
  before: Answering
  /** Milliseconds since the epoch. */
  now: () => number
  /** Milliseconds that every answer takes at most, at random. */
  delayMs: number
  /** `anne agent-a`: who has linked an account, for which agent. */
  readonly linked: Set<string>
  /** Milliseconds between two polls at least. */
  intervalMs: number
  readonly agents: Readonly<
    Record<'agent-a' | 'agent-b', { clientId: string; key: { privateKey: CryptoKey; kid: string } }>
  >
  /** A person who handed a token to this agent. */
  person(subject: string, agent: string): Person
  mint(claims: Readonly<Record<string, unknown>>): Promise<string>
  requests(path: string): readonly Seen[]
}

/**
 * The service as a client sees it, in memory: strict about what it is sent, and telling who it thinks is
 * asking. For what the real one does not do on demand; the real one is asked by test/client.
 */
export async function createDouble(): Promise<Double> {
  const signing = await generateKeyPair('ES256')
  const keys: Record<string, { privateKey: CryptoKey; kid: string; jwk: JWK }> = {}
  for (const id of ['agent-a', 'agent-b']) {
    const { privateKey, publicKey } = await generateKeyPair('ES256')
    keys[id] = { privateKey, kid: `${id}-key`, jwk: await exportJWK(publicKey) }
  }
  const assertions = new Set<string>()

  const flows = createFlows({
    mint: (claims) => double.mint(claims),
    intervalMs: () => double.intervalMs,
    now: () => double.now(),
  })
  const double: Double = {
    questions: flows.questions,
    signIns: flows.signIns,
    people: flows.people,
    endSignIns: flows.endSignIns,
    intervalMs: 1_000,
    linked: new Set(),
    seen: [],
    before: () => undefined,
    now: Date.now,
    delayMs: 0,
    agents: {
      'agent-a': { clientId: 'agent-a', key: keys['agent-a']! },
      'agent-b': { clientId: 'agent-b', key: keys['agent-b']! },
    },
    person: (subject, agent) => ({ subject, subjectToken: async () => `handed:${subject}:${agent}` }),
    mint(claims) {
      const iat = Math.floor(double.now() / 1_000)
      const all = { iss: issuer, aud: url, iat, exp: iat + 300, jti: crypto.randomUUID(), ...claims }
      return new SignJWT(all).setProtectedHeader({ alg: 'ES256', typ: 'at+jwt' }).sign(signing.privateKey)
    },
    requests: (path) => double.seen.filter((one) => new URL(one.url).pathname === path),
    async fetch(address, init) {
      init.signal?.throwIfAborted()
      const seen: Seen = {
        method: init.method ?? 'GET',
        url: address,
        headers: new Headers(init.headers),
        body: typeof init.body === 'string' ? init.body : '',
      }
      double.seen.push(seen)
      if (double.delayMs > 0)
        await new Promise((resolve) => setTimeout(resolve, Math.random() * double.delayMs))
      init.signal?.throwIfAborted()
      return (await double.before(seen)) ?? answer(seen)
    },
  }

  async function answer(seen: Seen): Promise<Response> {
    const { pathname } = new URL(seen.url)
    if (seen.url === broker || seen.url.startsWith(`${broker}/`)) return brokered(seen)
    if (pathname === '/.well-known/oauth-authorization-server/oauth')
      return Response.json({
        issuer,
        token_endpoint: `${issuer}/token`,
        device_authorization_endpoint: `${issuer}/device/auth`,
        backchannel_authentication_endpoint: `${issuer}/backchannel`,
      })
    if (pathname.startsWith('/oauth/')) return atIssuer(pathname, seen)
    if (pathname === '/retrieve') return retrieve(seen)
    if (pathname === '/vault/fetch') return vaulted(seen)
    return problem(404, 'not_found')
  }

  async function atIssuer(pathname: string, seen: Seen): Promise<Response> {
    const form = new URLSearchParams(seen.body)
    const client = await clientOf(form)
    if (client === undefined) return Response.json({ error: 'invalid_client' }, { status: 401 })
    return (await flows.answer(pathname, form, client)) ?? exchange(form, client, seen)
  }

  async function exchange(form: URLSearchParams, client: string, seen: Seen): Promise<Response> {
    const [word, subject, addressee] = (form.get('subject_token') ?? '').split(':')
    if (word !== 'handed' || subject === undefined || addressee !== client)
      return Response.json({ error: 'invalid_request', error_description: 'no such token' }, { status: 400 })
    const details = form.get('authorization_details')
    const claims = { sub: subject, aud: form.get('resource'), client_id: client, act: { sub: client } }
    return Response.json({
      access_token: await double.mint(claims),
      token_type: seen.headers.has('dpop') ? 'DPoP' : 'Bearer',
      expires_in: 300,
      scope: form.get('scope'),
      ...(details !== null && { authorization_details: JSON.parse(details) }),
    })
  }

  async function clientOf(form: URLSearchParams): Promise<string | undefined> {
    const key = keys[form.get('client_id') ?? '']
    if (key === undefined) return undefined
    const { payload } = await jwtVerify(form.get('client_assertion') ?? '', key.jwk, {
      audience: issuer,
      issuer: form.get('client_id') ?? '',
      currentDate: new Date(double.now()),
    })
    if (payload.jti === undefined || assertions.has(payload.jti)) return undefined
    assertions.add(payload.jti)
    return payload.sub
  }

  /** An API of others, which says for whom it was called, by which agent. */
  function brokered(seen: Seen): Response {
    const { sub, client_id, aud } = decodeJwt((seen.headers.get('authorization') ?? ' ').split(' ')[1] ?? '')
    if (aud !== broker) return problem(401, 'invalid_token')
    return Response.json({ for: sub, by: client_id, path: new URL(seen.url).pathname })
  }

  /** A third party's API, which says whose account was used, once that is linked for this agent. */
  function vaulted(seen: Seen): Response {
    const { sub, client_id } = decodeJwt((seen.headers.get('authorization') ?? ' ').split(' ')[1] ?? '')
    const { path } = JSON.parse(seen.body) as { readonly path: string }
    if (!double.linked.has(`${sub} ${client_id}`))
      return problem(409, 'connection_required', { connect_url: `${url}/connections/github?for=${sub}` })
    return Response.json(fromVault(JSON.stringify({ for: sub, by: client_id, path })))
  }

  /** Finds for everybody one passage, which says who asked. */
  function retrieve(seen: Seen): Response {
    const [, sent = ''] = (seen.headers.get('authorization') ?? '').split(' ')
    const { sub, client_id: agent } = decodeJwt(sent)
    const { query } = JSON.parse(seen.body) as { readonly query: string }
    return Response.json(found(`${sub} ${String(agent)} ${query}`))
  }

  return double
}

export const problem = (
  status: number,
  code: string,
  more: object = {},
  headers: Record<string, string> = {},
) =>
  new Response(
    JSON.stringify({ type: `${url}/docs/errors/${code}`, title: code, status, code, txn: 't_1', ...more }),
    {
      status,
      headers: { 'content-type': 'application/problem+json', ...headers },
    },
  )

/** An answer to a question, with one passage of this text. */
export const found = (text: string) => ({
  results: [
    {
      chunk_id: 'c_1',
      document_id: 'handbook/a',
      collection: 'handbook',
      title: 'A',
      uri: null,
      ordinal: 0,
      text,
      rank: 1,
      locator: { headings: ['A'], start: 0, end: text.length },
      provenance: { source: 'loader', updated_at: null },
    },
  ],
  complete: true,
  mode_used: 'hybrid',
  freshness: { index_lag_ms: 0, authorization_model_id: 'm' },
  scope_key: 's',
  txn: 't_1',
})

/** What a third party answered, as the vault tells it. */
export const fromVault = (body: string, status = 200) => ({
  status,
  headers: { 'content-type': 'application/json' },
  body,
  encoding: 'text',
  txn: 't_1',
})
