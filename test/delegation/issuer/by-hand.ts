import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import type { RequestAlgorithm } from '../../../src/delegation/registry/clients.ts'
import { type Answer, cibaGrant } from './asking.ts'
import type { IssuerWorld } from './world.ts'

/** A program whose requests are put together by hand, so that a test can get each part of them wrong. */
export interface Program {
  readonly id: string
  readonly kid: string
  readonly alg: string
  readonly key: CryptoKey
}

export interface Signing {
  /** Put in last; undefined removes a claim. */
  readonly claims?: Readonly<Record<string, unknown>>
  readonly header?: Readonly<Record<string, string>>
  /** Whose key; by default its own. */
  readonly by?: Pick<Program, 'key' | 'kid' | 'alg'>
  /** Seconds since the epoch. Default now. */
  readonly at?: number
}

export interface Said {
  readonly status: number
  readonly headers: Headers
  readonly body: Answer
}

const present = (members: object) =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))

export function byHand(world: IssuerWorld) {
  async function register(
    id: string,
    {
      alg = 'ES256',
      agent = 'research-bot',
      ...more
    }: {
      readonly alg?: string
      readonly agent?: string
      readonly requestAlgorithm?: RequestAlgorithm
      readonly notificationEndpoint?: string
    } = {},
  ): Promise<Program> {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
    const kid = `${id}-key`
    const jwk = { ...(await exportJWK(publicKey)), kid, alg } as JWK & { kty: 'EC' }
    await world.service.clients.register(
      { clientId: id, kind: 'agent', agent },
      { title: id, redirectUris: [], jwks: { keys: [jwk] }, ...more },
    )
    return { id, kid, alg, key: privateKey }
  }

  const sign = (all: object, { header = {}, by }: Signing, { key, kid, alg }: Program) =>
    new SignJWT(present(all))
      .setProtectedHeader({ alg: by?.alg ?? alg, kid: by?.kid ?? kid, ...header })
      .sign(by?.key ?? key)

  /** A signed authentication request (CIBA §7.1.1). */
  function request(program: Program, asked: object, signing: Signing = {}): Promise<string> {
    const at = signing.at ?? Math.floor(Date.now() / 1_000)
    const life = { iat: at, nbf: at, exp: at + 300, jti: crypto.randomUUID() }
    const all = { iss: program.id, aud: world.issuer, ...life, ...asked, ...signing.claims }
    return sign(all, signing, program)
  }

  /** The client's proof of who it is (RFC 7523). */
  function assertion(program: Program, signing: Signing = {}): Promise<string> {
    const iat = Math.floor(Date.now() / 1_000)
    const life = { iat, exp: iat + 60, jti: crypto.randomUUID() }
    const all = { iss: program.id, sub: program.id, aud: world.issuer, ...life, ...signing.claims }
    return sign(all, signing, program)
  }

  async function send(
    endpoint: string,
    form: Readonly<Record<string, string>>,
    more: Readonly<Record<string, string>> = {},
  ): Promise<Said> {
    const headers = { accept: 'application/json', ...more }
    const body = new URLSearchParams(form)
    const response = await fetch(`${world.issuer}${endpoint}`, { method: 'POST', body, headers })
    return { status: response.status, headers: response.headers, body: (await response.json()) as Answer }
  }

  /** As the form of whoever proves to be this program. */
  const as = async (program: Program, signing?: Signing) => ({
    client_id: program.id,
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: await assertion(program, signing),
  })

  return {
    register,
    request,
    send,
    as,
    ask: async (program: Program, asked: object, signing?: Signing) =>
      send('/backchannel', {
        request: await request(program, asked, signing),
        ...(await as(program)),
      }),
    poll: async (program: Program, id: unknown, headers?: Readonly<Record<string, string>>) =>
      send('/token', { grant_type: cibaGrant, auth_req_id: String(id), ...(await as(program)) }, headers),
  }
}
