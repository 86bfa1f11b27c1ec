import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { documentObject } from '../../src/kernel/ids.ts'
import { backends } from '../support/backends.ts'
import { documentOf, type IngestWorld, openIngestWorld } from './world.ts'

/** Places to die at, of some sixty. By hand `BATCH_KILLS=100`, which is all of them. */
const kills = Number(process.env['BATCH_KILLS'] ?? 6)
const people = ['user:anne', 'user:bob', 'user:carol', 'user:dan'] as const
const kinds = ['created', 'replaced', 'narrowed', 'widened'] as const
type Kind = (typeof kinds)[number]
type Person = (typeof people)[number]

/** Who reads the document before and after, by kind. */
const viewers: Readonly<Record<Kind, { readonly old: readonly Person[]; readonly new: readonly Person[] }>> =
  {
    created: { old: [], new: ['user:anne', 'user:bob'] },
    replaced: { old: ['user:anne', 'user:bob'], new: ['user:anne', 'user:bob'] },
    narrowed: { old: ['user:anne', 'user:carol'], new: ['user:anne'] },
    widened: { old: ['user:anne', 'user:carol'], new: ['user:anne', 'user:bob'] },
  }

for (const backend of backends.filter(
  ({ database, openfga }) => (database === 'pglite') === (openfga === 'engine'),
))
  describe(`twenty documents that come in together, on ${backend.name}`, backend.options, () => {
    let world: IngestWorld
    beforeAll(async () => {
      world = await openIngestWorld(backend, { retryPauseSecondsMax: 0 })
    })
    afterAll(() => world[Symbol.asyncDispose]())

    interface Planned {
      readonly id: string
      readonly kind: Kind
    }
    const plan = (round: string): Planned[] =>
      Array.from({ length: 20 }, (_, nth) => ({
        id: `${round}/${nth}`,
        kind: kinds[nth % kinds.length] as Kind,
      }))
    const linesOf = (planned: readonly Planned[], state: 'old' | 'new') =>
      planned.map(({ id, kind }) =>
        documentOf({ id, text: `${state} words`, access: { viewers: viewers[kind][state] } }),
      )

    /** What each may read now, by OpenFGA and by what is live: `PERSON ID` → text. */
    async function seen(planned: readonly Planned[]): Promise<Map<string, string>> {
      const asked = planned.flatMap(({ id, kind }) => people.map((user) => ({ id, kind, user })))
      const { verdicts } = await world.fga.batchCheck(
        asked.map(({ user, id }) => ({ user, relation: 'can_read', object: documentObject(id) })),
        { now: Date.now() },
      )
      const rows = await world.database.query<{ id: string; text: string }>(
        `select d.id, t.text from documents d join chunks c using (doc_no) join chunk_texts t using (chunk_id)
         where d.id = any($1) and d.live_revision is not null`,
        [planned.map(({ id }) => id)],
      )
      const texts = new Map(rows.map(({ id, text }) => [id, text]))
      return new Map(
        asked.flatMap(({ user, id }, nth) => {
          const text = texts.get(id)
          return verdicts[nth] === 'allowed' && text !== undefined ? [[`${user} ${id}`, text] as const] : []
        }),
      )
    }

    /** What somebody reads that was never for them. `isAccepted`: what it takes away is out of force. */
    async function leaks(planned: readonly Planned[], isAccepted: boolean): Promise<string[]> {
      const reads = await seen(planned)
      return planned.flatMap(({ id, kind }) =>
        people.flatMap((user) => {
          const text = reads.get(`${user} ${id}`)
          if (text === undefined) return []
          const state = text.startsWith('old') ? 'old' : 'new'
          const mayOld = viewers[kind].old.includes(user) && (!isAccepted || viewers[kind].new.includes(user))
          const may = state === 'old' ? mayOld : viewers[kind].new.includes(user)
          return may ? [] : [`${user} reads ${state} of ${kind} ${id}`]
        }),
      )
    }

    const expected = (planned: readonly Planned[]): Map<string, string> =>
      new Map(
        planned.flatMap(({ id, kind }) =>
          viewers[kind].new.map((user) => [`${user} ${id}`, 'new words'] as const),
        ),
      )

    /** Brings them in, and dies before the statement or Write of that number. Gives how many there were. */
    async function bringIn(planned: readonly Planned[], fatal: number): Promise<number> {
      const earlier = planned.filter(({ kind }) => kind !== 'created')
      expect(await world.importLines(linesOf(earlier, 'old'))).toMatchObject({ failed: 0 })
      let count = 0
      let isDead = false
      let isAccepted = false
      // What upkeep asks meanwhile is no step of these.
      const isOurs = (statement: string): boolean => !/pgboss|leases set until|heard_at/.test(statement)
      const next = (): boolean => {
        count += 1
        if (count !== fatal) return false
        isDead = true
        world.die()
        return true
      }
      world.isAway = (statement) => isOurs(statement) && !isDead && next()
      world.onPart = () => {
        if (!isDead && next()) throw new Error('This process is dead.')
      }
      const importing = world.importLines(linesOf(planned, 'new')).then(
        () => {
          isAccepted = true
        },
        () => undefined,
      )
      await (fatal > 0 ? expect.poll(() => isDead || isAccepted, { timeout: 20_000 }).toBe(true) : importing)
      world.isAway = () => false
      world.onPart = () => undefined
      if (!isDead) {
        await importing
        return count
      }
      expect(await leaks(planned, false)).toEqual([])
      await world.kill()
      // Who was told nothing sends it again.
      expect(await world.importLines(linesOf(planned, 'new'))).toMatchObject({ failed: 0 })
      expect(await leaks(planned, true)).toEqual([])
      return count
    }

    const settled = async (planned: readonly Planned[]): Promise<void> => {
      await expect.poll(() => seen(planned), { timeout: 40_000, interval: 200 }).toEqual(expected(planned))
      const left = await world.database.query(
        'select 1 from staged_chunks union all select 1 from revisions union all select 1 from unreconciled',
      )
      expect(left).toEqual([])
    }

    test(`leak nothing and lose nothing, killed between any two of its statements and Writes (seed ${seed})`, async () => {
      const whole = plan('whole')
      const total = await bringIn(whole, 0)
      await settled(whole)
      expect(total).toBeGreaterThan(30)
      const every = Math.max(1, Math.ceil(total / kills))
      for (let fatal = 1 + (seed % every); fatal <= total; fatal += every) {
        const planned = plan(`killed-${fatal}`)
        await bringIn(planned, fatal)
        await settled(planned)
      }
    }, 600_000)
  })
