import { afterAll, beforeAll, expect, test } from 'vitest'
import { type FaultyDatabase, faultyDatabase } from '../security/faulty-database.ts'
import { type FaultyOpenFga, startFaultyOpenFga } from '../security/faulty-openfga.ts'
import { openWorld, type World } from '../support/world.ts'

// Made-up words, so that each hit is a leak: one for everything that must not be kept.
const secrets = {
  title: 'Oystercatcher',
  text: 'Whimbrel',
  query: 'Turnstone',
  hidden: 'Dunlin',
  metadata: 'Sanderling',
  broken: 'Phalarope',
  filter: 'Redshank',
} as const

let faulty: FaultyOpenFga
let storage: FaultyDatabase
let world: World
const tokens: string[] = []
const statuses = new Set<number>()

beforeAll(async () => {
  faulty = await startFaultyOpenFga()
  storage = faultyDatabase()
  world = await openWorld({
    openfga: faulty.wrap,
    database: storage.wrap,
    env: { REQUEST_DEADLINE_MS: '1000' },
  })
  await world.service.administrators.add('user:dan', ['security.write', 'security.read'])
  await everyKindOfTraffic()
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await faulty?.[Symbol.asyncDispose]()
})

test('the traffic was answered, refused and failed in every way', () => {
  expect([...statuses].sort()).toEqual([200, 202, 400, 401, 403, 404, 409, 415, 421, 422, 500, 503])
})

test('the log holds no token, text, title, question or metadata', () => {
  expect(world.logged.map(({ event }) => event)).toEqual(
    expect.arrayContaining(['token_refused', 'request_failed']),
  )
  expectClean(JSON.stringify(world.logged))
})

test('a decision record holds no token, text, title, question or metadata', async () => {
  const rows = await world.database.query<{ event: string }>('select * from decision_records')
  expect(new Set(rows.map(({ event }) => event))).toEqual(
    new Set([
      'retrieved',
      'document_read',
      'collections_listed',
      'delegation_made',
      'access_changed',
      'document_accepted',
      'document_published',
      'document_withdrawn',
      'collection_saved',
      'fields_saved',
      'explained',
      'who_can_listed',
      'record_read',
      'request_refused',
    ]),
  )
  expectClean(JSON.stringify(rows))
})

test('metrics hold no token, text, title, question or metadata', async () => {
  const response = await world.service.ops.request(`http://127.0.0.1:${world.config.ops.port}/metrics`)
  const text = await response.text()
  expect(text).toContain('route="/retrieve"')
  expectClean(text)
})

test('readiness with details holds none of it either', async () => {
  const response = await world.service.ops.request(`http://127.0.0.1:${world.config.ops.port}/readyz`)
  expectClean(await response.text())
})

/** Case does not matter: search folds it. A token counts by each of its three parts. */
function expectClean(text: string): void {
  const kept = text.toLowerCase()
  for (const [what, word] of Object.entries(secrets)) {
    expect(kept, what).not.toContain(word.toLowerCase())
  }
  const parts = tokens.flatMap((token) => token.split('.'))
  expect(parts).toHaveLength(3 * tokens.length)
  for (const [index, part] of parts.entries())
    expect(text.includes(part), `part ${index} of a token`).toBe(false)
}

