import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import type { Database } from '../../src/store/sql.ts'
import { agree } from '../support/approvals.ts'
import { backends } from '../support/backends.ts'
import { openTestDatabase } from '../support/database.ts'
import { openWorld, type World } from '../support/world.ts'

const issuer = 'https://acme.okta.test/oauth2/aus1'
const trusted = { issuer, audiences: { api: 'a', mcp: 'm' }, namespace: 'acme', preset: 'okta' }
const env = { TRUSTED_ISSUERS: JSON.stringify([trusted]) }
const [old, other] = ['acme/anne@acme.test', 'acme/00u1anne']
const inAnHour = () => new Date(Date.now() + 3_600_000)

/** Where the process dies: before the n-th write, to OpenFGA or of a transaction, from now on. */
let dies = Number.POSITIVE_INFINITY
/** Or before a Write to OpenFGA that names this. */
let diesAt: string | undefined
/** Before each Write to OpenFGA. */
let beforeWrite: () => Promise<unknown> = async () => undefined
const step = (): void => {
  dies -= 1
  if (dies < 0) throw new Error('the process died here')
}
const dying = {
  openfga: (real: FgaApi): FgaApi =>
    new Proxy(real, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        const called = value.bind(target)
        if (name !== 'write') return called
        return async (...args: readonly unknown[]) => {
          await beforeWrite()
          step()
          if (diesAt !== undefined && JSON.stringify(args).includes(diesAt))
            throw new Error('the process died here')
          return called(...args)
        }
      },
    }),
  database: (real: Database): Database => ({
    ...real,
    transaction: async (work) => {
      if (Number.isFinite(dies)) step()
      return real.transaction(work)
    },
  }),
}

let world: World
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

async function found(user: string, agent?: string): Promise<string[]> {
  const token = await world.token({ user, ...(agent !== undefined && { agent }) })
  return (await world.retrieve(token, { query: 'travel' })).results
    .map(({ document_id }) => document_id)
    .sort()
}
const tuplesOf = async (key: string) => {
  const all: string[] = []
  for await (const page of world.service.fga.readAll())
    for (const { user, relation, object } of page)
      if (user === `user:${key}`) all.push(`${relation} ${object}`)
  return all.sort()
}
const visible = ['handbook/group', 'handbook/own', 'handbook/seen']

