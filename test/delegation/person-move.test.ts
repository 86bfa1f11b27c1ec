import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import type { Database } from '../../src/store/sql.ts'
import { backends } from '../support/backends.ts'
import { openTestDatabase } from '../support/database.ts'
import {
  found,
  issuer,
  old,
  openFilled,
  other,
  standsUnderOther,
  tuplesOf,
  visible,
  world,
} from './world-move.ts'

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

// What is all apart here is together in the world below.
const apart = backends.find(({ database, openfga }) => database === 'postgres' && openfga === 'server')

describe('a person who is moved to another key', apart?.options ?? {}, () => {
  beforeEach(async () => {
    dies = Number.POSITIVE_INFINITY
    await openFilled(apart && { backend: apart })
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
    await openFilled(dying)
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

  test('that died once its rows had moved brings back by the same call nothing that was taken away meanwhile', async () => {
    diesAt = 'group:eng'
    await expect(world.service.personMove.move(old, other)).rejects.toThrow()
    diesAt = undefined
    expect(await tuplesOf(old)).toContain('member group:eng')
    for (const key of [old, other]) {
      await world.service.ingest.applyTuples(operator('t_tests'), {
        writes: [],
        deletes: [{ user: `user:${key}`, relation: 'member', object: 'group:eng' }],
      })
      expect(await tuplesOf(old)).not.toContain('member group:eng')
      await world.write(`user:${old} member group:eng`)
    }
    await world.service.ingest.applyTuples(operator('t_tests'), {
      writes: [],
      deletes: [{ user: `user:${other}`, relation: 'member', object: 'group:eng' }],
    })
    await world.service.personMove.move(old, other)
    expect([await tuplesOf(old), await tuplesOf(other)]).toEqual([
      [],
      expect.not.arrayContaining(['member group:eng']),
    ])
    expect(await world.service.ingest.drift()).toMatchObject({ mended: 0 })
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
    // As a version before this wrote it.
    await world.database.query(`update desired_tuples set subject = $1 where object = 'group:eng'`, [
      `user:${old}`,
    ])
    await world.write(`user:${old} member group:eng`)
    await world.service.fga.write({
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
      ['acme/mistyped@acme.test', other, 'from'],
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
