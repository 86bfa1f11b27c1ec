import { createECDH, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { errorCodes } from '@remit/contract/errors'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { operator } from '../../src/audit/record.ts'
import { principal } from '../http/principal.ts'
import fc from '../support/properties.ts'
import { openWorld, type World } from '../support/world.ts'
import {
  type Body,
  type HostileRequest,
  hostileRequests,
  type OpenApiDocument,
  rightRequests,
} from './openapi-arbitrary.ts'

// The same seed makes the same requests: FUZZ_SEED=… npx vitest run test/security/hostile-requests.test.ts
const runs = Number(process.env['FUZZ_RUNS'] ?? 800)

let world: World
let planId = ''
let offer = ''
const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const tokens: Record<string, string | undefined> = { nobody: undefined, forged: 'a.b.c', browser: undefined }
/** What a page of ours would send in a signed-in browser. */
let browser: Readonly<Record<string, string>> = {}

/** Values of this world, by the names of the contract's members. */
const byName = {
  id: ['handbook/travel', 'handbook/new', 'handbook/other', 'finance/budget', 'handbook'],
  collection: ['handbook', 'handbook', 'finance'],
  collections: ['handbook', 'finance', 'nowhere'],
  query: ['travel', 'budget', 'travel budget', "what's the budget?"],
  title: ['Travel', 'Budget'],
  text: ['The travel budget.', '# Head\n\nText.'],
  content_base64: ['eA=='],
  mime_type: ['text/markdown', 'text/plain', 'application/json', 'text/html', 'application/pdf'],
  uri: ['https://x.test/'],
  approval: ['g_a'],
  owner: ['user:anne'],
  viewers: ['user:anne', 'user:bob', 'group:staff#member', 'user:*'],
  parents: ['collection:handbook', 'folder:handbook/f'],
  blocked: ['user:bob', 'group:staff#member'],
  writers: ['service:loader'],
  taggers: ['service:loader'],
  organization: ['acme'],
  user: ['user:anne', 'user:bob', 'group:staff#member', 'folder:handbook/f', 'user:*', 'collection:handbook'],
  relation: [
    'viewer',
    'parent',
    'blocked',
    'owner',
    'sensitive',
    'filed_in',
    'member',
    'presented',
    'acting_for',
  ],
  object: [
    'document:handbook/travel',
    'folder:handbook/f',
    'collection:handbook',
    'group:staff',
    'agent:research-bot',
  ],
  name: ['until'],
  agent: ['research-bot', 'other-bot', 'agent:research-bot', 'agent:research-bot'],
  subject: ['user:anne', 'user:bob'],
  document: ['handbook/travel'],
  txn: ['txn-1'],
  client: ['agent-app'],
  host: ['assistant.example'],
  // Of `GET /documents`, which needs it.
  state: ['failed'],
  key: ['year', 'topic', 'day', 'open', 'expires_at'],
  value: ['travel', '2026-01-01'],
}

// The person's side of what agents ask; the other half is the agents'.
const isOwn = (operation: string): boolean =>
  /^(get \/approvals|delete \/approvals\/.*|post \/approvals\/(push.*|.*\/decision))$/.test(operation)

const callers = (operation: string): readonly string[] => {
  if (isOwn(operation)) return ['browser']
  if (/ \/(approvals|vault)/.test(operation)) return ['agent']
  if (/^get \/(documents|jobs)$/.test(operation)) return ['service', 'administrator']
  if (/^(post \/retrieve|get \/(documents|collections))/.test(operation)) return ['person', 'agent']
  if (/ \/(delegations|connections)/.test(operation)) return ['browser']
  if (
    /^((get|put) \/fields|put \/collections|post \/(explain|memberships|view-as|what-if|who-can))|\/(model|agents|hosts|activity|audit|sources)/.test(
      operation,
    )
  )
    return ['administrator']
  return operation === 'post /access' ? ['administrator', 'service'] : ['service']
}

const agent = {
  owner: 'user:dan',
  title: 'New',
  purpose: 'tests',
  scopes: ['docs.search'],
  collections: null,
}
const endpoint = 'https://push.test/1'
const browserKey = createECDH('prime256v1')
const keys = {
  p256dh: browserKey.generateKeys('base64url'),
  auth: randomBytes(16).toString('base64url'),
}
const truthTable = `model_file: ./model.fga
tests:
  - name: nothing is stored
    check:
      - user: user:anne
        object: document:handbook/travel
        assertions: { can_read: false }
`
const inAnHour = new Date(Date.now() + 3_600_000).toISOString()

const repair = (
  operation: string,
  { id: _, content_base64: __, embedding: ___, approval: ____, ...body }: Body,
): Body => {
  switch (operation) {
    case 'post /retrieve':
      return { query: 'travel', ...body, filter: {} }
    case 'put /documents/{id}':
      return {
        text: 'The travel budget.',
        ...body,
        collection: 'handbook',
        metadata: {},
        access: { viewers: ['user:anne'] },
      }
    case 'post /explain':
      return { user: 'user:anne', relation: 'can_read', object: 'document:handbook/travel' }
    case 'post /memberships':
    case 'post /view-as':
      return { user: 'user:anne' }
    case 'post /who-can':
      return { relation: 'can_read', object: 'document:handbook/travel' }
    case 'post /what-if':
      return { deletes: [{ user: 'user:anne', relation: 'viewer', object: 'document:handbook/travel' }] }
    case 'post /model/plan':
    case 'post /model/check':
      return { model: dsl }
    case 'post /model/test':
      return { model: dsl, tests: truthTable }
    case 'post /model/apply':
      return { plan_id: planId }
    case 'post /agents':
      return { ...agent, id: 'new-bot' }
    case 'post /sources':
      return {
        id: 'files',
        kind: 'folder',
        settings: { folder: '/srv/files', access: {} },
        collections: ['sourced'],
      }
    case 'post /sources/{id}':
      return { action: 'pause' }
    case 'post /sources/{id}/people':
      return { action: 'propose', people: [{ account: '7', subject: 'user:anne' }] }
    case 'post /approvals':
      return { authorization_details: [{ type: 'document_access', offer }], purpose: 'tests' }
    case 'post /approvals/{id}/decision':
      return { decision: 'deny', digest: 'none' }
    case 'post /approvals/push':
      return { endpoint, keys }
    case 'post /approvals/push/seen':
    case 'post /approvals/push/end':
      return { endpoint }
    case 'post /delegations':
      return { agent: 'research-bot', scope: ['collection:handbook'], expires_at: inAnHour, purpose: 'tests' }
    case 'post /access':
      return { writes: [{ user: 'user:bob', relation: 'viewer', object: 'collection:handbook' }] }
    default:
      return body
  }
}

beforeAll(async () => {
  world = await openWorld({
    env: { REQUEST_DEADLINE_MS: '60000', SOURCE_ORIGINS: 'file:///srv/files' },
  })
  await world.service.ingest.saveCollection(operator('test'), { id: 'sourced', title: 'Sourced' })
  await world.service.ingest.saveFields(operator('test'), {
    year: 'number',
    topic: 'string',
    day: 'date',
    open: 'boolean',
  })
  await world.put({
    'handbook/travel': { text: 'The travel budget.', access: { viewers: ['user:anne', 'user:dan'] } },
    // Named by no request, so that anne can lend the handbook whatever becomes of the others.
    'handbook/kept': { text: 'Hours.', access: { viewers: ['user:anne'] } },
  })
  await world.service.administrators.add('user:dan', ['security.read', 'security.write', 'agents.write'])
  const delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  offer = (await offered(delegation)) ?? ''
  tokens['person'] = await world.token({ user: 'anne' })
  tokens['administrator'] = await world.token({ user: 'dan' })
  tokens['agent'] = await world.token({ user: 'anne', agent: 'research-bot' })
  tokens['service'] = await world.token({ service: 'loader' })
  browser = await signedIn('anne')
  const planned = await world.call('POST', '/model/plan', {
    token: tokens['administrator'] ?? '',
    body: { model: dsl },
  })
  planId = ((await planned.json()) as { plan: { plan_id: string } }).plan.plan_id
})

/** As an answer to a question of the agent brings it. */
const offered = (delegation: string): Promise<string | undefined> =>
  world.database.transaction((sql) =>
    world.service.grants.offers.makeWithin(
      sql,
      {
        ...principal,
        kind: 'agent',
        actors: ['agent:research-bot'],
        scopes: new Set(['approvals.request']),
        delegation,
      },
      { queryHmac: 'x', documentIds: ['handbook/travel'] },
    ),
  )

async function signedIn(user: string): Promise<Readonly<Record<string, string>>> {
  await world.service.issuer.passwords.set(user, 'correct horse battery')
  const origin = world.config.publicUrl
  const page = await world.call('GET', '/sign-in')
  const csrf = /name="csrf" value="([^"]+)"/.exec(await page.text())?.[1] ?? ''
  const answer = await world.call('POST', '/sign-in', {
    body: String(new URLSearchParams({ user, password: 'correct horse battery', csrf })),
    headers: {
      cookie: page.headers.get('set-cookie')?.split(';')[0] ?? '',
      origin,
      'content-type': 'application/x-www-form-urlencoded',
    },
  })
  const cookie = answer.headers.getSetCookie()[0]?.split(';')[0] ?? ''
  const listed = await world.call('GET', '/delegations', { headers: { cookie } })
  return { cookie, origin, 'x-csrf-token': listed.headers.get('x-csrf-token') ?? '' }
}
afterAll(() => world?.[Symbol.asyncDispose]())

