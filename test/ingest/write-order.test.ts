import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Tuple } from '../../src/authz/fga.ts'
import { presentedTuples } from '../../src/authz/presented.ts'
import { documentObject, type FgaObject } from '../../src/kernel/ids.ts'
import { backends } from '../support/backends.ts'
import { type IngestWorld, loader, openIngestWorld } from './world.ts'

const people = ['user:zoe', 'user:anne', 'user:p1', 'user:p149'] as const
const many = (count: number): string[] => Array.from({ length: count }, (_, nth) => `user:p${nth}`)
class Killed extends Error {}

for (const backend of backends.filter(
  ({ database, openfga }) => (database === 'pglite') === (openfga === 'engine'),
))
  describe(`a change of more tuples than one Write takes, on ${backend.name}`, backend.options, () => {
    let world: IngestWorld
    beforeAll(async () => {
      world = await openIngestWorld(backend)
      const now = Date.now()
      const end = { name: 'until', context: { expires_at: new Date(now + 3_600_000).toISOString() } } as const
      await world.fga.write({
        writes: [
          { user: 'user:zelda', relation: 'delegator', object: 'delegation:d' as FgaObject, condition: end },
          { user: 'agent:bot', relation: 'agent', object: 'delegation:d' as FgaObject },
          { user: 'delegation:d', relation: 'delegated_to', object: 'collection:closed' },
        ],
      })
    })
    afterAll(() => world?.[Symbol.asyncDispose]())

    /** Who reads which of these, and what the agent is told for zelda, by OpenFGA itself. */
    async function reads(ids: readonly string[]): Promise<ReadonlySet<string>> {
      const asked = ids.flatMap((id) => [
        ...people.map((user) => ({ user, relation: 'can_read', object: documentObject(id) })),
        {
          user: 'user:zelda',
          relation: 'can_read_delegated',
          object: documentObject(id),
          contextual: presentedTuples({ user: 'user:zelda', agent: 'agent:bot', delegation: 'd' }),
        },
      ])
      const { verdicts } = await world.fga.batchCheck(asked, { now: Date.now() })
      expect(verdicts).not.toContain('error')
      return new Set(
        asked.filter((_, nth) => verdicts[nth] === 'allowed').map(({ user, object }) => `${user} ${object}`),
      )
    }

    /** Dies between every two Writes of the change, each time from the start; gives how many there are. */
    async function killedBetween(
      ids: readonly string[],
      set: () => Promise<unknown>,
      change: () => Promise<unknown>,
    ): Promise<number> {
      await set()
      const before = await reads(ids)
      await change()
      const after = await reads(ids)
      expect(after).not.toEqual(before)
      for (let survived = 1; ; survived += 1) {
        await set()
        expect(await reads(ids)).toEqual(before)
        let left = survived
        world.onPart = () => {
          left -= 1
          if (left < 0) throw new Killed()
        }
        const died = await change().then(
          () => false,
          () => true,
        )
        world.onPart = () => undefined
        const between = await reads(ids)
        const within = (other: ReadonlySet<string>) => [...between].every((read) => other.has(read))
        expect({ survived, between, isWithin: within(before) || within(after) }).toMatchObject({
          isWithin: true,
        })
        if (!died) {
          expect(between).toEqual(after)
          return survived
        }
        // What died is completed.
        await world.ingest.drift()
        expect(await reads(ids)).toEqual(after)
      }
    }

    test('takes readers away before the block of one of them: killed between any two, nobody reads', async () => {
      await world.putDone({ id: 'order/block', text: 'one', access: {} })
      const retag = (access: Parameters<IngestWorld['ingest']['retag']>[2]) =>
        world.ingest.retag(loader, 'order/block', access)
      const writes = await killedBetween(
        ['order/block'],
        () => retag({ viewers: [...many(150), 'user:zoe'], blocked: ['user:zoe'] }),
        () => retag({ viewers: ['user:anne'] }),
      )
      expect(writes).toBeGreaterThan(1)
    }, 120_000)

    test('puts below another folder, with 150 readers of its own, at once', async () => {
      const put = (tuple: string) => {
        const [user = '', relation = '', object = ''] = tuple.split(' ')
        return { user, relation, object: object as FgaObject }
      }
      await world.ingest.applyTuples(loader, {
        writes: [
          ...['secret', 'open', 'wide'].map((id) => put(`collection:closed filed_in folder:order-${id}`)),
          put('user:* sensitive folder:order-secret'),
          put('user:zelda viewer folder:order-open'),
          put('user:zelda viewer folder:order-secret'),
          put('user:zoe viewer folder:order-wide'),
        ],
        deletes: [],
      })
      await world.putDone({ id: 'order/parent', text: 'one', access: {} })
      const retag = (access: Parameters<IngestWorld['ingest']['retag']>[2]) =>
        world.ingest.retag(loader, 'order/parent', access)
      const writes = await killedBetween(
        ['order/parent'],
        async () => {
          await retag({ viewers: [...many(150), 'user:zelda'], parents: ['folder:order-secret'] })
          await world.ingest.applyTuples(loader, {
            writes: [],
            deletes: [put('user:* sensitive document:order/parent')],
          })
        },
        () =>
          retag({
            viewers: many(20),
            parents: ['folder:order-open', 'folder:order-wide'],
          }),
      )
      expect(writes).toBeGreaterThan(1)
    }, 120_000)

    test('keeps sensitive what loses the folder that made it so, before it loses it', async () => {
      const ids = Array.from({ length: 60 }, (_, nth) => `order/kept${nth}`)
      await world.ingest.applyTuples(loader, {
        writes: [
          { user: 'collection:closed', relation: 'filed_in', object: 'folder:order-hr' },
          { user: 'user:*', relation: 'sensitive', object: 'folder:order-hr' },
        ],
        deletes: [],
      })
      await world.importLines(
        ids.map((id) => ({
          id,
          collection: 'closed',
          title: id,
          text: 'one',
          access: { viewers: ['user:zelda'], parents: ['folder:order-hr'] },
        })),
      )
      const before = await reads(ids)
      expect(before.size).toBe(0)
      const parents = ids.map(
        (id): Tuple => ({
          user: 'folder:order-hr',
          relation: 'parent',
          object: documentObject(id),
        }),
      )
      const caller = {
        kind: 'service',
        writer: loader,
        scopes: new Set(['docs.write']),
        prefixes: [],
      } as Parameters<IngestWorld['ingest']['changeAccess']>[0]
      let seen = 0
      for (let survived = 1; ; survived += 1) {
        let left = survived
        world.onPart = () => {
          left -= 1
          if (left < 0) throw new Killed()
        }
        const died = await world.ingest.changeAccess(caller, { writes: [], deletes: parents }).then(
          () => false,
          () => true,
        )
        world.onPart = () => undefined
        seen = Math.max(seen, (await reads(ids)).size)
        if (!died) break
        // As it was, for the next death.
        await world.ingest.drift()
        await world.ingest.applyTuples(loader, { writes: parents, deletes: [] })
      }
      expect(seen).toBe(0)
    }, 120_000)

    test('lets nobody read longer or more while ends change', async () => {
      await world.putDone({ id: 'order/ends', text: 'one', access: {} })
      const until = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString()
      const retag = (expires_at: string, more: readonly string[] = []) =>
        world.ingest.retag(loader, 'order/ends', {
          viewers: [...many(120).map((user) => ({ user, expires_at })), ...more],
          blocked: ['user:p1'],
        })
      const writes = await killedBetween(
        ['order/ends'],
        () => retag(until(2)),
        () => retag(until(1), ['user:anne']),
      )
      expect(writes).toBeGreaterThan(2)
    }, 120_000)
  })
