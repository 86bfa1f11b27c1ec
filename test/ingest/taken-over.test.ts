import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Tuple } from '../../src/authz/fga.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { claimAdoption } from '../../src/store/adopted.ts'
import { lockPrefixes } from '../../src/store/prefixes.ts'
import { backends } from '../support/backends.ts'
import { type IngestWorld, machine, openIngestWorld, tuple } from './world.ts'

// The two ends: one process with all in it, and several with an OpenFGA of its own.
describe.each(backends.filter(({ name }) => name === 'PGlite × engine' || name === 'Postgres × OpenFGA'))(
  'what 0.9.0 left in OpenFGA alone, on $name',
  ({ options, ...backend }) => {
    describe('', options, () => {
      let world: IngestWorld
      beforeAll(async () => {
        // `auditor` of a team is in no row of the allow-list: somebody else writes it.
        const model = (text: string) =>
          text.replace(
            'type service\n',
            'type service\n\ntype team\n  relations\n    define auditor: [user]\n',
          )
        world = await openIngestWorld(backend, { edit: { model } })
      }, 120_000)
      afterAll(() => world?.[Symbol.asyncDispose]())

      const rowsOf = async (object: string): Promise<string[]> => {
        const found = await world.database.query<{ line: string }>(
          `select subject || ' ' || relation as line from desired_tuples where object = $1 order by 1`,
          [object],
        )
        return found.map(({ line }) => line)
      }
      const give = (...lines: readonly string[]) =>
        world.ingest.applyTuples(machine, { writes: lines.map(tuple), deletes: [] })
      const straight = (...lines: readonly string[]) => world.fga.write({ writes: lines.map(tuple) })
      const isOver = async () =>
        (await world.database.query(`select from settings where key = 'tuples_adopted'`)).length > 0
      /** As a database is that 0.9.0 wrote. */
      const forget = async (): Promise<void> => {
        await world.database.query(`delete from settings where key like 'tuples_adopt%'`)
        await world.database.query(
          `delete from desired_tuples where object ~ '^(group|organization|team):' or relation in ('writer', 'tagger')`,
        )
      }
      const mark = (object: string) =>
        world.database.query('insert into unreconciled (object, purge) values ($1, false)', [object])

      test('is left to others where no row of the allow-list lets anybody write it: they take it away for good', async () => {
        await straight('user:aud auditor team:x')
        await forget()
        await world.restart()
        expect([await isOver(), await rowsOf('team:x')]).toEqual([true, []])
        // Of an earlier list, say.
        await world.database.query(
          `insert into desired_tuples (object, relation, subject) values ('team:x', 'auditor', 'user:aud')`,
        )
        await world.fga.write({ deletes: [tuple('user:aud auditor team:x')] })
        expect(await world.ingest.drift()).toMatchObject({ mended: 0 })
        expect(await world.tuples('team:x')).toEqual([])
      })

      test('is taken away where somebody but its source writes a source’s collection', async () => {
        await world.database.query(
          `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds, max_age_seconds, purge_days)
           values ('wiki', 'none', 'file:///srv/none', '{}', '{wiki}', 'proposed', 'user:dan', 1, 1, 1000, 1)`,
        )
        const others = ['service:hr writer collection:wiki', 'service:hr tagger collection:wiki']
        await straight(
          ...others,
          'service:source/wiki writer collection:wiki',
          'service:hr writer collection:hr',
        )
        await forget()
        await world.restart()
        expect(world.logged).toContainEqual({
          event: 'source_rights_not_adopted',
          fields: { count: 2, tuples: expect.arrayContaining(others) },
        })
        await world.ingest.drift()
        expect(await world.tuples('collection:wiki')).toEqual(['service:source/wiki writer'])
        expect(await world.tuples('collection:hr')).toEqual(['service:hr writer'])
        await world.database.query(`delete from sources where id = 'wiki'`)
      })

      test('with a condition that no row can hold stays as it is and is told of, and keeps nothing else back', async () => {
        const odd: Tuple = {
          ...tuple('user:odd member group:odd'),
          condition: {
            name: 'until',
            context: { expires_at: '2099-01-01T00:00:00Z', current_time: '1970-01-01T00:00:00Z' },
          } as Tuple['condition'] & object,
        }
        await world.fga.write({ writes: [odd] })
        await straight('user:even member group:odd', 'user:even member group:even')
        await forget()
        await world.restart()
        expect(await isOver()).toBe(true)
        expect([await rowsOf('group:odd'), await rowsOf('group:even')]).toEqual([
          ['user:even member'],
          ['user:even member'],
        ])
        const told = () => world.logged.filter(({ event }) => event === 'foreign_conditions')
        const isTold = {
          event: 'foreign_conditions',
          fields: { count: 1, tuples: ['user:odd member group:odd'] },
        }
        expect(told()).toContainEqual(isTold)
        world.logged.length = 0
        expect(await world.ingest.drift()).toMatchObject({ mended: 0 })
        expect(told()).toContainEqual(isTold)
        const found = []
        for await (const one of world.fga.read({ object: 'group:odd', user: 'user:odd', relation: 'member' }))
          found.push(one.condition)
        expect(found).toEqual([odd.condition])
      })

      test('of one object that cannot be read keeps no other from being taken over, once; drift says that it was not all, and no mark is lost', {
        timeout: 60_000,
      }, async () => {
        await give('user:a member group:a-fine', 'user:b member group:b-broken', 'user:c member group:c-fine')
        await forget()
        await mark('group:c-fine')
        world.onTuples = (object) => {
          if (object === 'group:b-broken') throw new Error('not read')
        }
        await world.restart()
        const marked = () => world.database.query<{ object: string }>('select object from unreconciled')
        expect([await isOver(), await rowsOf('group:a-fine'), await rowsOf('group:c-fine')]).toEqual([
          false,
          ['user:a member'],
          ['user:c member'],
        ])
        expect(world.logged).toContainEqual({
          event: 'tuples_not_adopted',
          fields: { object: 'group:b-broken', reason: 'not read' },
        })
        // Something is to be done there once all is taken over.
        await world.database.query(
          `insert into desired_tuples (object, relation, subject) values ('group:a-fine', 'member', 'user:late')`,
        )
        await mark('group:a-fine')
        await world.ingest.drift().catch(() => undefined)
        expect(await marked()).toContainEqual({ object: 'group:a-fine' })
        expect(await world.tuples('group:a-fine')).toEqual(['user:a member'])
        world.onTuples = () => undefined
        expect(await world.ingest.drift()).toMatchObject({ adopted: false })
        await world.restart()
        expect(await isOver()).toBe(true)
        expect(await rowsOf('group:b-broken')).toEqual(['user:b member'])
        expect(await marked()).toEqual([])
        // It was not taken over again: what its row said by then is done.
        expect(await world.tuples('group:a-fine')).toEqual(['user:a member', 'user:late member'])
        expect(await world.ingest.drift()).toMatchObject({ adopted: true, mended: 0 })
      })

      test('is not taken over where OpenFGA turns out to be an older copy meanwhile', async () => {
        await give('user:now member group:aged')
        await forget()
        world.onSound = () => {
          throw new Error('OpenFGA is older than it was')
        }
        await world.restart()
        expect([await isOver(), await rowsOf('group:aged')]).toEqual([false, []])
        world.onSound = () => undefined
        await world.restart()
        expect([await isOver(), await rowsOf('group:aged')]).toEqual([true, ['user:now member']])
      })

      test('is not taken over by a process that stood still until another one did it', {
        timeout: 60_000,
      }, async () => {
        await give('user:old member group:lag')
        await forget()
        world.onTuples = async (object) => {
          if (object === 'group:lag') await claimAdoption(world.database, 'another')
        }
        await world.restart()
        expect([await isOver(), await rowsOf('group:lag')]).toEqual([false, []])
        world.onTuples = () => undefined
        await world.restart()
        expect([await isOver(), await rowsOf('group:lag')]).toEqual([true, ['user:old member']])
      })

      if (backend.database === 'postgres')
        test('is taken away too where the source is proposed while it is looked at', {
          timeout: 60_000,
        }, async () => {
          const other = 'service:hr writer collection:soon'
          await straight(other)
          await forget()
          const { promise: isHeld, resolve: hold } = Promise.withResolvers<void>()
          // Outside of the transaction, as a process of its own would.
          const started = isHeld.then(() => world.restart())
          started.catch(() => undefined)
          await world.database.transaction(async (sql) => {
            await lockPrefixes(sql)
            await sql.query(
              `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds, max_age_seconds, purge_days)
               values ('soon', 'none', 'file:///srv/none', '{}', '{soon}', 'proposed', 'user:dan', 1, 1, 1000, 1)`,
            )
            hold()
            await expect
              .poll(
                () =>
                  sql.query(
                    'select from pg_stat_activity where pg_backend_pid() = any(pg_blocking_pids(pid))',
                  ),
                { timeout: 20_000 },
              )
              .not.toHaveLength(0)
          })
          await started
          await expect.poll(isOver, { timeout: 20_000 }).toBe(true)
          expect(await rowsOf('collection:soon')).toEqual([])
          await world.ingest.drift()
          expect(await world.tuples('collection:soon')).toEqual([])
          await world.database.query(`delete from sources where id = 'soon'`)
        })

      if (backend.database === 'postgres')
        test('and of a group that 0.9.0 still writes is taken over once that has ended', {
          timeout: 60_000,
        }, async () => {
          await forget()
          // Taken before the migration, which gave it the column's default.
          await world.database.query(
            `insert into leases (object, holder, until, tuples_first)
             values ('group:late', 'old', now() + interval '1 hour', true)`,
          )
          let isScanned = false
          world.onTuples = (object) => {
            isScanned ||= object === undefined
          }
          const started = world.restart()
          await expect.poll(() => isScanned).toBe(true)
          await new Promise((resolve) => setTimeout(resolve, 1_000))
          await straight('user:late member group:late')
          await world.database.query(`update leases set until = now() - interval '1 s' where holder = 'old'`)
          await started
          await expect.poll(isOver, { timeout: 20_000 }).toBe(true)
          world.onTuples = () => undefined
          expect(await rowsOf('group:late')).toEqual(['user:late member'])
          await world.ingest.drift()
          expect(await world.tuples('group:late' as FgaObject)).toEqual(['user:late member'])
        })
    })
  },
)
