import { createECDH, randomBytes } from 'node:crypto'
import { errorCodes } from '@remit/contract/errors'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import fc from '../support/properties.ts'
import { byName, callersOf, type HostileWorld, model, openHostileWorld } from './hostile-world.ts'
import {
  type Body,
  type HostileRequest,
  hostileRequests,
  type OpenApiDocument,
  rightRequests,
} from './openapi-arbitrary.ts'

// The same seed makes the same requests: FUZZ_SEED=… npx vitest run test/security/hostile-requests.test.ts
const runs = Number(process.env['FUZZ_RUNS'] ?? 800)

let hostile: HostileWorld
beforeAll(async () => {
  hostile = await openHostileWorld()
})
afterAll(() => hostile?.world[Symbol.asyncDispose]())

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
      return { model }
    case 'post /model/test':
      return { model, tests: truthTable }
    case 'post /model/apply':
      return { plan_id: hostile.planId }
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
      return { authorization_details: [{ type: 'document_access', offer: hostile.offer }], purpose: 'tests' }
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

async function send({ method, path, headers, body, as }: HostileRequest) {
  const { world, callers } = hostile
  const response = await world.service.app.request(
    new Request(`${world.config.publicUrl}${path}`, {
      method,
      headers: { ...headers, ...callers[as] },
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
  const { world } = hostile
  const document = (await (await world.call('GET', '/openapi.json')).json()) as OpenApiDocument
  const reached = new Map<string, number>()
  const vocabulary = { byName, everybody: Object.keys(hostile.callers), callers: callersOf, repair }
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
