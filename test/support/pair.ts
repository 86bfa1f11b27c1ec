import { randomBytes, randomUUID } from 'node:crypto'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import {
  type Exit,
  freshSettings,
  listens,
  type Running,
  remit,
  startService,
  startServiceOf,
} from '../e2e/process.ts'
import { administer } from './administer.ts'

/** Two processes of the real service on one native Postgres and one OpenFGA, with one issuer's keys. */
export interface Pair extends AsyncDisposable {
  /** Addresses of the two. */
  readonly urls: readonly [string, string]
  /** Addresses at which their operators ask. */
  readonly opsUrls: readonly [string, string]
  readonly publicUrl: string
  /** Of a superuser, past all proxies. */
  readonly databaseUrl: string
  readonly database: Database
  /** The keys of both. */
  readonly keysDir: string
  /**
   * By what `agent-app`, the client of the agent `research-bot`, proves itself: good once, within 290 s.
   * Proofs are told apart by it.
   */
  assertion(): Promise<string>
  /** Members of a form that comes from `agent-app`, by this assertion. */
  proven(assertion: string): Readonly<Record<string, string>>
  /** A form by which `agent-app` exchanges a token of a person for one of its own. */
  exchangeForm(assertion: string): Promise<URLSearchParams>
  /** A token of the issuer for the agent under a delegation of its own, and what there is to revoke of it. */
  agentToken(person?: string, scope?: string, resource?: 'api' | 'mcp'): Promise<AgentToken>
  /** A person's own token, without any agent, who signed in just now. */
  personToken(person: string, scope?: string): Promise<string>
  /** A person's token that is addressed to the agent, who may exchange it. */
  subjectToken(): Promise<string>
  /** A token of a service that is registered, by a client of its own. */
  serviceToken(service: string): Promise<string>
  /** Asks the second one to stop, as an orchestrator does, and waits until it has. */
  stopSecond(): Promise<Exit>
  /** Ends the second one as a crash does, and waits until it is gone; rejects when it had ended by itself. */
  killSecond(): Promise<void>
  /** Stops one of them as {@link stopSecond} does, and starts it from a checkout: this one, or `checkout`. */
  replace(which: 0 | 1, checkout?: string): Promise<void>
  /** The process that runs now in the place of the first or second, or ran last. */
  process(which: 0 | 1): Running
  /** Starts the first or second, which has ended; resolves once it is ready. */
  start(which: 0 | 1): Promise<void>
  /** A command of the first one's operator; its standard output. */
  command(...args: readonly string[]): Promise<string>
}

export interface AgentToken {
  readonly token: string
  readonly jti: string
  readonly grant: string
  readonly delegation: string
}

export interface PairOptions {
  /** Settings of both. */
  readonly env?: Readonly<Record<string, string>>
  /** What the first and the second one do: `REMIT_ROLE`. Default: both do everything. */
  readonly roles?: readonly [string, string]
  /** More settings of each, by the port of the second one. */
  readonly each?: (
    secondPort: string,
  ) => readonly [NonNullable<PairOptions['env']>, NonNullable<PairOptions['env']>]
  /** From which both start. Default: this one. */
  readonly checkout?: string
  readonly databaseUrl: string
  readonly openfga: { readonly url: string; readonly token: string }
  /** Ports of proxies through which the first and the second one reach that Postgres. Default: none. */
  readonly databasePorts?: readonly [number, number]
}

const agent = 'research-bot'