async function standsUnderOther(): Promise<void> {
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

// What is all apart here is together in the world below.
const apart = backends.find(({ database, openfga }) => database === 'postgres' && openfga === 'server')

describe('a person who is moved to another key', apart?.options ?? {}, () => {
  beforeEach(async () => {
    dies = Number.POSITIVE_INFINITY
    world = await openWorld({ ...(apart && { backend: apart }), env })
    await fill()
  })
  afterEach(() => world?.[Symbol.asyncDispose]())

  test('has there what they had, blocks as well, and nothing under the old one', async () => {
    const { personMove } = world.service
    expect(await found(old)).toEqual(visible)
    const looked = await personMove.look(old, other)
    expect(looked).toMatchObject({ tags: 3, tuples: 6, delegations: 1, roles: 1, agents_owned: 1, blocks: 1 })
    expect(await found(old)).toEqual(visible)
    expect(await personMove.move(old, other)).toEqual(looked)
    await standsUnderOther()
    expect(await world.service.people.has(old)).toBe(false)
    expect(Object.values(await personMove.move(old, other)).every((count) => count === 0)).toBe(true)
    await standsUnderOther()
  }, 120_000)
})

describe('a move', () => {
  beforeEach(async () => {
    dies = Number.POSITIVE_INFINITY
    world = await openWorld({ env, ...dying })
    await fill()
  })
  afterEach(() => world?.[Symbol.asyncDispose]())

  test('that dies before any of its writes lets nobody in who could read more meanwhile, and the same call ends it', async () => {
    let died = 0
    for (let at = 0; ; at += 1) {
      dies = at
      await world.service.personMove.move(old, other).catch(() => undefined)
      const isWhole = dies >= 0
      dies = Number.POSITIVE_INFINITY
      const { verdicts } = await world.service.fga.batchCheck(
        [old, other].map((key) => ({
          user: `user:${key}`,
          relation: 'can_read',
          object: 'document:handbook/blocked' as const,
        })),
        { now: Date.now() },
      )
      const barred = await world.database.query(
        `select from revocations where kind = 'subject' and key = $1`,
        [`user:${old}`],
      )
      // The old key has no block any more while it is in the group: by then it is nobody's.
      expect(verdicts).toEqual([barred.length > 0 ? expect.any(String) : 'denied', 'denied'])
      if (isWhole) break
      died += 1
    }
    expect(died).toBeGreaterThan(4)
    await standsUnderOther()
  }, 120_000)

  test('that died once its rows had moved is completed by no comparison, which knows no order, but by the same call', async () => {
    const standing = async () => [await tuplesOf(old), await tuplesOf(other)]
    diesAt = 'group:eng'
    await expect(world.service.personMove.move(old, other)).rejects.toThrow()
    diesAt = undefined
    expect(
      await world.database.query(`select subject from desired_tuples where object = 'group:eng'`),
    ).toEqual([{ subject: `user:${other}` }])
    const before = await standing()
    expect(before[0]).toContain('member group:eng')
    await world.service.ingest.drift()
    expect(await standing()).toEqual(before)
    expect(await world.database.query('select object from unreconciled')).toEqual([{ object: 'group:eng' }])
    await world.service.personMove.move(old, other)
    await standsUnderOther()
    expect(await world.database.query('select object from unreconciled')).toEqual([])
  }, 120_000)

  test('of more tuples than two Writes hold lets the new key read at no moment what neither key could', async () => {
    const { ingest, fga } = world.service
    const groups = ['a-readers', ...Array.from({ length: 100 }, (_, nth) => `many-${nth}`), 'z-out']
    await ingest.applyTuples(operator('t_tests'), {
      writes: groups.map((id) => ({
        user: `user:${old}`,
        relation: 'member',
        object: `group:${id}` as const,
      })),
      deletes: [],
    })
    const blocked = ['group:z-out#member']
    await world.put({
      'handbook/through': { text: 'Travel.', access: { viewers: ['group:a-readers#member'], blocked } },
      'handbook/direct': { text: 'Travel.', access: { viewers: [`user:${old}`], blocked } },
      'handbook/above': { text: 'Travel.', access: { viewers: [`user:${old}`], parents: ['folder:shut'] } },
    })
    await ingest.applyTuples(operator('t_tests'), {
      writes: [{ user: `user:${old}`, relation: 'blocked', object: 'folder:shut' }],
      deletes: [],
    })
    const seen: unknown[] = []
    const look = async () => {
      const documents = ['through', 'direct', 'above', 'blocked'] as const
      const checks = documents.map((id) => ({
        user: `user:${other}`,
        relation: 'can_read',
        object: `document:handbook/${id}` as const,
      }))
      seen.push(...(await fga.batchCheck(checks, { now: Date.now() })).verdicts)
    }
    beforeWrite = look
    await world.service.personMove.move(old, other)
    beforeWrite = async () => undefined
    await look()
    expect(seen.length).toBeGreaterThan(4 * 5)
    expect(new Set(seen)).toEqual(new Set(['denied']))
    expect(await tuplesOf(other)).toEqual(expect.arrayContaining(groups.map((id) => `member group:${id}`)))
    expect(await tuplesOf(old)).toEqual([])
    expect(await ingest.drift()).toMatchObject({ mended: 0 })
  }, 60_000)

  test('ends beside a change of others that cannot be made, and leaves that to be made', async () => {
    const { database, service } = world
    await database.query(
      `insert into desired_tuples (object, relation, subject)
       values ('group:eng', 'member', 'user:late'), ('group:else', 'member', 'user:late')`,
    )
    await database.query(
      `insert into unreconciled (object, purge) values ('group:eng', false), ('group:else', false)`,
    )
    diesAt = 'user:late'
    await service.personMove.move(old, other)
    diesAt = undefined
    expect(await database.query('select object from unreconciled order by object')).toEqual([
      { object: 'group:else' },
      { object: 'group:eng' },
    ])
    expect(await service.ingest.drift()).toMatchObject({ mended: 2, added: 2, removed: 0 })
    await standsUnderOther()
  })

  test('that had ended and runs again is no more completed by comparisons than the first', async () => {
    const { personMove, ingest } = world.service
    await personMove.move(old, other)
    await ingest.applyTuples(operator('t_tests'), {
      writes: [{ user: `user:${old}`, relation: 'member', object: 'group:eng' }],
      deletes: [{ user: `user:${other}`, relation: 'member', object: 'group:eng' }],
    })
    diesAt = 'group:eng'
    await expect(personMove.move(old, other)).rejects.toThrow()
    diesAt = undefined
    const before = [await tuplesOf(old), await tuplesOf(other)]
    expect(before).toEqual([['member group:eng'], expect.not.arrayContaining(['member group:eng'])])
    await ingest.drift()
    expect([await tuplesOf(old), await tuplesOf(other)]).toEqual(before)
    await personMove.move(old, other)
    await standsUnderOther()
  })

  test('that 0.9.0 had begun is ended by no process of it, but by the same call', async () => {
    await world.database.query(
      `insert into person_moves (old_key, new_key, was_disabled, begun_at, tuples_first)
       values ($1, $2, false, now(), false)`,
      [old, other],
    )
    const ended = 'update person_moves set ended_at = now() where old_key = $1'
    await expect(world.database.query(ended, [old])).rejects.toThrow('person_moves_tuples_first')
    await world.service.personMove.move(old, other)
    await standsUnderOther()
  })

  test('that ended is the person whom documents, re-tags and changes of access mean by the old key from then on, also once they moved again', async () => {
    const { personMove, ingest } = world.service
    await personMove.move(old, other)
    const named = { viewers: [`user:${old}`, 'user:dan'], blocked: [`user:${other}`] }
    const readers = { viewers: ['group:eng#member'] }
    await world.put({
      'handbook/later': { text: 'Travel later.', access: { ...readers, blocked: [`user:${old}`] } },
      'handbook/given': { text: 'Travel that is given.', access: { viewers: [`user:${old}`] } },
      'handbook/both': { text: 'Travel of two.', access: named },
    })
    await ingest.applyTuples(operator('t_tests'), {
      writes: [{ user: `user:${old}`, relation: 'blocked', object: 'document:handbook/group' }],
      deletes: [],
    })
    const ofOther = [
      'blocked document:handbook/blocked',
      'blocked document:handbook/both',
      'blocked document:handbook/group',
      'blocked document:handbook/later',
    ]
    expect(await tuplesOf(old)).toEqual([])
    expect(await tuplesOf(other)).toEqual(expect.arrayContaining(ofOther))
    await world.service.people.arrive({ key: other, name: 'Anne' }, { issuer, sub: '00u1anne' })
    expect(await found(other)).toEqual(['handbook/given', 'handbook/own', 'handbook/seen'])

    const third = 'acme/third'
    await personMove.move(other, third)
    const loader = { subject: 'service:loader', actors: [], client: 'loader', txn: 't_tests' } as const
    await ingest.retag(loader, 'handbook/given', { ...readers, blocked: [`user:${old}`] })
    expect([await tuplesOf(old), await tuplesOf(other)]).toEqual([[], []])
    expect(await tuplesOf(third)).toEqual(
      expect.arrayContaining([...ofOther, 'blocked document:handbook/given']),
    )
    expect(await ingest.drift()).toMatchObject({ mended: 0 })
    expect(await world.database.query('select object from unreconciled')).toEqual([])
  }, 60_000)

  test('has by the old key whom POST /access means by it: a right that it takes away is gone, another end is refused, and who owns is cited', async () => {
    const { personMove, ingest } = world.service
    const viewer = (key: string, document: string) =>
      ({ user: `user:${key}`, relation: 'viewer', object: `document:handbook/${document}` }) as const
    const hours = (count: number) => new Date(Date.now() + count * 3_600_000).toISOString()
    const until = (count: number) =>
      ({ condition: { name: 'until', context: { expires_at: hours(count) } } }) as const
    const writer = { subject: 'service:loader', actors: [], client: 'loader', txn: 't_tests' } as const
    const caller = {
      kind: 'service',
      writer,
      scopes: new Set(['docs.write'] as const),
      prefixes: [],
    } as const
    const blocked = { ...viewer(old, 'blocked'), relation: 'blocked' }
    await personMove.move(old, other)
    await world.service.people.arrive({ key: other, name: 'Anne' }, { issuer, sub: '00u1anne' })
    await expect(
      ingest.changeAccess(caller, { writes: [{ ...viewer(old, 'seen'), ...until(1) }], deletes: [] }),
    ).rejects.toMatchObject({ code: 'conflict', field: 'writes.0' })
    await ingest.changeAccess(caller, { writes: [], deletes: [viewer(old, 'seen'), blocked] })
    // Who takes the old key's block away may have said the new one's before.
    expect(await found(other)).toEqual(['handbook/group', 'handbook/own'])
    await ingest.changeAccess(caller, {
      writes: [
        { ...viewer(old, 'seen'), ...until(1) },
        { ...viewer(other, 'seen'), ...until(2) },
      ],
      deletes: [viewer(old, 'group'), viewer(other, 'own')],
    })
    await ingest.changeAccess(caller, {
      writes: [viewer(other, 'group')],
      deletes: [viewer(old, 'group')],
    })
    expect(await found(other)).toEqual(visible)
    await ingest.changeAccess(caller, {
      writes: [{ user: `user:${old}`, relation: 'owner', object: 'document:handbook/group' }],
      deletes: [],
    })
    const owners = await world.database.query(`select owner from documents where id = 'handbook/group'`)
    expect(owners).toEqual([{ owner: `user:${other}` }])
    expect(await tuplesOf(old)).toEqual([])
    expect(await ingest.drift()).toMatchObject({ mended: 0 })
  }, 60_000)

  test('keeps the old key disabled, whose blocks stand under the new one, from its beginning until somebody is moved back', async () => {
    const { personMove, issuer } = world.service
    dies = 4
    await personMove.move(old, other).catch(() => undefined)
    dies = Number.POSITIVE_INFINITY
    const isRefused = () =>
      expect(issuer.barring.admit(old)).rejects.toMatchObject({
        code: 'conflict',
        public: expect.stringContaining(`${old} was moved to ${other}`),
      })
    await isRefused()
    await personMove.move(old, other)
    await isRefused()
    await personMove.move(other, old)
    expect(await issuer.barring.admit(old)).toBe(true)
  })

  test('leaves a content that waits with the end that POST /access says by the old key', async () => {
    const { personMove, ingest } = world.service
    const end = new Date(Date.now() + 3_600_000).toISOString()
    await personMove.move(old, other)
    await world.database.query(
      `insert into failed_documents (doc_no, revision, source, code, detail, tries, bytes, content, access)
       select doc_no, 9, source, 'embedding_failed', '', 1, 1, 'x', $1 from documents where id = 'handbook/group'`,
      [JSON.stringify([{ relation: 'viewer', subject: `user:${other}` }])],
    )
    await ingest.applyTuples(operator('t_tests'), {
      writes: [
        {
          user: `user:${old}`,
          relation: 'viewer',
          object: 'document:handbook/group',
          condition: { name: 'until', context: { expires_at: end } },
        },
      ],
      deletes: [],
    })
    const held = await world.database.query('select access from failed_documents')
    expect(held).toEqual([{ access: [{ relation: 'viewer', subject: `user:${other}`, expiresAt: end }] }])
  })

  test('is refused while rows do not tell yet who is in groups', async () => {
    await world.database.query(`delete from settings where key = 'tuples_adopted'`)
    await expect(world.service.personMove.move(old, other)).rejects.toMatchObject({ code: 'conflict' })
    expect(await tuplesOf(other)).toEqual([])
  })

  test('leaves the old key in no column that it moves, of which each held it', async () => {
    const holding = async () => {
      const held: string[] = []
      for (const [column, becomes] of Object.entries(columns)) {
        if (becomes !== 'moved' || passing.has(column)) continue
        const [table, name] = column.split('.')
        const like = `"${name}"::text like '%' || $1::text || '%'`
        if ((await world.database.query(`select from ${table} where ${like} limit 1`, [old])).length > 0)
          held.push(column)
      }
      return held
    }
    expect(await holding()).toEqual(
      Object.keys(columns).filter((column) => columns[column] === 'moved' && !passing.has(column)),
    )
    await world.service.personMove.move(old, other)
    expect(await holding()).toEqual([])
  })

  test('of somebody who is disabled lets nobody in under the new key, nor when it died and goes on', async () => {
    await world.service.issuer.barring.bar(old)
    dies = 2
    await world.service.personMove.move(old, other).catch(() => undefined)
    dies = Number.POSITIVE_INFINITY
    await world.service.personMove.move(old, other)
    const barred = await world.database.query<{ key: string }>(
      `select key from revocations where kind = 'subject' order by key`,
    )
    expect(barred.map(({ key }) => key)).toEqual([`user:${other}`, `user:${old}`])
  })

  test('that died does not disable the new key of somebody who was not disabled', async () => {
    dies = 2
    await world.service.personMove.move(old, other).catch(() => undefined)
    dies = Number.POSITIVE_INFINITY
    await world.service.personMove.move(old, other)
    const barred = await world.database.query(`select key from revocations where kind = 'subject'`)
    expect(barred).toEqual([{ key: `user:${old}` }])
  })

  test('keeps what the new key has, and one standing delegation to an agent: that of the new key', async () => {
    const standing = (key: string) =>
      world.service.delegations.lend({
        subject: `user:${key}`,
        agent: 'other-bot',
        scope: ['collection:handbook'],
        purpose: 'tests',
        standing: true,
        expiresAt: inAnHour(),
      })
    const [before, after] = [await standing(old), await standing(other)]
    await world.write(`user:${other} member group:eng`, `user:${other} member group:hr`)
    await world.service.personMove.move(old, other)
    expect(await world.service.delegations.isLive(before.id)).toBe(false)
    expect(await world.service.delegations.isLive(after.id)).toBe(true)
    expect(await tuplesOf(other)).toContain('member group:hr')
    expect(await tuplesOf(old)).toEqual([])
  })

  test('leaves who is in a group under both keys in it until the later end, for it may block', async () => {
    const end = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString()
    const until = (hours: number) => ({ name: 'until', context: { expires_at: end(hours) } }) as const
    const memberOf = (key: string, group: string) =>
      ({ user: `user:${key}`, relation: 'member', object: `group:${group}` }) as const
    const blocked = ['group:shut-a#member', 'group:shut-b#member', 'group:shut-c#member']
    await world.put({ 'handbook/ends': { access: { viewers: ['group:eng#member'], blocked } } })
    const { ingest, fga, personMove } = world.service
    await ingest.applyTuples(operator('t_tests'), {
      writes: [
        { ...memberOf(old, 'shut-a'), condition: until(9) },
        { ...memberOf(other, 'shut-a'), condition: until(1) },
        { ...memberOf(old, 'shut-b'), condition: until(1) },
        { ...memberOf(other, 'shut-b'), condition: until(9) },
        memberOf(old, 'shut-c'),
        { ...memberOf(other, 'shut-c'), condition: until(1) },
      ],
      deletes: [],
    })
    await personMove.move(old, other)
    const ends: Record<string, number | undefined> = {}
    for (const group of ['shut-a', 'shut-b', 'shut-c'])
      for await (const { condition } of fga.read(memberOf(other, group)))
        ends[group] =
          condition && Math.round((Date.parse(condition.context.expires_at) - Date.now()) / 3_600_000)
    expect(ends).toEqual({ 'shut-a': 9, 'shut-b': 9, 'shut-c': undefined })
    expect(await ingest.drift()).toMatchObject({ mended: 0 })
  })

  test('to a key that is none is refused by name; to one that is linked, and says to whom: to that account it moves', async () => {
    for (const [from, to, field] of [
      ['anne', other, 'from'],
      [old, 'else/00u1anne', 'to'],
      [old, old, 'to'],
      [old, 'nobody', 'to'],
    ] as const)
      for (const one of ['look', 'move'] as const)
        await expect(world.service.personMove[one](from, to)).rejects.toMatchObject({ field })
    const recordedAs = operator('t_1')
    await world.service.accountLinks.link({ issuer, sub: '00u1anne', person: 'anne' }, recordedAs)
    await expect(world.service.personMove.move(old, other)).rejects.toMatchObject({
      field: 'to',
      public: expect.stringContaining('linked to anne'),
    })
    // She signs in by it: moved, it would be disabled, and she with it.
    await expect(world.service.personMove.move(other, 'anne')).rejects.toMatchObject({ field: 'from' })
    await world.service.personMove.move(old, 'anne')
    expect(await found('anne')).toEqual(visible)
    await expect(world.service.personMove.move(old, 'bob')).rejects.toMatchObject({ field: 'to' })
  })
})

describe('every column that may hold a person', () => {
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase()
  })
  afterAll(() => database?.close())

  test('is one that a move knows of: what it does with it stands here', async () => {
    const rows = await database.query<{ column: string }>(
      `select table_name || '.' || column_name as column from information_schema.columns
       where table_schema = 'public' and data_type in ('text', 'jsonb', 'ARRAY')
         and column_name ~ '(subject|person|people|owner|planner|user|who|lender|grantor|holder|_by$|^access$|_key$|^key$)'
       order by 1`,
    )
    expect(rows.map(({ column }) => column)).toEqual(Object.keys(columns).sort())
  })
})

