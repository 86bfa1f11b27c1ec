import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { Question } from '../../../src/authz/gate/question.ts'
import { describeBackends } from '../../support/backends.ts'
import { openWorld, type World } from '../../support/world.ts'

describeBackends('the permission index', (backend) => {
  let world: World
  beforeAll(async () => {
    world = await openWorld({ backend })
    await world.service.index.catchUp()
    await world.put({
      plain: { access: { viewers: ['user:bob', 'user:anne'] } },
      blocked: { access: { viewers: ['user:bob'], blocked: ['user:bob'] } },
      ended: { access: { viewers: [{ user: 'user:bob', expires_at: '2020-01-01T00:00:00Z' }] } },
      ending: { access: { viewers: [{ user: 'user:bob', expires_at: '2099-01-01T00:00:00Z' }] } },
      secret: { access: { viewers: ['user:bob'], sensitive: true } },
    })
    // Written at once: on a real server one of them may be stamped before others and committed after them.
    // The next look at what is just past, a second later, finds it.
    await vi.waitUntil(() => world.service.index.nominate(about('bob'))?.length === 3, { timeout: 10_000 })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  const about = (user: string): Question => ({ user: `user:${user}`, relation: 'can_read', contextual: [] })
  const allowed = (question: Question, now: number) =>
    Object.fromEntries(
      [...(world.service.index.evaluate(question, ['plain', 'blocked', 'ended', 'ending'], now) ?? [])].map(
        ([id, verdict]) => [id, verdict.allowed],
      ),
    )

  test('nominates what the model in full allows: nothing that is blocked, ended, or that no path leads to', () => {
    const { index } = world.service
    expect([...(index.nominate(about('bob')) ?? [])].sort()).toEqual(['ending', 'plain', 'secret'])
    expect(index.nominate(about('anne'))).toEqual(['plain'])
    expect(index.nominate(about('nobody'))).toEqual([])
  })

  test('evaluates with exclusions and conditions, and says when the first of the grants met ends', () => {
    const { index } = world.service
    expect(allowed(about('bob'), Date.now())).toEqual({
      plain: true,
      blocked: false,
      ended: false,
      ending: true,
    })
    const end = Date.parse('2099-01-01T00:00:00Z')
    expect(allowed(about('bob'), end)).toMatchObject({ ending: false })
    expect(index.evaluate(about('bob'), ['ending'], Date.now())?.get('ending')?.until).toBe(end)
    expect(index.evaluate(about('bob'), ['plain'], Date.now())?.get('plain')).toEqual({ allowed: true })
  })

  test('leaves out what cannot be evaluated, and never throws', () => {
    const wrong = { ...about('bob'), relation: 'no_such' }
    expect(world.service.index.evaluate(wrong, ['plain'], Date.now())).toEqual(new Map())
  })

  test('narrows an agent to what was lent, with the tuples that only the question carries', async () => {
    const { index } = world.service
    const delegation = await world.lend('bob', 'research-bot', 'document:plain', 'document:secret')
    const question: Question = {
      user: 'user:bob',
      relation: 'can_read_delegated',
      contextual: [
        { user: 'user:bob', relation: 'acting_for', object: 'agent:research-bot' },
        { user: 'user:bob', relation: 'presented', object: `delegation:${delegation}` },
      ],
    }
    expect(index.nominate(question)).toEqual(['plain'])
    const told = { ...question, relation: 'can_be_told' }
    expect([...(index.nominate(told) ?? [])].sort()).toEqual(['plain', 'secret'])
    const verdicts = index.evaluate(question, ['plain', 'secret', 'ending'], Date.now())
    expect([...(verdicts ?? [])].map(([id, { allowed: is }]) => [id, is])).toEqual([
      ['plain', true],
      ['secret', false],
      ['ending', false],
    ])
    expect(index.nominate({ ...question, contextual: question.contextual.slice(0, 1) })).toEqual([])
  })

  test('has a write of this process, and no longer what it took away, when the writer goes on', async () => {
    const { index } = world.service
    await world.write('user:carol member group:inner', 'group:inner#member member group:outer')
    await world.write('group:outer#member viewer document:plain')
    expect(index.nominate(about('carol'))).toEqual(['plain'])
    await world.remove('user:carol member group:inner')
    expect(allowed(about('carol'), Date.now())).toMatchObject({ plain: false })
  })

  test('tells what a removal, a block and a changed condition may have taken away, however far away they were', async () => {
    const { index } = world.service
    await world.write(
      'user:dan member group:far',
      'group:far#member viewer folder:f',
      'folder:f parent document:plain',
    )
    const ids = ['plain', 'ending']
    const before = Date.now()
    const touchedBy = async (change: () => Promise<void>) => {
      // Two changes within one millisecond would be told apart by nobody.
      await new Promise((resolve) => setTimeout(resolve, 5))
      const since = Date.now()
      await change()
      return [...index.touched(ids, since)]
    }
    expect(await touchedBy(() => world.write('user:anne viewer document:ending'))).toEqual([])
    expect(await touchedBy(() => world.write('user:dan blocked document:ending'))).toEqual(['ending'])
    expect(await touchedBy(() => world.remove('user:dan member group:far'))).toEqual(['plain'])
    expect(
      await touchedBy(async () => {
        const ended = { name: 'until', context: { expires_at: '2020-01-01T00:00:00Z' } } as const
        const key = { user: 'user:bob', relation: 'viewer', object: 'document:ending' } as const
        await world.service.fga.write({ deletes: [key] })
        await world.service.fga.write({ writes: [{ ...key, condition: ended }] })
      }),
    ).toEqual(['ending'])
    expect([...index.touched(ids, before)].sort()).toEqual(['ending', 'plain'])
    expect(index.touched(ids, 0)).toEqual(new Set(ids))
  })

  test('says to operators how far it is behind', async () => {
    expect(world.service.index.status()).toMatchObject({ state: 'following', tuples: expect.any(Number) })
    const ready = await world.service.ops.request(`http://127.0.0.1:${world.config.ops.port}/readyz`)
    expect(await ready.json()).toMatchObject({ permission_index: { state: 'following' } })
    const metrics = await world.service.ops.request(`http://127.0.0.1:${world.config.ops.port}/metrics`)
    expect(await metrics.text()).toMatch(/^remit_index_following 1$/m)
  })
})