export async function openPair(options: PairOptions): Promise<Pair> {
  const {
    databaseUrl,
    openfga,
    roles,
    each,
    checkout: firstCheckout,
    databasePorts,
    env: more = {},
  } = options
  await using stack = new AsyncDisposableStack()
  const name = `remit_test_${randomBytes(6).toString('hex')}`
  const own = new URL(databaseUrl)
  own.pathname = `/${name}`
  await administer(databaseUrl, `create database ${name}`)
  stack.defer(() => administer(databaseUrl, `drop database if exists ${name} with (force)`))
  const [first, second] = [
    stack.use(await freshSettings(undefined)),
    stack.use(await freshSettings(undefined)),
  ]
  const common = {
    PUBLIC_URL: first.url,
    DATABASE_URL: own.href,
    OPENFGA_API_URL: openfga.url,
    OPENFGA_SECONDARY: 'none',
    OPENFGA_API_TOKEN: openfga.token,
    // Some other issuer has to be trusted outside the demo; nobody comes from this one.
    TRUSTED_ISSUERS: JSON.stringify([
      {
        issuer: 'http://127.0.0.1:9',
        audiences: { api: first.url, mcp: `${first.url}/mcp` },
        namespace: 'elsewhere',
        preset: 'generic',
      },
    ]),
    // The limits are for strangers; here they would be what is measured.
    RATE_PER_MINUTE: '1000000',
    ...more,
  }
  const apart = each?.(new URL(second.url).port)
  const ownOf = (of: 0 | 1) => ({
    ...(roles && { REMIT_ROLE: roles[of] }),
    ...(databasePorts && { DATABASE_URL: Object.assign(new URL(own), { port: databasePorts[of] }).href }),
    ...apart?.[of],
  })
  const env = { ...first.env, ...common, ...ownOf(0) }
  const settings = [env, { ...second.env, ...common, ...ownOf(1) }] as const
  const opsUrls = [first.opsUrl, second.opsUrl] as const
  const running: Running[] = []
  // One of its own: what is replaced later belongs to it too.
  const processes = stack.use(new AsyncDisposableStack())
  const startOne = async (which: 0 | 1, checkout = firstCheckout): Promise<void> => {
    if (processes.disposed) throw new Error('Both were stopped for good.')
    const started =
      checkout === undefined ? startService(settings[which]) : startServiceOf(checkout, settings[which])
    running[which] = processes.use(started)
    await ready(started, opsUrls[which])
  }
  const runningAt = (which: 0 | 1): Running => {
    const one = running[which]
    if (one === undefined) throw new Error('It was never started.')
    return one
  }
  await startOne(0)
  await cp(join(first.home, 'keys'), join(second.home, 'keys'), { recursive: true })
  await startOne(1)

  const command: Pair['command'] = async (...args) => {
    const { code, stdout, stderr } = await remit(args, env)
    if (code !== 0) throw new Error(`remit ${args.join(' ')}: ${stderr}`)
    return stdout
  }
  const database = stack.use(await openPostgres({ url: own.href, poolSize: 4 }))
  const key = (await openKeyRing(join(first.home, 'keys'), { now: Date.now })).current()
  const issuer = `${first.url}/oauth`
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  await database.query(
    `insert into agents (id, owner, title, purpose, issuer, sub) values ($1, 'user:anne', 'Bot', 'tests', $2, $1)`,
    [agent, issuer],
  )
  await database.query(
    `insert into clients (client_id, kind, agent, title, jwks) values ('agent-app', 'agent', $1, 'Bot', $2)`,
    [agent, { keys: [{ ...(await exportJWK(publicKey)), kid: 'app', alg: 'ES256', use: 'sig' }] }],
  )

  await database.query(`insert into clients (client_id, kind) values ('cli', 'person')`)

  const sign = (claims: JWTPayload, { sub, aud }: { readonly sub: string; readonly aud: string }) =>
    new SignJWT({ jti: `j_${randomUUID()}`, txn: `t_${randomUUID()}`, ...claims })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
      .setIssuer(issuer)
      .setSubject(sub)
      .setAudience(aud)
      .setIssuedAt()
      .setExpirationTime('290 s')
      .sign(key.privateKey)

  const subjectToken = () =>
    sign(
      { client_id: 'cli', scope: 'docs.search docs.read' },
      { sub: 'anne', aud: `${first.url}/agents/${agent}` },
    )
  const proven = (assertion: string) => ({
    client_id: 'agent-app',
    client_assertion: assertion,
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  })

  const owned = stack.move()
  return {
    urls: [first.url, second.url],
    opsUrls,
    publicUrl: first.url,
    databaseUrl: own.href,
    database,
    keysDir: join(first.home, 'keys'),
    assertion: () =>
      new SignJWT({ jti: randomUUID() })
        .setProtectedHeader({ alg: 'ES256', kid: 'app' })
        .setIssuer('agent-app')
        .setSubject('agent-app')
        .setAudience(issuer)
        .setIssuedAt()
        .setExpirationTime('290 s')
        .sign(privateKey),
    proven,
    exchangeForm: async (assertion) =>
      new URLSearchParams({
        ...proven(assertion),
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: await subjectToken(),
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        resource: first.url,
      }),
    stopSecond() {
      runningAt(1).kill('SIGTERM')
      return runningAt(1).exit
    },
    killSecond: () => runningAt(1).crash(),
    async replace(which, checkout) {
      runningAt(which).kill('SIGTERM')
      await runningAt(which).exit
      await startOne(which, checkout)
    },
    process: runningAt,
    start: startOne,
    command,
    async serviceToken(service) {
      const client = `${service}-app`
      await database.query(
        `insert into clients (client_id, kind, service) values ($1, 'service', $2) on conflict do nothing`,
        [client, service],
      )
      const claims = { client_id: client, scope: 'docs.write', sub_profile: 'service' }
      return sign(claims, { sub: client, aud: first.url })
    },
    subjectToken,
    personToken: (person, scope = 'docs.search docs.read') =>
      sign(
        { client_id: 'cli', scope, sub_profile: 'user', auth_time: Math.floor(Date.now() / 1_000) },
        { sub: person, aud: first.url },
      ),
    async agentToken(
      person = 'anne',
      scope = 'docs.search docs.read approvals.request',
      resource: 'api' | 'mcp' = 'api',
    ) {
      const [jti, grant, delegation] = [`j_${randomUUID()}`, `g_${randomUUID()}`, `d_${randomUUID()}`]
      await database.query(
        `insert into delegations (id, subject, agent, sub_agents, scope, purpose, standing, expires_at, state, created_at)
         values ($1, $2, $3, '{}', '{}', 'tests', false, now() + interval '1 hour', 'live', now())`,
        [delegation, `user:${person}`, agent],
      )
      const token = await sign(
        {
          client_id: 'agent-app',
          scope,
          sub_profile: 'user',
          act: { iss: issuer, sub: agent, sub_profile: 'ai_agent' },
          delegation,
          grant_id: grant,
          jti,
        },
        { sub: person, aud: resource === 'mcp' ? `${first.url}/mcp` : first.url },
      )
      return { token, jti, grant, delegation }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** What the service answers to the holder of a token, without asking OpenFGA. */
export async function statusOf(url: string, token: string): Promise<number> {
  const response = await fetch(`${url}/jobs/none`, { headers: { authorization: `Bearer ${token}` } })
  await response.arrayBuffer()
  return response.status
}

async function ready(service: Running, url: string): Promise<void> {
  await listens(service)
  const end = Date.now() + 60_000
  for (;;) {
    const response = await fetch(`${url}/readyz`).catch(() => undefined)
    await response?.arrayBuffer()
    if (response?.status === 200) return
    if (Date.now() > end) throw new Error(`${url} does not get ready.`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