/** Of revisions that wait or failed: there are none here. And of the old key, which stays disabled. */
const passing: ReadonlySet<string> = new Set([
  'failed_documents.access',
  'revisions.access',
  'revisions.owner',
  'revocations.key',
])

/**
 * `log`: says what was, under the name of that time. `local`: of local accounts, which are not moved from.
 */
const columns: Readonly<Record<string, 'moved' | 'ended' | 'log' | 'local' | 'replica' | 'no person'>> = {
  'account_links.person': 'local',
  'account_links_ended.person': 'local',
  'administrators.subject': 'moved',
  'agents.owner': 'moved',
  'approval_askers.subject': 'moved',
  'approval_grants.subject': 'moved',
  'approval_host_askers.subject': 'moved',
  'approvals.subject': 'moved',
  'revocation_feed_changes.key': 'log',
  'backchannel_requests.subject': 'ended',
  'browser_sessions.person': 'ended',
  'browser_sessions.upstream_person': 'ended',
  'connection_requests.subject': 'ended',
  'connections.subject': 'ended',
  'decision_records.subject': 'log',
  'delegations.subject': 'moved',
  'documents.owner': 'moved',
  'engine_changes.subject': 'log',
  'engine_tuples.subject': 'moved',
  'failed_documents.access': 'moved',
  'index_tuples.subject': 'replica',
  'jobs.idempotency_key': 'no person',
  'jobs.owner': 'no person',
  'leases.holder': 'no person',
  'model_approvals.subject': 'ended',
  'model_plans.planner': 'log',
  'models.activated_by': 'log',
  'oauth_artifacts.person_hash': 'ended',
  'oauth_artifacts.user_code_hash': 'no person',
  'oauth_grants.subject': 'ended',
  'offer_limits.subject': 'ended',
  'offers.subject': 'ended',
  'passkeys.person': 'local',
  'passwords.person': 'local',
  'people.key': 'ended',
  'person_moves.new_key': 'log',
  'person_moves.old_key': 'log',
  'push_ended.person': 'ended',
  'push_subscriptions.person': 'ended',
  'record_people.subject': 'log',
  'record_who.subject': 'log',
  'resources.owner_client': 'no person',
  'revisions.access': 'moved',
  'revisions.begun_by': 'no person',
  'revisions.owner': 'moved',
  'revocations.key': 'moved',
  'settings.key': 'no person',
  // Compared with what the source's directory says next, which alone decides: see syncOnce.
  'source_items.access': 'replica',
  'source_blocks.subject': 'moved',
  'source_changes.proposed_by': 'log',
  'source_people.linked_by': 'no person',
  'source_people.subject': 'moved',
  'source_people_proposed.people': 'ended',
  // As of a source: a yes to it counts only under the name of then.
  'source_people_proposed.proposed_by': 'log',
  'sources.confirmed_by': 'log',
  // A yes to it counts only while its proposer is an administrator, under the name of then.
  'sources.proposed_by': 'log',
  'desired_tuples.subject': 'moved',
  'group_places.subject': 'no person',
}