async function send({ method, path, headers, body, as }: HostileRequest) {
  const token = tokens[as]
  const response = await world.service.app.request(
    new Request(`${world.config.publicUrl}${path}`, {
      method,
      headers: {
        ...headers,
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(as === 'browser' && browser),
      },
      ...(body !== undefined && { body }),
    }),
  )
  return {
    status: response.status,
    type: response.headers.get('content-type') ?? '',
    text: await response.text(),
  }
}

/** Past the token, the scope and the schema: done, or refused for want of the object alone. */
const doneBy = (operation: string): RegExp =>
  /^((get|delete) .*|post \/sources\/)\{id\}|(access|people|retry|disable|answers|decision|connect|vault\/fetch)$/.test(
    operation,
  ) && !operation.endsWith(' /access')
    ? / (20[02]|404)$/
    : / 20[012]$/

test(`whatever is sent to whatever route, by whomever: no 5xx, no stack, every refusal is a problem with its code (FUZZ_SEED=${seed})`, async () => {
  const document = (await (await world.call('GET', '/openapi.json')).json()) as OpenApiDocument
  const reached = new Map<string, number>()
  const vocabulary = { byName, everybody: Object.keys(tokens), callers, repair }
  console.log(`hostile requests: seed ${seed}, ${runs} requests`)
  const check = async (request: HostileRequest): Promise<void> => {
    const { status, type, text } = await send(request)
    const reason = world.logged.findLast(({ event }) => event === 'request_failed')
    expect(status, JSON.stringify(reason)).toBeLessThan(500)
    expect(text).not.toMatch(/node_modules|\.ts:\d|\bat \S+ \(/)
    reached.set(`${request.operation} ${status}`, (reached.get(`${request.operation} ${status}`) ?? 0) + 1)
    if (status < 400) return
    expect(type).toBe('application/problem+json')
    if (request.method === 'HEAD') return
    const problem = JSON.parse(text) as { status: number; code: string }
    expect(problem.status).toBe(status)
    expect(Object.keys(errorCodes)).toContain(problem.code)
  }
  // Before all others: luck alone would leave an operation out now and then.
  const right = rightRequests(document, vocabulary)
  const examples = right.flatMap((requests) =>
    fc.sample(requests, { seed, numRuns: 16 }).map((request): [HostileRequest] => [request]),
  )
  await fc.assert(fc.asyncProperty(hostileRequests(document, vocabulary), check), {
    seed,
    numRuns: examples.length + runs,
    endOnFailure: true,
    examples,
  })
  // Requests that all bounce off the first check would prove nothing.
  const statuses = new Set([...reached.keys()].map((key) => key.split(' ').at(-1)))
  for (const status of ['200', '401', '403', '404', '415', '422']) expect([...statuses]).toContain(status)
  const seen = (operation: string) => [...reached.keys()].filter((key) => key.startsWith(`${operation} `))
  const isReached = (operation: string) => seen(operation).some((key) => doneBy(operation).test(key))
  // Of some, one in twenty is right.
  for (const requests of right)
    for (const request of fc.sample(requests, { seed: seed + 1, numRuns: 200 })) {
      if (isReached(request.operation)) break
      await check(request)
    }
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  )
  for (const operation of operations)
    expect(isReached(operation), `${operation} answers: ${seen(operation)}`).toBe(true)
}, 300_000)
