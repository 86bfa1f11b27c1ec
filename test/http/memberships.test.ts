import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { backends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

interface Answer {
  readonly memberships: readonly {
    readonly member: string
    readonly relation: string
    readonly group: string
    readonly counts: string
    readonly via: string | null
    readonly until: string | null
  }[]
  readonly cursor: string | null
  readonly complete: boolean
  readonly field?: string
}

const ways = backends.filter(({ name }) => name === 'PGlite × engine' || name === 'Postgres × OpenFGA')

describe.each(ways)('POST /memberships on $name', ({ options, ...backend }) => {
  describe('of people in groups within groups', options, () => {
    let world: World
    let reader = ''
    const [past, future] = ['2020-01-01T00:00:00Z', '2999-01-01T00:00:00Z']

    beforeAll(async () => {
      world = await openWorld({ backend })
      await world.write(
        'user:anne member group:eng',
        'group:eng#member member group:staff',
        'user:bob member group:staff',
        'user:dan admin organization:acme',
        'group:staff#member member organization:acme',
      )
      const timed = (user: string, group: string, expires_at: string) => ({
        user,
        relation: 'member',
        object: group,
        condition: { name: 'until' as const, context: { expires_at } },
      })
      await world.service.fga.write({
        writes: [
          timed('user:anne', 'group:guests', past),
          timed('user:carol', 'group:guests', future),
        ] as never,
      })
      await world.service.administrators.add('user:dan', ['security.read'])
      await world.service.administrators.add('user:carol', ['security.write'])
      reader = await world.token({ user: 'dan' })
    })
    afterAll(() => world?.[Symbol.asyncDispose]())

    const ask = async (body: object, token = reader) => {
      const response = await world.call('POST', '/memberships', { token, body })
      return { status: response.status, body: (await response.json()) as Answer }
    }
    const whole = (body: object) =>
      vi.waitFor(
        async () => {
          const answer = await ask(body)
          expect(answer).toMatchObject({ status: 200, body: { complete: true } })
          return answer.body
        },
        { timeout: 20_000, interval: 100 },
      )

    test('tells the groups that a person is in and through which, and that an ended one counts no more', async () => {
      const { memberships } = await whole({ user: 'user:anne' })
      expect(memberships.map(({ group, counts, via, until }) => [group, counts, via, until])).toEqual([
        ['group:eng', 'allowed', 'member of group:eng', null],
        ['group:guests', 'denied', null, past],
        ['group:staff', 'allowed', 'member of group:eng, member of group:staff', null],
        [
          'organization:acme',
          'allowed',
          'member of group:eng, member of group:staff, member of organization:acme',
          null,
        ],
      ])
      expect((await whole({ user: 'user:nobody' })).memberships).toEqual([])
    })

    test('tells whom a group holds: people, groups within it, until when, and what counts', async () => {
      const of = async (group: string) =>
        (await whole({ group })).memberships.map(({ member, relation, counts, until }) => [
          member,
          relation,
          counts,
          until,
        ])
      expect(await of('group:staff')).toEqual([
        ['group:eng#member', 'member', 'allowed', null],
        ['user:bob', 'member', 'allowed', null],
      ])
      expect(await of('group:guests')).toEqual([
        ['user:anne', 'member', 'denied', past],
        ['user:carol', 'member', 'allowed', future],
      ])
      expect(await of('organization:acme')).toEqual([
        ['user:dan', 'admin', 'allowed', null],
        ['group:staff#member', 'member', 'allowed', null],
      ])
      expect(await of('group:none')).toEqual([])
    })

    test('goes on at a cursor, and takes none of another list', async () => {
      const { memberships } = await whole({ user: 'user:anne' })
      const found: unknown[] = []
      let cursor: string | null = null
      do {
        const page: Answer = await whole({ user: 'user:anne', limit: 1, ...(cursor !== null && { cursor }) })
        found.push(...page.memberships)
        cursor = page.cursor
      } while (cursor !== null)
      expect(found).toEqual(memberships)
      const { cursor: hers } = await whole({ user: 'user:anne', limit: 1 })
      expect(await ask({ user: 'user:bob', cursor: hers })).toMatchObject({
        status: 422,
        body: { field: 'cursor' },
      })
      expect(await ask({ group: 'group:eng', cursor: hers })).toMatchObject({
        status: 422,
        body: { field: 'cursor' },
      })
    })

    test('is for administrators who may read, and on record before it is answered', async () => {
      for (const user of ['anne', 'carol'])
        expect((await ask({ user: 'user:anne' }, await world.token({ user }))).status).toBe(403)
      await world.service.administrators.add('user:bob', ['security.read'])
      const former = await world.token({ user: 'bob' })
      await world.service.administrators.remove('user:bob')
      expect((await ask({ user: 'user:anne' }, former)).status).toBe(403)
      await world.lend('anne', 'research-bot', 'collection:handbook')
      const agent = await world.token({ user: 'anne', agent: 'research-bot' })
      expect((await ask({ user: 'user:anne' }, agent)).status).toBe(403)
      await whole({ group: 'group:eng' })
      const [last] = await world.database.query<{ subject: string; objects: string[]; detail: object }>(
        `select subject, objects, detail from decision_records where event = 'memberships_listed'
         order by record_no desc limit 1`,
      )
      expect(last).toMatchObject({
        subject: 'user:dan',
        objects: ['group:eng'],
        detail: { object: 'group:eng', listed: 1, complete: true },
      })
    })

    test('says that something may be missing where the replica is behind or OpenFGA does not tell', async () => {
      const { index } = world.service
      const caughtUp = vi.spyOn(index, 'catchUp').mockRejectedValueOnce(new Error('behind'))
      expect((await ask({ user: 'user:anne' })).body).toMatchObject({
        complete: false,
        replica: { state: 'behind' },
      })
      caughtUp.mockRestore()
      const unseen = vi.spyOn(index, 'view').mockReturnValue(undefined)
      expect((await ask({ user: 'user:anne' })).body).toMatchObject({ memberships: [], complete: false })
      unseen.mockRestore()
    })

    test('names the field of what is no person and no group', async () => {
      for (const [body, field] of [
        [{}, 'user'],
        [{ user: 'user:anne', group: 'group:eng' }, 'user'],
        [{ user: 'anne' }, 'user'],
        [{ user: 'user:*' }, 'user'],
        [{ user: 'group:eng' }, 'user'],
        [{ group: 'eng' }, 'group'],
        [{ group: 'document:plan' }, 'group'],
        [{ group: 'group:eng#member' }, 'group'],
        [{ user: 'user:anne', limit: 201 }, 'limit'],
      ] as const)
        expect(await ask(body)).toMatchObject({ status: 422, body: { field } })
    })
  })
})
