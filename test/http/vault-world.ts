import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { createEnvelope } from '../../src/delegation/vault/envelope.ts'
import { createLocalKeys } from '../../src/delegation/vault/keys.ts'
import type { Rule } from '../../src/delegation/vault/provider.ts'
import { loadSecret } from '../../src/store/secret.ts'
import { decide } from '../support/approvals.ts'
import type { Backend } from '../support/backends.ts'
import { providerSecret, providerSecretVariable, startProvider } from '../support/provider.ts'
import { openWorld, type World, type WorldOptions } from '../support/world.ts'

export const readRules: readonly Rule[] = [
  { title: 'Read issues', methods: ['GET'], paths: ['/issues/**?state&q', '/echo/**?*'] },
]

export interface Answered {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  /** As it came, for what must not be in it. */
  readonly text: string
}

/**
 * The whole service with a provider that behaves as a test says, whose API is the only inside address it may
 * ask.
 */
export const openVaultWorld = (database: Backend['database'] = 'pglite', entry: object = {}) =>
  openVaultWorldOn(openWorld, database, entry)

/** The same around another world: one on a port, with people who can sign in. */
export async function openVaultWorldOn<W extends World>(
  open: (options: WorldOptions) => Promise<W>,
  database: Backend['database'] = 'pglite',
  entry: object = {},
) {
  await using stack = new AsyncDisposableStack()
  const double = stack.use(await startProvider())
  const world = stack.use(
    await open({
      backend: { database, openfga: 'engine' },
      env: {
        VAULT_PROVIDERS: JSON.stringify([double.entry(entry)]),
        [providerSecretVariable]: providerSecret,
        OUTBOUND_ALLOWED_ORIGINS: double.origin,
      },
    }),
  )
  const key = await loadSecret(join(world.config.home, 'keys'), 'vault.key')
  const envelope = createEnvelope(createLocalKeys([{ version: 'home', key }]))
  const delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  const token = await world.token({ user: 'anne', agent: 'research-bot' })

  /** As if this person had connected an account and agreed that the agent may do this there. */
  async function link({
    user = 'anne',
    agent = 'research-bot',
    rules = readRules,
    state = 'live',
    endsIn = 3_600,
  }: {
    user?: string
    agent?: string
    rules?: readonly Rule[]
    state?: string
    endsIn?: number
  } = {}) {
    const tokens = double.grant()
    const id = `c_${randomBytes(8).toString('hex')}`
    const subject = `user:${user}` as const
    const sealed = await envelope.seal({ connection: id, subject }, tokens)
    await world.database.query(
      `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed, wrapped_key,
         key_version, token_expires_at, refreshable, sealed_at, created_at)
       values ($1, $2, 'acme', $3, $1, 'An account', $4, '{openid}', $5, $6, $7, $8, true, now() - interval '1 hour', now())`,
      [
        id,
        subject,
        double.origin,
        state,
        sealed.jwe,
        sealed.key.bytes,
        sealed.key.version,
        new Date(Date.now() + endsIn * 1_000),
      ],
    )
    await world.database.query(
      `insert into connection_agents (connection, agent, client, rules, agreed_at) values ($1, $2, $3, $4, now())`,
      [id, agent, `demo-agent-${agent}`, JSON.stringify(rules)],
    )
    return { id, ...tokens }
  }

  async function send(
    path: string,
    body: unknown,
    options: { readonly as?: string; readonly headers?: Readonly<Record<string, string>> } = {},
  ): Promise<Answered> {
    const { as = token, headers = {} } = options
    const response = await world.call('POST', path, { token: as, body, headers })
    const text = await response.text()
    return { status: response.status, body: JSON.parse(text) as Answered['body'], text }
  }

  /** `POST /vault/fetch` for the account at `acme`. */
  const fetch = (call: object, options?: Parameters<typeof send>[2]) =>
    send('/vault/fetch', { connection: 'acme', ...call }, options)

  /** Asks anne for what a refusal told to ask for, and has her agree. Gives the grant's id. */
  async function approved(refused: Answered, as = token): Promise<string> {
    const { authorization_details } = refused.body
    const asked = await send('/approvals', { authorization_details, purpose: 'tests' }, { as })
    if (asked.status !== 201) throw new Error(asked.text)
    const grant = await decide(world.service, String(asked.body['id']), { answer: 'approve' })
    if (grant === undefined) throw new Error('It was not approved.')
    return grant
  }

  /** What is on record of calls, oldest first. */
  const recorded = () =>
    world.database.query<{ event: string; txn: string; detail: Readonly<Record<string, unknown>> }>(
      `select event, txn, detail from decision_records where event like 'vault_call%' order by record_no`,
    )

  /** Between two tests: nothing linked, nothing seen. */
  async function anew(): Promise<void> {
    await world.database.query('delete from connections')
    double.api = () => ({ body: '{"ok":true}' })
    double.mood = 'rotates'
  }

  const owned = stack.move()
  return {
    world,
    double,
    token,
    delegation,
    link,
    send,
    fetch,
    approved,
    recorded,
    anew,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

export type VaultWorld = Awaited<ReturnType<typeof openVaultWorld>>
