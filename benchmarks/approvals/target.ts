import { randomBytes, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type JWTPayload, SignJWT } from 'jose'
import { operator } from '../../src/audit/record.ts'
import { createSessions } from '../../src/delegation/people/sessions.ts'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { createSeal } from '../../src/store/encryption.ts'
import { loadSecret } from '../../src/store/secret.ts'
import type { Database } from '../../src/store/sql.ts'
import { openPair, type Pair } from '../../test/support/pair.ts'
import { startService } from '../support/running.ts'

/** A service with one sensitive document that anne may read, agents of hers, and her own browser session. */
export interface Target extends AsyncDisposable {
  readonly name: string
  /** Where agents ask and wait, where the person decides: two processes, or twice the same one. */
  readonly agentUrl: string
  readonly personUrl: string
  /** A token of an agent under a delegation of the collection, as the built-in issuer gives it. */
  agentToken(agent: string, resource?: 'api' | 'mcp'): Promise<string>
  /** Headers of a person's browser on our pages, who was verified just now. Default: anne's. */
  browser(person?: string): Promise<Readonly<Record<string, string>>>
}

export const documentId = 'bench/plan'
export const agentsCount = 15

// Of twenty at once on a busy machine the last one waits: that it is answered late is not what is looked at.
const patient = { REQUEST_DEADLINE_MS: '60000' }

interface Parts {
  readonly publicUrl: string
  readonly personUrl: string
  /** Folder of the keys that every process has. */
  readonly keys: string
  readonly database: Database
  saveCollection(): Promise<unknown>
  saveService(): Promise<unknown>
}

export async function openPgliteTarget(modelFolder: string): Promise<Target> {
  const running = await startService({ modelFolder, env: patient })
  const { service, ground } = running
  const target = await targetOf('PGlite × engine, one process', {
    publicUrl: running.url,
    personUrl: running.url,
    keys: join(running.home, 'keys'),
    database: ground.database,
    saveCollection: () =>
      service.ingest.saveCollection(operator('t_bench'), {
        id: 'bench',
        title: 'Bench',
        publicAllowed: false,
      }),
    saveService: () => service.services.save({ name: 'loader', collections: ['bench'], prefixes: [] }),
  })
  return { ...target, [Symbol.asyncDispose]: () => running[Symbol.asyncDispose]() }
}

export async function openPairTarget(
  databaseUrl: string,
  openfga: { readonly url: string; readonly token: string },
): Promise<Target> {
  const pair = await openPair({ databaseUrl, openfga, env: patient })
  return { ...(await targetOn(pair)), [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose]() }
}

export const targetOn = (pair: Pair): Promise<Omit<Target, typeof Symbol.asyncDispose>> =>
  targetOf('Postgres × OpenFGA, two processes', {
    publicUrl: pair.publicUrl,
    personUrl: pair.urls[1],
    keys: pair.keysDir,
    database: pair.database,
    saveCollection: () => pair.command('collection', 'add', 'bench', '--title', 'Bench'),
    saveService: () => pair.command('service', 'add', 'loader', '--collection', 'bench'),
  })

async function targetOf(name: string, parts: Parts): Promise<Omit<Target, typeof Symbol.asyncDispose>> {
  const { publicUrl, personUrl, keys, database } = parts
  const issuer = `${publicUrl}/oauth`
  const clock = { now: Date.now }
  const key = (await openKeyRing(keys, clock)).current()
  const seal = createSeal(await loadSecret(keys, 'oauth.key'))
  const sign = (claims: JWTPayload, sub: string, aud = publicUrl) =>
    new SignJWT({
      jti: `j_${randomUUID()}`,
      grant_id: `g_${randomUUID()}`,
      txn: `t_${randomUUID()}`,
      ...claims,
    })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
      .setIssuer(issuer)
      .setSubject(sub)
      .setAudience(aud)
      .setIssuedAt()
      .setExpirationTime('290 s')
      .sign(key.privateKey)
  const sessions = createSessions({
    database,
    seal,
    signInValidity: { upstreamPerson: () => undefined, assertWithin: async () => undefined },
    clock,
    randomBytes,
    signInEnds: { atAuthorizationServer: async () => undefined },
  })
  async function browser(person = 'anne') {
    const id = await sessions.begin({ person, amr: ['swk'], verifiedAt: new Date() }, { txn: 't_bench' })
    return {
      cookie: `remit_session=${id}`,
      origin: publicUrl,
      'x-csrf-token': seal.hash('session csrf', id),
      'content-type': 'application/json',
    }
  }

  await parts.saveCollection()
  await parts.saveService()
  await database.query(
    `insert into clients (client_id, kind, service) values ('loader-app', 'service', 'loader')`,
  )
  const loader = await sign({ client_id: 'loader-app', scope: 'docs.write' }, 'loader-app')
  await asked(`${publicUrl}/documents/${encodeURIComponent(documentId)}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${loader}`, 'content-type': 'application/json', prefer: 'wait' },
    body: JSON.stringify({
      id: documentId,
      collection: 'bench',
      title: 'The plan',
      text: 'The plan of the board for the next year.',
      mime_type: 'text/markdown',
      access: { viewers: ['user:anne'], sensitive: true },
    }),
  })
  const delegations = new Map<string, string>()
  const own = await browser()
  for (let index = 0; index < agentsCount; index += 1) {
    const agent = `bench-bot-${index}`
    await database.query(
      `insert into agents (id, owner, title, purpose, issuer, sub) values ($1, 'user:anne', 'Bot', 'bench', $2, $1)`,
      [agent, issuer],
    )
    await database.query(
      `insert into clients (client_id, kind, agent, title) values ($1, 'agent', $2, 'Bot')`,
      [`${agent}-app`, agent],
    )
    const { delegation } = (await again(() =>
      asked(`${personUrl}/delegations`, {
        method: 'POST',
        headers: own,
        body: JSON.stringify({
          agent,
          scope: ['collection:bench'],
          expires_at: new Date(Date.now() + 3 * 3_600_000).toISOString(),
          purpose: 'bench',
        }),
      }),
    )) as { readonly delegation: { readonly id: string } }
    delegations.set(agent, delegation.id)
  }
  // Until every process’s replica has seen all of it: an offer begins there.
  await delay(2_000)
  return {
    name,
    agentUrl: publicUrl,
    personUrl,
    browser,
    agentToken: (agent, resource) =>
      sign(
        {
          client_id: `${agent}-app`,
          scope: 'docs.search docs.read approvals.request',
          sub_profile: 'user',
          act: { iss: issuer, sub: agent, sub_profile: 'ai_agent' },
          delegation: delegations.get(agent),
        },
        'anne',
        resource === 'mcp' ? `${publicUrl}/mcp` : publicUrl,
      ),
  }
}

/** One request; throws unless the answer is 2xx. */
export async function asked(url: string, init: RequestInit): Promise<unknown> {
  const response = await fetch(url, init)
  const text = await response.text()
  if (!response.ok)
    throw new Error(`${init.method ?? 'GET'} ${new URL(url).pathname}: ${response.status} ${text}`)
  return JSON.parse(text)
}

/** For what begins at a process's replica, which may be seconds behind. */
export async function again<T>(work: () => Promise<T>, tries = 5): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (tries === 1) throw error
    await delay(2_000)
    return again(work, tries - 1)
  }
}
