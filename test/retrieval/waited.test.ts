import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { callTool, openMcpWorld, textOf } from '../mcp/world.ts'
import { createWordEmbedder } from '../support/embedder.ts'
import type { World } from '../support/world.ts'

const words = createWordEmbedder()
let moved = 0
let held = Promise.withResolvers<void>()
let world: World
beforeAll(async () => {
  world = await openMcpWorld({
    env: { REQUEST_DEADLINE_MS: '20000' },
    now: () => Date.now() + moved,
    embedder: {
      ...words,
      async embedQuery(text, options) {
        if (text === 'hold') await held.promise
        return words.embedQuery(text, options)
      },
    },
  })
})
afterAll(() => world?.[Symbol.asyncDispose]())

const gauge = async (name: string): Promise<number> => {
  const { port } = world.config.ops
  const text = await (await world.service.ops.request(`http://127.0.0.1:${port}/metrics`)).text()
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1])
}

const running: Promise<unknown>[] = []
/** As many questions as may run at once, of two others; each waits until `held`. */
async function takeAllTurns(): Promise<void> {
  const tokens = [await world.token({ user: 'carol' }), await world.token({ user: 'bob' })]
  const atOnce = await gauge('remit_turns_at_once')
  for (let index = 0; index < atOnce; index += 1)
    running.push(world.retrieve(tokens[index % 2] ?? '', { query: 'hold' }).catch(() => undefined))
  await expect.poll(() => gauge('remit_turns_running')).toBe(atOnce)
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
})
