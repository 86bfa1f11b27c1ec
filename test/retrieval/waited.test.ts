import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { callTool, openMcpWorld, revisions, textOf } from '../mcp/world.ts'
import { alone } from '../support/backends.ts'
import { createWordEmbedder } from '../support/embedder.ts'
import { noting, notingChecks, sentBy } from '../support/noting.ts'
import { openWorld, type World, type WorldOptions } from '../support/world.ts'

const words = createWordEmbedder()
let moved = 0
let held = Promise.withResolvers<void>()
let world: World
const options = {
  now: () => Date.now() + moved,
  embedder: {
    ...words,
    async embedQuery(text, options) {
      if (text === 'hold') await held.promise
      return words.embedQuery(text, options)
    },
  },
  backend: alone,
} satisfies WorldOptions
beforeAll(async () => {
  world = await openMcpWorld({ ...options, env: { REQUEST_DEADLINE_MS: '20000' } })
})
afterAll(() => world?.[Symbol.asyncDispose]())

const gauge = async (name: string, { config, service } = world): Promise<number> => {
  const { port } = config.ops
  const text = await (await service.ops.request(`http://127.0.0.1:${port}/metrics`)).text()
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1])
}

const running: Promise<unknown>[] = []
/** As many questions as may run at once, of two others; each waits until `held`. */
async function takeAllTurns(of = world): Promise<void> {
  const tokens = [await of.token({ user: 'carol' }), await of.token({ user: 'bob' })]
  const atOnce = await gauge('remit_turns_at_once', of)
  for (let index = 0; index < atOnce; index += 1)
    running.push(of.retrieve(tokens[index % 2] ?? '', { query: 'hold' }).catch(() => undefined))
  await expect.poll(() => gauge('remit_turns_running', of)).toBe(atOnce)
}

afterEach(async () => {
  held.resolve()
  await Promise.all(running.splice(0))
  held = Promise.withResolvers()
  moved = 0
})

describe('a caller who waited for a turn', () => {
  const agent = { user: 'anne', agent: 'research-bot' } as const
  const endings: readonly [string, () => Promise<unknown>, readonly [number, string | undefined]][] = [
    ['is still who they were is answered', async () => undefined, [200, undefined]],
    [
      'is disabled is refused',
      () => world.service.agents.disable('research-bot'),
      [403, 'actor_unauthorized'],
    ],
    [
      'ends with their token is refused',
      async () => {
        moved = 310_000
      },
      [401, 'invalid_token'],
    ],
    [
      'is limited to less may come again as what they are now',
      () => world.database.query(`update agents set collections = '{finance}' where id = 'research-bot'`),
      [503, 'overloaded'],
    ],
  ]
  test.each(endings)('and meanwhile %s', async (_, ending, expected) => {
    const token = await world.token(agent)
    const forMcp = await world.token({ ...agent, resource: 'mcp' })
    expect((await world.retrieve(token, { query: 'travel' })).results).not.toEqual([])
    await takeAllTurns()
    const waiting = world.call('POST', '/retrieve', { token, body: { query: 'travel' } })
    const overMcp = callTool(world, 'retrieve', { query: 'travel' }, { token: forMcp })
    await expect.poll(() => gauge('remit_turns_waiting')).toBe(2)
    try {
      await ending()
      held.resolve()
      const [status, code] = expected
      const response = await waiting
      expect([response.status, ((await response.json()) as { code?: string }).code]).toEqual([status, code])
      const told = textOf(await overMcp)
      if (code === undefined) expect(told).toContain('Book trains early')
      else expect(JSON.parse(told)).toMatchObject({ code, ...(status === 503 && { retry_after: 1 }) })
      expect(response.headers.get('retry-after')).toBe(status === 503 ? '1' : null)
    } finally {
      await world.service.agents.enable('research-bot')
      await world.database.query(`update agents set collections = null where id = 'research-bot'`)
    }
  })

  test('in vain costs the database and OpenFGA nothing, where their token is known', async () => {
    await using hurried = await openWorld({
      ...options,
      env: { REQUEST_DEADLINE_MS: '8000' },
      database: noting,
      openfga: notingChecks,
    })
    const token = await hurried.token({ user: 'anne' })
    const ask = () => hurried.call('POST', '/retrieve', { token, body: { query: 'travel' } })
    const answers: Response[] = []
    const asked = () => sentBy(async () => answers.push(await ask()))
    expect(await asked()).not.toEqual([])
    await takeAllTurns(hurried)
    const sent = await asked()
    held.resolve()
    const told = answers.map(({ status, headers }) => [status, headers.get('retry-after')])
    expect(told).toEqual([
      [200, null],
      [503, '1'],
    ])
    expect(sent).toEqual([])
  })
})

describe('what was asked before the machine slept', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  test.each([
    ['shorter than its deadline', 5_000],
    ['longer than that', 3_600_000],
  ])('is not answered after a sleep that was %s', async (_, sleptMs) => {
    const agent = { user: 'anne', agent: 'research-bot' } as const
    const token = await world.token(agent)
    const forMcp = await world.token({ ...agent, resource: 'mcp' })
    const waiting = world.call('POST', '/retrieve', { token, body: { query: 'hold' } })
    const overMcp = revisions.map((revision) =>
      callTool(world, 'retrieve', { query: 'hold' }, { token: forMcp, revision }),
    )
    await expect.poll(() => gauge('remit_turns_running')).toBe(1 + revisions.length)
    // Timers and `performance` stand still, as they do then.
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + sleptMs })
    held.resolve()
    const response = await waiting
    expect([response.status, await response.json()]).toMatchObject([503, { code: 'deadline_exceeded' }])
    for (const { status, body } of await Promise.all(overMcp))
      expect([status, body]).toMatchObject([503, { code: 'deadline_exceeded' }])
  })
})
