import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Tuple } from '../../src/authz/fga.ts'
import { createServices, type Services } from '../../src/delegation/registry/services.ts'
import { isAdopted } from '../../src/ingest/reconcile-tuples.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { backends } from '../support/backends.ts'
import { type IngestWorld, machine, openIngestWorld, tuple } from './world.ts'

const kinds = [
  'user:anne member group:new',
  'group:eng#member member group:new',
  'user:anne admin organization:acme',
  'user:anne blocked organization:acme',
  'service:new writer collection:open',
  'service:new tagger collection:open',
  'organization:acme organization collection:open',
]
const died = new Error('This process is dead.')

// The two ends: one process with all in it, and several with an OpenFGA of its own.
describe.each(backends.filter(({ name }) => name === 'PGlite × engine' || name === 'Postgres × OpenFGA'))(
  'members, writers and taggers on $name',
  ({ options, ...backend }) => {
    describe('', options, () => {
      let world: IngestWorld
      beforeAll(async () => {
        world = await openIngestWorld(backend)
      }, 120_000)
      afterAll(() => world?.[Symbol.asyncDispose]())

      const rows = async (): Promise<string[]> => {
        const found = await world.database.query<{ user: string; relation: string; object: string }>(
          'select subject as "user", relation, object from desired_tuples',
        )
        return found.filter(isOurs).map(lineOf).sort()
      }
      const stored = async (): Promise<string[]> => {
        const found: string[] = []
        for await (const one of world.fga.read({})) if (isOurs(one)) found.push(lineOf(one))
        return found.sort()
      }
      const change = (operation: 'writes' | 'deletes', ...lines: readonly string[]) =>
        world.ingest.applyTuples(machine, { writes: [], deletes: [], [operation]: lines.map(tuple) })
      const unwritten = async (task: () => Promise<unknown>): Promise<void> => {
        world.onWrite = () => {
          throw died
        }
        await expect(task()).rejects.toThrow()
        world.onWrite = () => undefined
      }
      const settings = () => world.database.query(`select key from settings where key = 'tuples_adopted'`)

      // A lease in doubt is over after two seconds: that is waited for with an OpenFGA of its own.
      test.each(backend.openfga === 'server' ? kinds.slice(0, 1) : kinds)(
        '%s stands in a row before OpenFGA has it, and leaves it before that loses it',
        {
          timeout: 60_000,
        },
        async (line) => {
          await unwritten(() => change('writes', line))
          expect([(await rows()).includes(line), (await stored()).includes(line)]).toEqual([true, false])
          // Its row lets nobody do anything: OpenFGA alone is asked.
          const { user, relation, object } = tuple(line)
          expect(await world.check(user, relation, object)).toBe(false)
          await world.restart()
          expect((await stored()).includes(line)).toBe(true)
          await unwritten(() => change('deletes', line))
          expect([(await rows()).includes(line), (await stored()).includes(line)]).toEqual([false, true])
          await world.restart()
          expect((await stored()).includes(line)).toBe(false)
          expect(await world.ingest.drift()).toMatchObject({ mended: 0 })
        },
      )

      test('who writes a collection and who tags it: what its list says is in rows first, and what it leaves out is not', async () => {
        const own = { id: 'own', title: 'Own' }
        await world.ingest.saveCollection(machine, { ...own, writers: ['service:a', 'service:b'] })
        await unwritten(() =>
          world.ingest.saveCollection(machine, { ...own, writers: ['service:b', 'service:c'] }),
        )
        const ofOwn = (lines: readonly string[]) => lines.filter((line) => line.endsWith('collection:own'))
        expect(ofOwn(await rows())).toEqual([
          'service:b writer collection:own',
          'service:c writer collection:own',
        ])
        expect(ofOwn(await stored())).toEqual([
          'service:a writer collection:own',
          'service:b writer collection:own',
        ])
        await world.restart()
        expect(ofOwn(await stored())).toEqual(ofOwn(await rows()))
        // One that nobody noted becomes one that was said.
        await world.fga.write({ writes: [tuple('service:d writer collection:own')] })
        await world.ingest.saveCollection(machine, { ...own, writers: ['service:b', 'service:d'] })
        expect(ofOwn(await rows())).toEqual([
          'service:b writer collection:own',
          'service:d writer collection:own',
        ])
        expect(await world.ingest.drift()).toMatchObject({ mended: 0 })
      })

      test('an OpenFGA that is older gives nothing back and loses nothing', async () => {
        const [left, stays] = ['user:left member group:team', 'user:stays member group:team']
        await change('writes', left)
        await change('deletes', left)
        await change('writes', stays, 'service:kept writer collection:other')
        await world.fga.write({
          writes: [left, 'user:left admin organization:firm', 'service:gone writer collection:closed'].map(
            tuple,
          ),
          deletes: [stays, 'service:kept writer collection:other'].map(tuple),
        })
        expect(await world.ingest.drift()).toMatchObject({ mended: 4, added: 2, removed: 3 })
        expect(await stored()).toEqual(await rows())
        expect(await stored()).toEqual(
          expect.arrayContaining([stays, 'service:kept writer collection:other']),
        )
        expect(await stored()).not.toContain(left)
      })

      test('of one member, put and taken out at the same time, row and tuple say the same', async () => {
        const line = 'user:torn member group:torn'
        for (let round = 0; round < 4; round += 1) {
          await Promise.all([change('writes', line), change('deletes', line), change('writes', line)])
          expect((await stored()).includes(line)).toBe((await rows()).includes(line))
        }
        expect(await world.database.query('select object from unreconciled')).toEqual([])
      })

      test('what 0.9.0 left is taken over before anything is compared: nobody loses a right, nobody gets one', {
        timeout: 60_000,
      }, async () => {
        await change('writes', 'user:old member group:old', 'service:old writer collection:other')
        const before = await stored()
        const forget = async () => {
          await world.database.query(`delete from settings where key = 'tuples_adopted'`)
          await world.database.query(
            `delete from desired_tuples where object ~ '^(group|organization):' or relation in ('writer', 'tagger')`,
          )
        }
        await forget()
        // A change that nobody was told of, as a process leaves it that dies.
        await world.database.query(
          `insert into desired_tuples (object, relation, subject) values ('group:old', 'member', 'user:nobody')`,
        )
        await world.database.query(`insert into unreconciled (object, purge) values ('group:old', false)`)
        expect(await world.ingest.drift()).toMatchObject({ mended: 0 })
        expect(await stored()).toEqual(before)
        // It ends before all of it is taken over: nothing is compared, and the next start begins anew.
        world.onTuples = (object) => {
          if (object === 'group:old') throw died
        }
        await world.restart()
        expect(await settings()).toEqual([])
        expect(await world.ingest.drift().catch(() => undefined)).toBeUndefined()
        expect(await stored()).toEqual(before)
        world.onTuples = () => undefined
        await world.restart()
        expect(await settings()).toHaveLength(1)
        expect([await rows(), await stored()]).toEqual([before, before])
        expect(await world.ingest.drift()).toMatchObject({ mended: 0 })
        // From now on.
        await world.fga.write({ deletes: [tuple('user:old member group:old')] })
        await world.ingest.drift()
        expect(await stored()).toEqual(before)
      })

      test('--access end ends them too, and leaves who is in a group that blocks', async () => {
        await change('writes', 'user:out member group:keeps', 'user:in member group:gives')
        await change('writes', 'group:keeps#member blocked organization:firm')
        await unwritten(() =>
          change('writes', 'user:later member group:keeps', 'user:later member group:gives'),
        )
        await world.ingest.endAccess(machine, async (usersets) =>
          usersets.filter((userset) => userset === 'group:keeps#member'),
        )
        const left = [
          'group:keeps#member blocked organization:firm',
          'user:later member group:keeps',
          'user:out member group:keeps',
        ]
        const without = (lines: readonly string[]) =>
          lines.filter((line) => !/ organization collection:| blocked organization:acme/.test(line))
        expect(without(await rows())).toEqual(left)
        await world.ingest.drift()
        expect(without(await stored())).toEqual(left)
      })

      test('drift holds nothing to a database or an OpenFGA that is older by the time of the Write, unless a recovery does', async () => {
        const line = 'user:sound member group:sound'
        await change('writes', line)
        await world.fga.write({ deletes: [tuple(line)] })
        let isRead = false
        world.onTuples = (object) => {
          isRead ||= object === 'group:sound'
        }
        world.onSound = () => {
          // After what is compared was read: until then it may still be the newer one.
          expect(isRead).toBe(true)
          throw new Error('the database is older than it was')
        }
        await expect(world.ingest.drift()).rejects.toThrow('older')
        expect(await stored()).not.toContain(line)
        await world.database.query(`insert into unreconciled (object, purge) values ('group:sound', false)`)
        await world.restart()
        expect(await stored()).not.toContain(line)
        expect(await world.ingest.drift({ recovering: true })).toMatchObject({ mended: 1 })
        expect(await stored()).toContain(line)
        world.onSound = () => undefined
        world.onTuples = () => undefined
      })

      test('what only keeps somebody from something stays without a row, and is told of; what also gives goes', async () => {
        const block = 'user:mallory blocked organization:bank'
        const [blocking, both] = ['user:mallory member group:out', 'user:mallory member group:both']
        await change(
          'writes',
          'group:out#member blocked organization:bank',
          'group:both#member blocked organization:bank',
          'group:both#member viewer collection:open',
        )
        await world.fga.write({ writes: [block, blocking, both].map(tuple) })
        expect(await world.ingest.drift()).toMatchObject({ mended: 1, removed: 1, kept: 2 })
        expect(await stored()).toEqual(expect.arrayContaining([block, blocking]))
        expect(await stored()).not.toContain(both)
        expect(world.logged).toContainEqual({
          event: 'restrictions_without_row',
          fields: { count: 2, tuples: expect.arrayContaining([block, blocking]) },
        })
        // Who may take them away still does.
        await change('deletes', block, blocking)
        expect(await world.ingest.drift()).toMatchObject({ mended: 0, kept: 0 })
        await change(
          'deletes',
          'group:both#member viewer collection:open',
          'group:both#member blocked organization:bank',
        )
      })

      test('nobody is out of a group that blocks between two Writes of one drift', {
        timeout: 60_000,
      }, async () => {
        // In it by herself as OpenFGA has it, through a group as the rows say; and more than one Write takes.
        await change('writes', 'user:zoe member group:via', 'group:swap#member blocked organization:bank')
        const members = (from: number, length: number) =>
          Array.from({ length }, (_, nth) => `user:m${from + nth} member group:swap`)
        const [now, next] = [
          ['user:zoe member group:swap', ...members(0, 110)],
          ['group:via#member member group:swap', ...members(200, 10)],
        ]
        await change('writes', ...next)
        await world.fga.write({ deletes: next.map(tuple) })
        await world.fga.write({ writes: now.map(tuple) })
        // A change of it was told of.
        await world.database.query(`insert into unreconciled (object, purge) values ('group:swap', false)`)
        const seen: boolean[] = []
        world.onPart = async () => void seen.push(await world.check('user:zoe', 'member', 'group:swap'))
        expect(await world.ingest.drift()).toMatchObject({ mended: 1, added: 11, removed: 111 })
        world.onPart = () => undefined
        expect(seen.length).toBeGreaterThan(1)
        expect(seen).not.toContain(false)
        expect(await world.tuples('group:swap')).toHaveLength(11)
        await change('deletes', ...next)
      })

      test('nobody reads between two groups that one drift mends, of which one gives and one blocks', async () => {
        const mine = ['service:loader']
        await world.ingest.saveCollection(machine, {
          id: 'closed',
          title: 'Closed',
          writers: mine,
          taggers: mine,
        })
        await world.putDone({
          id: 'between',
          access: { viewers: ['group:a-readers#member'], blocked: ['group:z-out#member'] },
        })
        const lines = ['user:mallory member group:a-readers', 'user:mallory member group:z-out']
        await change('writes', ...lines)
        const seen: boolean[] = []
        const mends = async () => {
          world.onPart = async () =>
            void seen.push(await world.check('user:mallory', 'can_read', 'document:between'))
          await world.ingest.drift()
          world.onPart = () => undefined
        }
        // To be put into both.
        await world.fga.write({ deletes: lines.map(tuple) })
        await mends()
        expect(await world.tuples('group:z-out')).toEqual(['user:mallory member'])
        // To be taken out of both, as after a change that was told of.
        await world.database.query(`delete from desired_tuples where subject = 'user:mallory'`)
        await world.database.query(`insert into unreconciled (object, purge) values ('group:z-out', false)`)
        await mends()
        expect([await world.tuples('group:a-readers'), await world.tuples('group:z-out')]).toEqual([[], []])
        expect(seen.length).toBeGreaterThanOrEqual(4)
        expect(seen).not.toContain(true)
      })

      test('a collection goes from one organization to another in one Write: who is blocked in both reads at no moment', async () => {
        const org = (id: string) => `organization:${id} organization collection:moving`
        await world.ingest.saveCollection(machine, {
          id: 'moving',
          title: 'Moving',
          organization: 'from',
          writers: ['service:loader'],
          taggers: ['service:loader'],
        })
        await change('writes', 'user:barred blocked organization:from', 'user:barred blocked organization:to')
        await world.putDone({ id: 'm1', collection: 'moving', access: { viewers: ['user:barred'] } })
        await world.database.query(
          `update desired_tuples set subject = 'organization:to' where object = 'collection:moving' and relation = 'organization'`,
        )
        // As a process leaves them that dies before its Write.
        await world.database.query(
          `insert into unreconciled (object, purge) values ('collection:moving', false), ('group:z-last', false)`,
        )
        await world.database.query(
          `insert into desired_tuples (object, relation, subject) values ('group:z-last', 'member', 'user:z')`,
        )
        const seen: boolean[] = []
        const sees = async () => void seen.push(await world.check('user:barred', 'can_read', 'document:m1'))
        world.onPart = sees
        await world.ingest.drift()
        world.onPart = () => undefined
        await sees()
        expect(seen.length).toBeGreaterThan(2)
        expect(seen).not.toContain(true)
        expect(await stored()).toContain(org('to'))
        expect(await stored()).not.toContain(org('from'))
        // Without a row it stays: who is blocked there would read.
        await world.fga.write({ writes: [tuple(org('stray'))] })
        expect(await world.ingest.drift()).toMatchObject({ mended: 0, kept: 1 })
        await change('deletes', org('stray'), org('to'))
      })

      test('where somebody cannot be put into a group that blocks, drift puts them into none that gives', async () => {
        const [reads, out] = ['user:kim member group:a-kim', 'user:kim member group:z-kim']
        await world.putDone({
          id: 'kim',
          access: { viewers: ['group:a-kim#member'], blocked: ['group:z-kim#member'] },
        })
        await change('writes', reads, out)
        await world.fga.write({ deletes: [reads, out].map(tuple) })
        let isCompared = false
        world.onTuples = (object) => {
          if (object === 'group:z-kim' && isCompared) throw died
          isCompared ||= object === 'group:z-kim'
        }
        await expect(world.ingest.drift()).rejects.toThrow()
        expect((await stored()).filter((line) => line.startsWith('user:kim '))).toEqual([])
        expect(world.logged).toContainEqual({
          event: 'object_not_mended',
          fields: { object: 'group:z-kim', reason: expect.any(String) },
        })
        // By now not even compared.
        await expect(world.ingest.drift()).rejects.toThrow()
        world.onTuples = () => undefined
        expect((await stored()).filter((line) => line.startsWith('user:kim '))).toEqual([])
        await world.ingest.drift()
        expect((await stored()).filter((line) => line.startsWith('user:kim '))).toEqual([reads, out])
      })

      test('content is mended before what gives by membership, whatever its name', async () => {
        await world.putDone({
          id: 'zoned',
          access: { viewers: ['group:a-zone#member'], parents: ['zone:z-content'] },
        })
        const member = 'user:lee member group:a-zone'
        const block = 'user:lee blocked zone:z-content'
        await change('writes', member, block)
        await world.fga.write({ deletes: [member, block].map(tuple) })
        const seen: boolean[] = []
        world.onPart = async () => void seen.push(await world.check('user:lee', 'can_read', 'document:zoned'))
        await world.ingest.drift()
        seen.push(await world.check('user:lee', 'can_read', 'document:zoned'))
        world.onPart = () => undefined
        expect(seen.length).toBeGreaterThan(2)
        expect(seen).not.toContain(true)
        expect(await stored()).toContain(member)
      })

      test('who has another end in a group that blocks is marked before they are out of it', async () => {
        const ending = (year: number): Tuple => ({
          ...tuple('user:until member group:ends'),
          condition: { name: 'until', context: { expires_at: `${year}-01-01T00:00:00.000Z` } },
        })
        await change('writes', 'group:ends#member blocked organization:bank')
        await world.ingest.applyTuples(machine, { writes: [ending(2099)], deletes: [] })
        await world.fga.write({ deletes: [tuple('user:until member group:ends')] })
        await world.fga.write({ writes: [ending(2098)] })
        const marks = () => world.database.query('select object from unreconciled')
        const marked: number[] = []
        world.onPart = async () => void marked.push((await marks()).length)
        await world.ingest.drift()
        world.onPart = () => undefined
        expect(marked).toEqual([1, 1])
        expect(await marks()).toEqual([])
        await change('deletes', 'user:until member group:ends')
      })

      test('a change of a group reads no other member of it, though an earlier one is unfinished', async () => {
        await change('writes', 'user:one member group:large')
        await unwritten(() => change('writes', 'user:two member group:large'))
        const read: (string | undefined)[] = []
        world.onTuples = (object) => read.push(object)
        if (backend.openfga === 'server') await new Promise((resolve) => setTimeout(resolve, 2_500))
        await change('writes', 'user:three member group:large')
        expect(read).toEqual([])
        world.onTuples = () => undefined
        await world.restart()
        expect(await world.tuples('group:large')).toHaveLength(3)
      })

      test('a move that nobody ended is told of by each drift, and keeps nobody waiting', async () => {
        await change('writes', 'user:acme/gone member group:stuck')
        await world.database.query(
          `insert into person_moves (old_key, new_key, was_disabled, begun_at, tuples_first)
           values ('acme/gone', 'acme/here', false, now(), true)`,
        )
        await world.database.query(
          `update desired_tuples set subject = 'user:acme/here' where object = 'group:stuck'`,
        )
        await world.database.query(`insert into unreconciled (object, purge) values ('group:stuck', false)`)
        const held: unknown[] = []
        world.onTuples = async (object) => {
          if (object === 'group:stuck')
            held.push(
              ...(await world.database.query('select object from leases where object = $1', [object])),
            )
        }
        await world.ingest.drift()
        world.onTuples = () => undefined
        expect(held).toEqual([])
        expect(world.logged).toContainEqual({
          event: 'moves_not_ended',
          fields: { subjects: ['user:acme/gone', 'user:acme/here'] },
        })
        await world.database.query(`update person_moves set ended_at = now() where new_key = 'acme/here'`)
        await world.ingest.drift()
        expect(await world.tuples('group:stuck')).toEqual(['user:acme/here member'])
        await change('deletes', 'user:acme/here member group:stuck')
      })

      test('what another change writes while drift compares is no restriction without a row', async () => {
        const line = 'user:racing blocked organization:raced'
        await world.fga.write({ writes: [tuple(line)] })
        world.onTuples = async (object) => {
          if (object === 'organization:raced')
            await world.database.query(
              `insert into desired_tuples (object, relation, subject)
               values ('organization:raced', 'blocked', 'user:racing') on conflict do nothing`,
            )
        }
        expect(await world.ingest.drift()).toMatchObject({ mended: 0, kept: 0 })
        world.onTuples = () => undefined
        await change('deletes', line)
      })

      test('a change beside an unfinished one holds OpenFGA to no database that is older', async () => {
        await world.database.query(
          `insert into desired_tuples (object, relation, subject) values ('collection:open', 'viewer', 'user:stale')`,
        )
        await world.database.query(
          `insert into unreconciled (object, purge) values ('collection:open', false)`,
        )
        world.onSound = () => {
          throw new Error('the database is older than it was')
        }
        await expect(change('writes', 'service:late tagger collection:open')).rejects.toThrow('older')
        expect(await world.tuples('collection:open')).not.toContain('user:stale viewer')
        world.onSound = () => undefined
        await change('deletes', 'user:stale viewer collection:open', 'service:late tagger collection:open')
      })

      test('a directory’s members of a batch that fails keep the rows that they had', {
        timeout: 60_000,
      }, async () => {
        const group = 'group:dir-staff'
        await change('writes', `user:had member ${group}`)
        const members = ['user:had', 'user:new'].map((member) => ({ member, isMember: true }))
        await unwritten(() =>
          world.ingest.settleMembers(
            { kind: 'service', writer: machine, scopes: new Set(['directory.write']), prefixes: ['dir-'] },
            {
              group,
              next: async (_, { except }) => members.filter(({ member }) => !except.includes(member)),
              settled: async () => undefined,
            },
          ),
        )
        const ofGroup = (lines: readonly string[]) => lines.filter((line) => line.endsWith(group))
        expect(ofGroup(await rows())).toEqual([`user:had member ${group}`])
        await world.restart()
        expect(ofGroup(await stored())).toEqual([`user:had member ${group}`])
      })

      test('a person’s move takes along what stands on them, with rows first; before these what blocks', async () => {
        const [from, to] = ['user:acme/old', 'user:acme/new']
        await change('writes', `${from} member group:moved`, `${from} blocked organization:moved`)
        const tuplesOf = async (subject: string): Promise<Tuple[]> => {
          const found: Tuple[] = []
          for (const filter of [
            ...['group:', 'organization:'].map((object) => ({ user: subject, object })),
            { object: subject },
          ])
            for await (const one of world.fga.read(filter)) found.push(one)
          return found
        }
        const move = () =>
          world.ingest.moveSubject({
            from,
            to,
            tuplesOf,
            movable: () => tuplesOf(from),
            rows: async () => [],
          })
        await world.database.query(
          `insert into person_moves (old_key, new_key, was_disabled, begun_at, tuples_first, running)
           values ('acme/old', 'acme/new', false, now(), true, true)`,
        )
        // A row alone, as of a model of one's own that says something about people.
        await world.database.query(
          `insert into desired_tuples (object, relation, subject) values ($1, 'manager', 'user:boss')`,
          [from],
        )
        const blocked = `${to} blocked organization:moved`
        const before = [...(await stored()), blocked].sort()
        let writes = 0
        world.onWrite = () => {
          writes += 1
          if (writes > 1) throw died
        }
        await expect(move()).rejects.toThrow()
        world.onWrite = () => undefined
        const ofThem = (lines: readonly string[]) => lines.filter((line) => line.includes('acme/'))
        const moved = [blocked, `${to} member group:moved`, `user:boss manager ${to}`]
        expect(ofThem(await rows())).toEqual(moved)
        // It has its own order: no comparison completes it, nor does a start.
        await world.restart()
        await world.ingest.drift()
        expect(await stored()).toEqual(before)
        // Taken over anew meanwhile, it is one key's again.
        await world.database.query(`delete from settings where key = 'tuples_adopted'`)
        await world.restart()
        expect(ofThem(await rows())).toEqual([
          blocked,
          `${from} blocked organization:moved`,
          `${from} member group:moved`,
          `user:boss manager ${to}`,
        ])
        await move()
        await world.database.query('update person_moves set running = false')
        expect(ofThem(await stored())).toEqual(moved.slice(0, 2))
        expect(await world.ingest.drift()).toMatchObject({ mended: 0 })
        expect(await world.database.query('select object from unreconciled')).toEqual([])
        await world.database.query(`delete from desired_tuples where relation = 'manager'`)
      })

      describe('what a service may write', () => {
        const open = (during: () => Promise<unknown> = async () => undefined): Services =>
          createServices({
            database: world.database,
            fga: world.fga,
            allowList: () => world.allowList,
            newTxn: () => 't_test',
            tuples: {
              async give(writer, writes) {
                await during()
                await world.ingest.applyTuples(writer, { writes, deletes: [] })
              },
              takeAway: (writer, tuples) => world.ingest.takeAway(writer, tuples),
            },
          })
        const ofBot = (lines: readonly string[]) => lines.filter((line) => line.startsWith('service:bot '))

        test('goes with its row, whoever removed that or took a collection from it', async () => {
          for (const statement of [
            `update services set collections = '{}' where name = 'bot'`,
            `delete from services where name = 'bot'`,
          ]) {
            await open().save({ name: 'bot', collections: ['open'], prefixes: [] })
            expect(ofBot(await stored())).toHaveLength(2)
            await world.database.query(statement)
            expect(ofBot(await rows())).toEqual([])
            await world.restart()
            expect(ofBot(await stored())).toEqual([])
          }
        })

        test('leaves a mark that stood with the time since which it stands', async () => {
          const marks = () =>
            world.database.query<{ since: Date; number: number }>(
              `select since, number from unreconciled where object = 'collection:open'`,
            )
          await open().save({ name: 'bot', collections: ['open'], prefixes: [] })
          await world.database.query(
            `insert into unreconciled (object, purge, since)
             values ('collection:open', false, now() - interval '2 hours')`,
          )
          const [before] = await marks()
          await world.database.query(`delete from services where name = 'bot'`)
          const [after] = await marks()
          expect(after?.since).toEqual(before?.since)
          expect(after?.number).toBeGreaterThan(before?.number ?? Number.NaN)
          await world.restart()
        })

        test('is not given to one that somebody changed meanwhile', async () => {
          const removing = () => world.database.query(`delete from services where name = 'bot'`)
          await expect(
            open(removing).save({ name: 'bot', collections: ['open'], prefixes: [] }),
          ).rejects.toMatchObject({ code: 'conflict' })
          expect([ofBot(await rows()), ofBot(await stored())]).toEqual([[], []])
        })
      })

      if (backend.database === 'postgres')
        test('a process of 0.9.0, which knows of no rows, changes none of these any more, and takes documents in', async () => {
          const leased = (object: string) =>
            world.database.query(
              `insert into leases (object, holder, until) values ($1, 'old', now()) returning object`,
              [object],
            )
          for (const object of ['group:eng', 'organization:acme', 'collection:open'])
            await expect(leased(object)).rejects.toThrow('leases_tuples_first')
          expect(await leased('document:d')).toHaveLength(1)
          await expect(
            world.database.query(
              `insert into services (name, collections, prefixes) values ('s', '{}', '{}')
               on conflict (name) do update set collections = excluded.collections`,
            ),
          ).rejects.toThrow('tuples_first')
          await expect(
            world.database.query(
              `insert into person_moves (old_key, new_key, was_disabled, begun_at) values ('a/b', 'c', false, now())`,
            ),
          ).rejects.toThrow('tuples_first')
        })
    })
  },
)

const isOurs = ({ relation, object }: { readonly relation: string; readonly object: string }): boolean =>
  isAdopted(object.split(':')[0] ?? '', relation)

const lineOf = ({
  user,
  relation,
  object,
}: Pick<Tuple, 'user' | 'relation'> & { object: FgaObject | string }) => `${user} ${relation} ${object}`
