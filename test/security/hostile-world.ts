import { readFileSync } from 'node:fs'
import { operator } from '../../src/audit/record.ts'
import { principal } from '../http/principal.ts'
import { openWorld, type World } from '../support/world.ts'

/** The headers of callers of every kind; `browser` sends what a page of ours would. */
export type Callers = Readonly<Record<string, Readonly<Record<string, string>>>>

/** One world for random requests. */
export interface HostileWorld {
  readonly world: World
  readonly callers: Callers
  readonly planId: string
  readonly offer: string
}

export const model = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')

/** Values of this world, by the names of the contract's members. */
export const byName = {
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

/** Whose requests an operation (`put /documents/{id}`) is for. */
export const callersOf = (operation: string): readonly string[] => {
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

export async function openHostileWorld(env: Readonly<Record<string, string>> = {}): Promise<HostileWorld> {
  const world = await openWorld({
    env: { REQUEST_DEADLINE_MS: '60000', SOURCE_ORIGINS: 'file:///srv/files', ...env },
  })
  const { service } = world
  await service.ingest.saveCollection(operator('test'), { id: 'sourced', title: 'Sourced' })
  await service.ingest.saveFields(operator('test'), {
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
  await service.administrators.add('user:dan', ['security.read', 'security.write', 'agents.write'])
  const delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  const offer = (await offered(world, delegation)) ?? ''
  await service.issuer.passwords.set('anne', password)
  const callers = await signInAll(world)
  const planned = await world.call('POST', '/model/plan', { headers: callers.administrator, body: { model } })
  const { plan } = (await planned.json()) as { plan: { plan_id: string } }
  return { world, callers, planId: plan.plan_id, offer }
}

const password = 'correct horse battery'

/** Their tokens last five minutes, and what a browser may do without another sign-in fifteen. */
export async function signInAll(world: World) {
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
  return {
    nobody: {},
    forged: bearer('a.b.c'),
    browser: await signedIn(world, 'anne'),
    person: bearer(await world.token({ user: 'anne' })),
    administrator: bearer(await world.token({ user: 'dan' })),
    agent: bearer(await world.token({ user: 'anne', agent: 'research-bot' })),
    service: bearer(await world.token({ service: 'loader' })),
  } satisfies Callers
}

/** As an answer to a question of the agent brings it. */
const offered = ({ database, service }: World, delegation: string): Promise<string | undefined> =>
  database.transaction((sql) =>
    service.grants.offers.makeWithin(
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

async function signedIn(world: World, user: string): Promise<Readonly<Record<string, string>>> {
  const origin = world.config.publicUrl
  const page = await world.call('GET', '/sign-in')
  const csrf = /name="csrf" value="([^"]+)"/.exec(await page.text())?.[1] ?? ''
  const answer = await world.call('POST', '/sign-in', {
    body: String(new URLSearchParams({ user, password, csrf })),
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
