import { afterAll, beforeAll, expect, test } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import type { ApprovalState, Requester } from '../../../src/delegation/approvals/approval.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import { describeDatabases } from '../../support/backends.ts'
import fc from '../../support/properties.ts'
import { type AskingWorld, notedGrants, openAskingWorld } from './world.ts'

/** What somebody does next. Numbers choose among what is there. */
type Step =
  | { readonly do: 'ask'; readonly who: number; readonly what: number; readonly seconds: number }
  | { readonly do: 'question' | 'answer' | 'approve' | 'deny' | 'block'; readonly which: number }
  | { readonly do: 'lift'; readonly who: number }
  | { readonly do: 'mend' }
  | { readonly do: 'pass'; readonly seconds: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('ask' as const),
      who: fc.nat(2),
      what: fc.nat(6),
      seconds: fc.constantFrom(30, 300, 3_000),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom('question', 'answer', 'answer', 'approve', 'deny', 'block'),
      which: fc.nat(7),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lift' as const), who: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'mend' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      seconds: fc.constantFrom(1, 20, 290, 610, 3_700),
    }),
  },
)

/** One approval as the rules say it is, without a database. */
interface Expected {
  readonly who: number
  readonly what: number
  readonly askedAt: number
  readonly seconds: number
  until: number
  state: ApprovalState
  rounds: number
  extended: boolean
  deniedAt: number | undefined
  readonly isHidden: boolean
}

/** The rules once more, as a person would write them down. Times in seconds. */
function createRules() {
  const all: Expected[] = []
  const blocked = new Set<number>()
  let now = 0
  const isOpen = (one: Expected) => one.state === 'pending' || one.state === 'info_requested'
  const settle = () => {
    for (const one of all) if (isOpen(one) && one.until <= now) one.state = 'expired'
  }
  return {
    all,
    pass(seconds: number) {
      now += seconds
      settle()
    },
    /** The approval's place, or the code of the refusal. */
    ask(who: number, what: number, seconds: number): number | 'rate_limited' {
      const mine = all.filter((one) => one.who === who)
      const same = all.findIndex((one) => one.who === who && one.what === what && isOpen(one))
      if (same !== -1) return same
      const isCooling = mine.some(
        ({ what: denied, deniedAt }) => denied === what && deniedAt !== undefined && now - deniedAt < 600,
      )
      const recent = mine.filter(({ askedAt }) => now - askedAt < 3_600)
      if (mine.filter(isOpen).length >= 5 || recent.length >= 20) return 'rate_limited'
      const isHidden = blocked.has(who) || isCooling
      all.push({
        who,
        what,
        askedAt: now,
        seconds,
        until: now + seconds,
        state: isHidden ? 'denied' : 'pending',
        rounds: 0,
        extended: false,
        deniedAt: undefined,
        isHidden,
      })
      return all.length - 1
    },
    question(one: Expected) {
      if (one.isHidden) return 'not_found'
      if (!isOpen(one)) return 'over'
      if (one.state === 'info_requested') return 'question_open'
      if (one.rounds === 5) return 'too_many_rounds'
      one.rounds += 1
      one.state = 'info_requested'
      return 'done'
    },
    answer(one: Expected) {
      if (one.state !== 'info_requested') return 'conflict'
      one.state = 'pending'
      if (!one.extended) one.until = Math.max(one.until, now + one.seconds)
      one.extended = true
      return 'done'
    },
    decide(one: Expected, state: 'approved' | 'denied', isBlocking: boolean) {
      if (one.isHidden) return 'not_found'
      if (!isOpen(one)) return 'over'
      const ended = isBlocking ? all.filter((other) => other.who === one.who && isOpen(other)) : [one]
      for (const other of ended) {
        other.state = state
        if (state === 'denied') other.deniedAt = now
      }
      if (isBlocking) blocked.add(one.who)
      return 'done'
    },
    lift: (who: number) => blocked.delete(who),
  }
}

describeDatabases('whatever agents and their person do, in whatever order', (database) => {
  let world: AskingWorld
  beforeAll(async () => {
    world = await openAskingWorld({
      backend: { database, openfga: 'engine' },
      grants: () => notedGrants().maker,
    })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const askers = async (): Promise<Requester[]> => {
    // Nothing that was asked before counts any more, and nobody is blocked.
    world.clock.move(3 * 3_600_000)
    await world.database.query('update approval_askers set blocked_at = null')
    const lent = { scope: ['collection:finance' as const], purpose: 'tests' }
    const expiresAt = new Date(world.clock.now() + 10 * 86_400_000)
    const pairs = [
      ['anne', 'research-bot'],
      ['anne', 'other-bot'],
      ['bob', 'research-bot'],
    ] as const
    return Promise.all(
      pairs.map(async ([person, agent]) => {
        const subject = `user:${person}` as const
        const { id } = await world.service.delegations.lend({ subject, agent, expiresAt, ...lent })
        return { subject, agent, client: 'agent-app', delegation: id, txn: 't_1' }
      }),
    )
  }

  test('every approval is where the rules say it is', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async (steps) => {
        const who = await askers()
        const rules = createRules()
        const ids: string[] = []
        const asker = (index: number): Requester => who[index] ?? fail()
        const coded = (work: Promise<unknown>) =>
          work.then(
            () => 'done',
            (error: unknown) => (error instanceof AppError ? error.code : fail()),
          )
        for (const next of steps) {
          if (next.do === 'pass') {
            world.clock.move(next.seconds * 1_000)
            rules.pass(next.seconds)
          } else if (next.do === 'mend') await world.approvals.mend()
          else if (next.do === 'lift') {
            const { subject, agent } = asker(next.who)
            expect(await world.approvals.blocks.lift(subject, agent, operator('t_1'))).toBe(
              rules.lift(next.who),
            )
          } else if (next.do === 'ask') {
            const expected = rules.ask(next.who, next.what, next.seconds)
            const asking = world.approvals.ask(
              asker(next.who),
              { kind: 'access', resource: `https://${next.what}.test`, scopes: ['x'], details: [] },
              { seconds: next.seconds, front: 'rest' },
            )
            if (expected === 'rate_limited') expect(await coded(asking)).toBe(expected)
            else {
              const { id } = await asking
              expect(ids[expected] ?? id).toBe(id)
              ids[expected] = id
            }
          } else {
            const one = rules.all[next.which % Math.max(1, rules.all.length)]
            const id = ids[next.which % Math.max(1, ids.length)]
            if (one === undefined || id === undefined) continue
            const { subject } = asker(one.who)
            if (next.do === 'answer')
              expect(await coded(world.approvals.answer(asker(one.who), id, 'So.'))).toBe(rules.answer(one))
            else {
              const decision =
                next.do === 'question'
                  ? ({ answer: 'ask', question: 'Why?' } as const)
                  : next.do === 'approve'
                    ? ({ answer: 'approve' } as const)
                    : ({ answer: 'deny', block: next.do === 'block' } as const)
              const result = await world.decide({ id, subject }, decision)
              expect(result.ok ? 'done' : result.reason).toBe(
                next.do === 'question'
                  ? rules.question(one)
                  : rules.decide(one, next.do === 'approve' ? 'approved' : 'denied', next.do === 'block'),
              )
            }
          }
        }
        for (const [index, one] of rules.all.entries()) {
          const found = await world.approvals.of(asker(one.who), ids[index] ?? '')
          expect(found).toMatchObject({ state: one.state })
          expect(found?.rounds).toHaveLength(one.rounds)
        }
      }),
      { numRuns: 25 },
    )
  }, 300_000)
})

function fail(): never {
  throw new Error('The test has lost its way.')
}
