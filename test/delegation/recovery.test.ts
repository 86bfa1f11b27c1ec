import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { tupleId } from '../../src/authz/fga.ts'
import { createApprovalGrants } from '../../src/delegation/approvals/grants.ts'
import type { RecoverDeps } from '../../src/delegation/recovery/recover.ts'
import { isAllAdopted } from '../../src/store/adopted.ts'
import { needsOpenfga, needsPostgres } from '../support/native.ts'
import { openMigrated } from './world.ts'
import { openFga, tuplesOf } from './world-fga.ts'
import { addBot, clock, openCopies, putSession, type Stand, standOn, tuplesLeft } from './world-recovery.ts'

describe(
  'a copy of the database beside an OpenFGA that went on',
  needsPostgres.skip ? needsPostgres : needsOpenfga,
  () => {
    const { name, administer, standOnPostgres, openfgaNow, wentOn } = openCopies()

    test('recovered, it has ended what was lent, taken back and issued since, and answers', async () => {
      let since = ''
      const before = await wentOn(async (stand, lent) => {
        since = await stand.lend()
        await stand.delegations.revoke(lent)
      })
      await using copy = await standOnPostgres(`${name}_copy`)
      // As the copy has it, that one is still lent.
      expect(await copy.delegations.isLive(before)).toBe(true)
      expect(await tuplesOf(copy.fga, since)).not.toEqual([])
      let began = 0
      await copy.epoch.whenSound(async () => {
        // What begins now may hold OpenFGA to the database, and asks first.
        await copy.epoch.assertSoundNow()
        began += 1
      })
      const { delegations_ended, artifacts_ended, tuples_removed, send_again } = await copy.recover()
      // The kill switch was pulled since, perhaps.
      expect(send_again).toEqual([
        expect.stringMatching(/^agents, hosts and persons that were disabled/),
        expect.stringMatching(/^models that came into force or were taken back/),
        expect.stringMatching(/^passwords that were changed, passkeys that were removed/),
        'documents and their access',
      ])
      expect({ delegations_ended, artifacts_ended, tuples_removed }).toEqual({
        delegations_ended: 1,
        artifacts_ended: 2,
        tuples_removed: 3,
      })
      expect(await copy.delegations.isLive(before)).toBe(false)
      expect(await tuplesLeft(copy.fga)).toEqual([])
      copy.epoch.assertSound()
      expect(began).toBe(1)
      expect(await copy.database.query('select model from oauth_artifacts where ended_at is null')).toEqual([
        { model: 'ReplayDetection' },
      ])
      expect(
        await copy.database.query(`select event from decision_records where event = 'recovered'`),
      ).toHaveLength(1)
      const [row] = await copy.database.query<{ tokens_from: Date }>('select tokens_from from epochs')
      expect(row?.tokens_from.getTime()).toBeGreaterThanOrEqual(clock.now())
      // The next start finds nothing wrong, and the database that went on is the old one now.
      await copy.epoch.check()
      await using other = await standOnPostgres(name)
      expect(other.epoch.isSound).toBe(false)
    })

    test.each(['end', 'keep'] as const)(
      'restored from a backup with --%s-access, it has all adopted anew before access is mended',
      async (access) => {
        await wentOn(async () => undefined)
        await using copy = await standOnPostgres(`${name}_copy`)
        await copy.database.query(
          `insert into settings (key, value) values ('tuples_adopted', 'true') on conflict do nothing`,
        )
        await copy.database.query('update epochs set restored = $1', [
          JSON.stringify({ taken_at: '2026-01-01T00:00:00Z', restored_at: '', openfga: false, seal: 0 }),
        ])
        const asked: unknown[] = []
        const recovered = await copy.recover(
          {
            mendAccess: async (older) => {
              asked.push(older, await isAllAdopted(copy.database))
              return 0
            },
          },
          { heads: [], access, anyway: false },
        )
        expect(asked).toEqual(['database', false])
        expect(recovered).toMatchObject({ older: 'database', access })
        // Where all access ended, that of groups did too.
        expect(recovered.send_again.includes('members of groups and organizations')).toBe(access === 'end')
      },
    )

    test('recovered, it still has what was lent before and stands on both sides', async () => {
      const before = await wentOn(async (stand) => void (await stand.lend()))
      await using copy = await standOnPostgres(`${name}_copy`)
      await copy.recover()
      expect(await copy.delegations.isLive(before)).toBe(true)
      expect((await tuplesLeft(copy.fga)).every((tuple) => tuple.includes(before))).toBe(true)
    })

    test('where somebody says that both are copies, nothing that was lent stays, and no agent', async () => {
      const before = await wentOn(async (stand) => void (await stand.lend()))
      await using copy = await standOnPostgres(`${name}_copy`)
      const disabled: string[] = []
      const recovered = await copy.recover(
        { agents: { enabled: async () => ['bot'], disable: async (id) => disabled.push(id) } },
        { heads: [], access: undefined, anyway: true },
      )
      expect(recovered).toMatchObject({
        older: 'database',
        delegations_ended: 1,
        agents_disabled: 1,
        agents: ['bot'],
      })
      expect(recovered.send_again).toEqual(
        expect.arrayContaining(['members of groups and organizations', 'documents and their access']),
      )
      expect(await copy.delegations.isLive(before)).toBe(false)
      expect([disabled, await tuplesLeft(copy.fga)]).toEqual([['bot'], []])
    })

    const both = { heads: [], access: undefined, anyway: true } as const
    const tokensFrom = async ({ database }: Stand): Promise<number> => {
      const [row] = await database.query<{ at: Date }>('select tokens_from as at from epochs')
      return row?.at.getTime() ?? 0
    }

    test('ends every token issued before it by the clock of the database, where its own is behind', async () => {
      await wentOn(async () => undefined)
      await using copy = await standOnPostgres(`${name}_copy`)
      const [before] = await copy.database.query<{ now: Date }>('select now() as now')
      clock.move(-3_600_000)
      await copy.recover({}, both).finally(() => clock.move(3_600_000))
      expect(await tokensFrom(copy)).toBeGreaterThanOrEqual(before?.now.getTime() ?? Number.NaN)
    })

    test('brings no token back that an earlier recovery ended, where its clock was set back since', async () => {
      await wentOn(async () => undefined)
      await using copy = await standOnPostgres(`${name}_copy`)
      await copy.database.query(`update epochs set tokens_from = now() + interval '1 hour'`)
      const ended = await tokensFrom(copy)
      const begun: number[] = []
      await copy.recover({ step: async () => void begun.push(await tokensFrom(copy)) }, both)
      expect(Math.min(...begun, await tokensFrom(copy))).toBeGreaterThan(ended)
    })

    test('ends nothing where the clocks are minutes apart', async () => {
      await wentOn(async () => undefined)
      await using copy = await standOnPostgres(`${name}_copy`)
      await expect(copy.recover({ areClocksApart: () => true }, both)).rejects.toMatchObject({
        code: 'conflict',
        public: expect.stringContaining('more than five minutes apart'),
      })
      expect(await copy.database.query('select recovering_since, tokens_from from epochs')).toEqual([
        { recovering_since: null, tokens_from: null },
      ])
    })

    const steps = [
      'begun',
      'access',
      'agents',
      'sessions',
      'grants',
      'accounts',
      'delegations',
      'index',
      'searched',
    ]

    test.each(steps)(
      'stays shut where recovery died after “%s”, and opens when it is run again',
      async (last) => {
        const before = await wentOn(async (stand, lent) => void (await stand.delegations.revoke(lent)))
        {
          await using copy = await standOnPostgres(`${name}_copy`)
          const died = copy.recover({
            async step(done) {
              if (done === last) throw new Error('killed')
            },
          })
          await expect(died).rejects.toThrow('killed')
          expect(copy.epoch.isSound).toBe(false)
        }
        await using copy = await standOnPostgres(`${name}_copy`)
        expect(copy.epoch.isSound).toBe(false)
        await copy.recover()
        copy.epoch.assertSound()
        expect(await copy.delegations.isLive(before)).toBe(false)
        expect(await tuplesLeft(copy.fga)).toEqual([])
      },
    )

    test.each(steps)(
      'recovered with --anyway that died after “%s”, it ends as much when only `recover` is said again',
      async (last) => {
        const before = await wentOn(async (stand) => void (await stand.lend()))
        const enabled = new Set(['bot'])
        const agents: RecoverDeps['agents'] = {
          enabled: async () => [...enabled],
          disable: async (id) => enabled.delete(id),
        }
        {
          await using copy = await standOnPostgres(`${name}_copy`)
          const died = copy.recover(
            {
              agents,
              async step(done) {
                if (done === last) throw new Error('killed')
              },
            },
            { heads: [], access: undefined, anyway: true },
          )
          await expect(died).rejects.toThrow('killed')
        }
        await using copy = await standOnPostgres(`${name}_copy`)
        const recovered = await copy.recover({ agents })
        expect(recovered.send_again).toEqual(
          expect.arrayContaining(['members of groups and organizations', 'documents and their access']),
        )
        expect([await copy.delegations.isLive(before), [...enabled], await tuplesLeft(copy.fga)]).toEqual([
          false,
          [],
          [],
        ])
        // The next recovery is told anew.
        expect(await copy.database.query('select said_copies from epochs')).toEqual([{ said_copies: false }])
      },
    )

    test('another process hears that a recovery began, and that it ended', async () => {
      await wentOn(async () => undefined)
      await using one = await standOnPostgres(`${name}_copy`)
      await using other = await standOnPostgres(`${name}_copy`)
      await one.recover({
        step: async (at) => {
          await other.authority.refresh()
          await other.epoch.check()
          expect(other.epoch.isSound).toBe(at === 'ended')
        },
      })
      await expect.poll(() => other.epoch.isSound).toBe(true)
    })

    describe('an OpenFGA that was put back', () => {
      test('where somebody says that the database is a copy too, no lending stays, and all is named', async () => {
        await administer(`create database ${name}`)
        await using stand = await standOnPostgres(name)
        await addBot(stand.database)
        const lent = await stand.lend()
        const putBack = await openfgaNow(stand.fga.storeId)
        await stand.epoch.raise()
        await putBack()
        await using again = await standOnPostgres(name)
        const recovered = await again.recover({}, { heads: [], access: undefined, anyway: true })
        expect(recovered).toMatchObject({ older: 'openfga', delegations_ended: 1 })
        expect(recovered.send_again).toHaveLength(6)
        expect(await again.delegations.isLive(lent)).toBe(false)
      })

      test('recovered, it has our access first, what was lent since has ended, and what nothing tells is named', async () => {
        await administer(`create database ${name}`)
        await using stand = await standOnPostgres(name)
        await addBot(stand.database)
        const before = await stand.lend()
        const revoked = await stand.lend()
        await stand.epoch.raise()
        const putBack = await openfgaNow(stand.fga.storeId)
        const since = await stand.lend()
        await stand.delegations.revoke(revoked)
        await stand.epoch.raise()
        await putBack()
        await using again = await standOnPostgres(name)
        const done: string[] = []
        const recovered = await again.recover({
          mendAccess: async () => {
            expect(again.epoch.isSound).toBe(false)
            done.push('mended')
            return 7
          },
          step: async (step) => void done.push(step),
        })
        expect(done.slice(0, 3)).toEqual(['begun', 'mended', 'access'])
        expect(recovered).toMatchObject({
          older: 'openfga',
          access_mended: 7,
          delegations_ended: 1,
          send_again: ['members of groups and organizations', 'writers and taggers of collections'],
        })
        const live = await Promise.all([before, since, revoked].map((id) => again.delegations.isLive(id)))
        expect(live).toEqual([true, false, false])
        expect((await tuplesLeft(again.fga)).every((tuple) => tuple.includes(before))).toBe(true)
        again.epoch.assertSound()
        await using next = await standOnPostgres(name)
        next.epoch.assertSound()
      })
    })
  },
)

