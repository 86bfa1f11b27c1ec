import { memoryState, syncOnce } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { createRandom } from '../../packages/engine/test/support/random.ts'
import { seed } from '../../packages/engine/test/support/seed.ts'
import {
  changed,
  emptyState,
  openRemit,
  type SourceState,
  settledOf,
  sourceOf,
  truthOf,
} from './source-world.ts'

class Killed extends Error {}

const worlds = Number(process.env['SOURCE_WORLDS'] || 12)
const rounds = 12

test(`between any two writes of a sync nobody reads what the source let them read neither before nor after, and afterwards exactly what it lets them, killed or not (FUZZ_SEED=${seed})`, async () => {
  const counts = { rounds: 0, kills: 0, hidden: 0, blocked: 0, gated: 0, reads: 0, reapplied: 0, refused: 0 }
  for (let world = 0; world < worlds; world += 1) {
    const random = createRandom(seed + world)
    const remit = openRemit()
    const memory = memoryState()
    let state = emptyState
    for (let round = 0; round < rounds; round += 1) {
      let allowed = new Set(truthOf(state))
      const changes = 1 + random.below(round === 0 ? 30 : 5)
      for (let nth = 0; nth < changes; nth += 1) state = changed(state, random)
      const look = () => {
        allowed = new Set([...allowed, ...truthOf(state)])
        const strangers = [...remit.reads()].filter((read) => !allowed.has(read))
        expect({ world, round, call: remit.calls.at(-1), strangers }).toMatchObject({ strangers: [] })
      }
      // Now and then no request of several objects is taken: what does not fit one goes in parts.
      remit.refusesMany = random.below(3) === 0
      let left = random.below(2) === 0 ? random.below(20) : Number.POSITIVE_INFINITY
      remit.step = () => {
        look()
        left -= 1
        if (left < 0) throw new Killed()
      }
      const wasKilled = await syncOnce(sourceOf(state), remit.writer, memory).then(
        ({ reapplied, failed }) => {
          counts.reapplied += reapplied
          counts.hidden += failed.length
          return false
        },
        (error: unknown) => {
          if (!(error instanceof Killed)) throw error
          return true
        },
      )
      remit.step = look
      remit.refusesMany = false
      if (wasKilled) {
        counts.kills += 1
        if (random.below(2) === 0) state = changed(state, random)
        await syncOnce(sourceOf(state), remit.writer, memory)
      }
      expect({ world, round, reads: [...remit.reads()].sort() }).toEqual({
        world,
        round,
        reads: [...settledOf(state)].sort(),
      })
      counts.rounds += 1
      counts.refused = remit.refused + counts.refused
      remit.refused = 0
      counts.reads += remit.reads().size
      counts.blocked += [...state.folders.values(), ...state.zones.values()].filter(
        ({ blocked }) => blocked.length > 0,
      ).length
      counts.gated += [...state.zones.values()].filter(({ gates }) => gates.length > 0).length
    }
  }
  console.log(JSON.stringify(counts))
  for (const [what, count] of Object.entries(counts)) expect({ what, count }).not.toMatchObject({ count: 0 })
}, 120_000)

describe('between any two writes nobody reads who may neither before nor after, and', () => {
  const state = (part: Partial<SourceState>): SourceState => ({
    ...emptyState,
    mapped: new Set(['0', '1']),
    ...part,
  })
  const folder = { parents: [], viewers: [], blocked: [] }
  const item = (access: object) => new Map([['i0', { text: 'x', access }]])
  const everybody = ['user:*']
  const denied = ['group:g0#member']

  /** Brings the second state after the first, looking around each write; `calls` may end it. */
  async function follow(
    [first, second]: readonly [SourceState, SourceState],
    { refusesMany = false, diesAfter = Number.POSITIVE_INFINITY } = {},
  ) {
    const remit = openRemit()
    const memory = memoryState()
    await syncOnce(sourceOf(first), remit.writer, memory)
    const allowed = new Set([...truthOf(first), ...truthOf(second)])
    let steps = 0
    remit.refusesMany = refusesMany
    remit.step = () => {
      expect([...remit.reads()].filter((read) => !allowed.has(read))).toEqual([])
      steps += 1
      if (steps === diesAfter) throw new Killed()
    }
    const ended = await syncOnce(sourceOf(second), remit.writer, memory).then(
      () => 'done',
      (error: unknown) => {
        if (!(error instanceof Killed)) throw error
        return 'killed'
      },
    )
    remit.refusesMany = false
    remit.step = () => undefined
    return { remit, memory, ended }
  }

  test('what is below a folder is hidden while its move and the members of a denied group do not go together', async () => {
    const folders = (parent: string) =>
      new Map([
        ['f0', { ...folder, viewers: everybody, blocked: denied }],
        ['f1', folder],
        ['f2', { ...folder, parents: [`folder:${parent}`] }],
      ])
    const items = item({ parents: ['folder:f2'] })
    const [first, second] = [
      state({ folders: folders('f1'), groups: new Map([['g0', []]]), items }),
      state({ folders: folders('f0'), groups: new Map([['g0', [{ account: '0' }]]]), items }),
    ]
    const { remit } = await follow([first, second], { refusesMany: true })
    expect(remit.refused).toBe(1)
    expect(remit.reads()).toEqual(settledOf(second))
  })

  test('a member whom an item denies stays denied when they come by another group from now on', async () => {
    const items = item({ viewers: everybody, blocked: denied })
    const [first, second] = [
      state({ items, groups: new Map([['g0', [{ account: '0' }]]]) }),
      state({
        items,
        groups: new Map([
          ['g0', [{ group: 'g1' }]],
          ['g1', [{ account: '0' }]],
        ]),
      }),
    ]
    const { remit } = await follow([first, second])
    expect(remit.reads()).toEqual(settledOf(second))
  })

  test('a deny that was taken away before a kill is written again where the source has it again', async () => {
    const items = item({ parents: ['folder:f0'] })
    const folders = (blocked: readonly { readonly account: string }[]) =>
      new Map([['f0', { ...folder, viewers: everybody, blocked }]])
    const [first, second] = [
      state({ items, folders: folders([{ account: '0' }]) }),
      state({ items, folders: folders([]) }),
    ]
    const { remit, memory, ended } = await follow([first, second], { diesAfter: 2 })
    expect([ended, remit.calls.at(-1)]).toEqual(['killed', 'tuples +0 -1'])
    await syncOnce(sourceOf(first), remit.writer, memory)
    expect(remit.reads()).toEqual(settledOf(first))
  })

  test('whoever was let read before a kill is not where they are nobody again', async () => {
    const items = item({ viewers: [{ account: '2' }] })
    const [first, second] = [state({ items }), state({ items, mapped: new Set(['2']) })]
    const { remit, memory, ended } = await follow([first, second], { diesAfter: 2 })
    expect([ended, remit.calls.at(-1)]).toEqual(['killed', 'access i0'])
    await syncOnce(sourceOf(first), remit.writer, memory)
    expect(remit.reads()).toEqual(settledOf(first))
  })
})
