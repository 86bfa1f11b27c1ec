import { expect } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { agree } from '../support/approvals.ts'
import { openWorld, type World } from '../support/world.ts'

export const issuer = 'https://acme.okta.test/oauth2/aus1'
const trusted = { issuer, audiences: { api: 'a', mcp: 'm' }, namespace: 'acme', preset: 'okta' }
const env = { TRUSTED_ISSUERS: JSON.stringify([trusted]) }
export const [old, other] = ['acme/anne@acme.test', 'acme/00u1anne']
export let world: World
let delegation: string

/** Everything that somebody can have here, under the old key. */
async function fill(): Promise<void> {
  const { service } = world
  await service.people.arrive({ key: old, name: 'Anne' }, { issuer, sub: 'anne@acme.test' })
  await world.put({
    'handbook/own': { text: 'Travel of my own.', access: { owner: `user:${old}` } },
    'handbook/seen': { text: 'Travel that is shown.', access: { viewers: [`user:${old}`] } },
    'handbook/group': { text: 'Travel of the group.', access: { viewers: ['group:eng#member'] } },
    'handbook/blocked': {
      text: 'Travel that is blocked.',
      access: { viewers: ['group:eng#member'], blocked: [`user:${old}`] },
    },
  })
  await service.ingest.applyTuples(operator('t_tests'), {
    writes: [{ user: `user:${old}`, relation: 'member', object: 'group:eng' }],
    deletes: [],
  })
  delegation = await world.lend(old, 'research-bot', 'collection:handbook')
  await agree(world, { delegation, objects: ['document:handbook/own'], subject: `user:${old}` })
  await service.administrators.add(`user:${old}`, ['security.read'])
  const bot = await service.agents.get('other-bot')
  if (bot === undefined) throw new Error('no bot')
  await service.agents.save({ ...bot, jwks: null, owner: `user:${old}` })
  await world.database.query(
    `insert into approval_askers (subject, agent, blocked_at) values ('user:' || $1::text, 'other-bot', now())`,
    [old],
  )
  await world.database.query(
    `insert into approvals (id, subject, agent, client, delegation, front, asked, digest, state, created_at, expires_at, txn)
     values ('ap_1', 'user:' || $1::text, 'research-bot', 'agent-app', $2, 'rest', '{}', '', 'expired', now(), now(), 't_1')`,
    [old, delegation],
  )
  await world.database.query(
    `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds, max_age_seconds, purge_days)
     values ('wiki', 'none', 'file:///srv/none', '{}', '{}', 'paused', 'user:dan', 1, 1, 1000, 1)`,
  )
  await world.database.query(
    `insert into source_people (source, account, state, subject, linked_by) values ('wiki', '7', 'linked', 'user:' || $1::text, 'people')`,
    [old],
  )
  await world.database.query(
    `insert into source_blocks (source, subject) values ('wiki', 'user:' || $1::text)`,
    [old],
  )
  await world.database.query(
    `insert into approval_host_askers (subject, host, blocked_at) values ('user:' || $1::text, 'a.example', now())`,
    [old],
  )
}

export async function found(user: string, agent?: string): Promise<string[]> {
  const token = await world.token({ user, ...(agent !== undefined && { agent }) })
  return (await world.retrieve(token, { query: 'travel' })).results
    .map(({ document_id }) => document_id)
    .sort()
}
export const tuplesOf = async (key: string) => {
  const all: string[] = []
  for await (const page of world.service.fga.readAll())
    for (const { user, relation, object } of page)
      if (user === `user:${key}`) all.push(`${relation} ${object}`)
  return all.sort()
}
export const visible = ['handbook/group', 'handbook/own', 'handbook/seen']

export async function standsUnderOther(): Promise<void> {
  const { service, database } = world
  expect(await tuplesOf(old)).toEqual([])
  expect(await tuplesOf(other)).toEqual([
    'blocked document:handbook/blocked',
    `delegator delegation:${delegation}`,
    expect.stringMatching(/^grantor grant:g_/),
    'member group:eng',
    'owner document:handbook/own',
    'viewer document:handbook/seen',
  ])
  await service.people.arrive({ key: other, name: 'Anne' }, { issuer, sub: '00u1anne' })
  expect(await found(other)).toEqual(visible)
  expect(await found(other, 'research-bot')).toEqual(visible)
  expect(await service.administrators.rolesOf(`user:${other}`)).toEqual(['security.read'])
  expect(await service.administrators.list()).toEqual([
    { subject: `user:${other}`, roles: ['security.read'] },
  ])
  expect((await service.agents.get('other-bot'))?.owner).toBe(`user:${other}`)
  expect(await database.query('select subject, agent from approval_askers')).toEqual([
    { subject: `user:${other}`, agent: 'other-bot' },
  ])
  expect(await database.query('select account, state, subject from source_people')).toEqual([
    { account: '7', state: 'linked', subject: `user:${other}` },
  ])
  expect(await service.ingest.drift()).toMatchObject({ mended: 0 })
}

/** A world in which somebody has all that they can have, under the old key. */
export async function openFilled(options: Parameters<typeof openWorld>[0] = {}): Promise<void> {
  world = await openWorld({ env, ...options })
  await fill()
}