test('with the tuples in the same database an older copy is whole and cries no wolf; recovery still ends all', async () => {
  const database = await openMigrated()
  const fga = await openFga(database, clock)
  await using stand = await standOn(database, fga, { isApart: false })
  await addBot(database)
  const lent = await stand.lend()
  await putSession(database)
  await stand.epoch.raise()
  await database.query('update epochs set number = 0')
  await database.query(
    `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds, max_age_seconds, purge_days, groups_at)
     values ('wiki', 'none', 'file:///srv/none', '{}', '{wiki}', 'active', 'user:dan', 1, 1, 1000, 1, now())`,
  )
  await stand.epoch.check()
  stand.epoch.assertSound()
  expect(await stand.recover()).toMatchObject({ delegations_ended: 0, artifacts_ended: 2, tuples_removed: 0 })
  // Whom a source's groups let read is compared first.
  expect(
    await database.query('select groups_at, crawl_wanted_at is not null as wanted from sources'),
  ).toEqual([{ groups_at: null, wanted: true }])
  stand.epoch.assertSound()
  expect(await stand.delegations.isLive(lent)).toBe(true)
})

test.each([
  { case: 'nothing tells which of the two is older', older: 'not_known', all: true },
  { case: 'the database alone is older', older: 'database' },
  { case: 'OpenFGA’s log went back as well', older: 'database', wentBack: true, all: true },
  { case: 'the database came from a backup', older: 'database', restored: false },
  { case: 'both came from one backup', older: 'database', restored: true, all: true },
  { case: 'OpenFGA alone is older', older: 'openfga', none: true },
  { case: 'the database came from a backup that is newer', older: 'openfga', restored: false, all: true },
])(
  'recovery names what nothing tells: where $case',
  async ({ older, wentBack = false, restored, all = false, none = false }) => {
    const database = await openMigrated()
    const fga = await openFga(database, clock)
    await using stand = await standOn(database, fga, { isApart: older !== 'not_known' })
    await database.query(`insert into settings (key, value) values ('tuples_adopted', 'true')`)
    await stand.epoch.raise()
    const [number, told] = older === 'database' ? [0, 0] : [9, 9]
    if (older !== 'not_known')
      await database.query('update epochs set number = $1, told = $2, log_went_back = $3, restored = $4', [
        number,
        told,
        wentBack,
        restored === undefined
          ? null
          : { taken_at: '2026-01-01T00:00:00Z', restored_at: '', openfga: restored, seal: 0 },
      ])
    const recovered = await stand.recover(
      {},
      { heads: [], access: restored === undefined ? undefined : 'keep', anyway: false },
    )
    expect(recovered.older).toBe(older)
    const others = recovered.send_again.filter((kept) => !/^(agents, hosts|models|passwords)/.test(kept))
    expect([recovered.send_again.length - others.length, others]).toEqual([
      none ? 0 : 3,
      [
        ...(none ? [] : ['documents and their access']),
        ...(all ? ['members of groups and organizations', 'writers and taggers of collections'] : []),
      ],
    ])
  },
)