async function everyKindOfTraffic(): Promise<void> {
  const { title, text, query, hidden, metadata, broken, filter } = secrets
  const root = await token({ user: 'dan', scopes: ['security.write'] })
  const loader = await token({ service: 'loader' })
  await ask('PUT', '/fields', root, { bird: 'string' })
  await ask('PUT', '/collections/board', root, { title, writers: ['service:loader'], taggers: [] })
  const open = {
    collection: 'handbook',
    title,
    text: `# ${title}\n\n${text}`,
    metadata: { bird: metadata },
    access: { viewers: ['user:anne'] },
  }
  await ask('PUT', '/documents/open', loader, open, { prefer: 'wait', 'idempotency-key': 'k' })
  await ask('PUT', '/documents/open', loader, { ...open, text: broken }, { 'idempotency-key': 'k' })
  await ask('PUT', '/documents/hidden', loader, { ...open, text: hidden, access: {} }, { prefer: 'wait' })
  await ask('PUT', '/documents/gone', loader, { ...open, text: hidden, access: {} }, { prefer: 'wait' })
  await ask('DELETE', '/documents/gone', loader, undefined, { prefer: 'wait' })
  await ask('POST', '/imports', loader, `${JSON.stringify({ id: 'x', title, text, nothing: broken })}\n`, {
    'content-type': 'application/x-ndjson',
  })
  await ask('PUT', '/documents/open/access', loader, { viewers: ['user:anne', 'user:bob'] })
  await ask('POST', '/access', loader, { writes: [tuple('user:bob', 'viewer', 'document:open')] })
  await ask('POST', '/access', loader, { writes: [tuple(`user:${broken}`, 'viewer', 'document:nowhere')] })
  await world.lend('anne', 'research-bot', 'collection:handbook')
  const readers = [
    await token({ user: 'anne' }),
    await token({ user: 'carol' }),
    await token({ user: 'anne', agent: 'research-bot' }),
  ]
  for (const reader of readers) {
    await ask('POST', '/retrieve', reader, { query: `${query} ${text}` })
    await ask('POST', '/retrieve', reader, { query, filter: { bird: filter }, consistency: 'strict' })
    await ask('GET', '/documents/open', reader)
    await ask('GET', '/documents/hidden', reader)
    await ask('GET', '/collections', reader)
    // Refused: not its route, an undeclared field, a broken body, another type.
    await ask('DELETE', '/documents/open', reader)
    await ask('POST', '/retrieve', reader, { query, filter: { [broken]: 1 } })
    await ask('POST', '/retrieve', reader, `{"query": "${broken}`)
    await ask('POST', '/retrieve', reader, { query: `${query}\0` })
    await ask('POST', '/retrieve', reader, { query }, { 'content-type': `text/${broken}` })
    await ask('GET', `/documents/open?q=${query}`, reader, undefined, { host: `${broken}.example` })
    await ask('GET', `/${query}?token=${reader}`, reader)
    await failures(reader)
    // Whole, but changed: refused tokens.
    await ask('POST', '/retrieve', `${reader}x`, { query })
    await ask('POST', '/retrieve', `${reader.split('.').slice(0, 2).join('.')}.`, { query })
    await ask('POST', '/retrieve', `Bearer ${reader}`, { query })
  }
  await ask('POST', '/retrieve', broken, { query })
  const reader = await token({ user: 'dan', scopes: ['security.read'] })
  const open_ = { relation: 'can_read', object: 'document:open' }
  // On a machine that stands still for a moment their second is over first; again then.
  for (const [path, body] of [
    ['/explain', { ...open_, user: 'user:anne' }],
    ['/who-can', open_],
  ] as const)
    while ((await ask('POST', path, reader, body)) === 503);
  for (const path of [
    '',
    '/readers?document=open',
    '/reads?subject=user:anne&today=true',
    '/reach?agent=agent:a',
  ])
    await ask('GET', `/audit${path}`, reader)
  await ask('GET', `/audit?object=document:${query}`, readers[0] ?? '')
}

/** While OpenFGA and the database fail, and while something throws what nobody expected. */
async function failures(reader: string): Promise<void> {
  const { query } = secrets
  const asking = [
    ['POST', '/retrieve', { query: `${query} ${secrets.text}` }],
    ['GET', '/documents/open', undefined],
    ['GET', '/collections', undefined],
  ] as const
  const outages = [
    () => faulty.set({ drop: () => true }),
    () => faulty.set({ hang: ({ kind }) => kind === 'batch-check' }),
    () => storage.set(/./),
    () => storage.set(/decision_records/),
    // A defect: Postgres complains of a statement, with a value in its words.
    () =>
      storage.set(/decision_records/, async (real) => {
        await real.query('select $1::text::integer', [query])
      }),
  ]
  for (const begin of outages) {
    begin()
    for (const [method, path, body] of asking) await ask(method, path, reader, body)
    faulty.set(undefined)
    storage.set(undefined)
  }
}

const tuple = (user: string, relation: string, object: string) => ({ user, relation, object })

async function token(who: Parameters<World['token']>[0]): Promise<string> {
  const made = await world.token(who)
  tokens.push(made)
  return made
}

async function ask(
  method: string,
  path: string,
  bearer: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<number> {
  const response = await world.call(method, path, {
    token: bearer,
    headers,
    ...(body !== undefined && { body }),
  })
  statuses.add(response.status)
  await response.arrayBuffer()
  return response.status
}