test('recovery ends every grant of an approval: how often it was used since nobody knows', async () => {
  const database = await openMigrated()
  const fga = await openFga(database, clock)
  await using stand = await standOn(database, fga, { isApart: false })
  await addBot(database)
  const delegation = await stand.lend()
  const grants = createApprovalGrants({ database, fga, clock, log: () => undefined, randomBytes })
  const wanted = {
    approval: 'ap_1',
    subject: 'user:anne' as const,
    agent: 'bot',
    delegation,
    objects: ['folder:board'] as const,
    until: new Date(clock.now() + 300_000),
    remembered: true,
  }
  const { id } = await grants.prepare(wanted)
  await database.transaction((sql) => grants.activateWithin(sql, id, operator('t_tests')))
  // Made since that copy: the database does not know of it.
  await fga.write({ writes: [{ user: 'grant:g_since', relation: 'granted_by', object: 'document:minutes' }] })
  expect(await stand.recover()).toMatchObject({ grants_ended: 1, tuples_removed: 4, delegations_ended: 0 })
  expect(await grants.get(id)).toMatchObject({ state: 'ended' })
  const left: string[] = []
  for await (const page of fga.readAll()) left.push(...page.map(tupleId))
  expect(left.filter((tuple) => tuple.includes('grant:'))).toEqual([])
  expect(await stand.delegations.isLive(delegation)).toBe(true)
})

test('recovery has linked accounts connected and agreed to once more: what was taken back since nobody knows', async () => {
  const database = await openMigrated()
  await using stand = await standOn(database, await openFga(database, clock), { isApart: false })
  await addBot(database)
  for (const [id, state] of [
    ['c_1', 'live'],
    ['c_2', 'needs_reconnect'],
  ] as const)
    await database.query(
      `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed,
         wrapped_key, key_version, refreshable, sealed_at, created_at)
       values ($1, 'user:anne', 'github', 'https://github.com', $1, 'anne', $2, '{}', 'x', '\\x00', 'one', true, now(), now())`,
      [id, state],
    )
  await database.query(
    `insert into connection_agents (connection, agent, client, rules, agreed_at) values ('c_1', 'bot', 'app', '[]', now())`,
  )
  expect(await stand.recover()).toMatchObject({ accounts_to_reconnect: 1 })
  expect(await database.query('select id, state from connections order by id')).toEqual([
    { id: 'c_1', state: 'needs_reconnect' },
    { id: 'c_2', state: 'needs_reconnect' },
  ])
  expect(await database.query('select * from connection_agents')).toEqual([])
})
