import { describe, expect, test } from 'vitest'
import { questionFor } from '../../src/authz/gate.ts'
import type { Principal } from '../../src/kernel/principal.ts'
import { type Answer, anne, annesBot, type BatchItem, batch, modelId, startDouble } from './double.ts'
import { gateOf } from './parts.ts'

const noon = Date.parse('2026-11-24T12:00:00.000Z')
const unavailable = expect.objectContaining({ code: 'authorization_unavailable', status: 503 })
const yes = batch(() => ({ allowed: true }))
const asking = { consistency: 'strict' } as const
const items = (...ids: readonly string[]) => ids.map((documentId, place) => ({ documentId, place }))
const numbered = (count: number) => Array.from({ length: count }, (_, index) => `d${index}`)

async function ask(
  answer: Answer,
  principal: Principal,
  ids: readonly string[],
  { now = noon, timeoutMs }: { readonly now?: number; readonly timeoutMs?: number } = {},
) {
  await using double = await startDouble(answer, timeoutMs)
  const clearing = gateOf({ fga: double.fga, now: () => now }).open(principal, asking)
  const { cleared, stopped } = await clearing.clear(items(...ids))
  if (stopped !== undefined) throw stopped
  const checks = double.calls.flatMap(({ body }) => body.checks ?? [])
  const { considered, denied, errors } = clearing.counts
  return {
    cleared,
    counts: { considered, denied, errors },
    requestIds: clearing.requestIds,
    ids: cleared.map(({ documentId }) => documentId),
    calls: double.calls,
    checks,
  }
}

describe('the gate asks', () => {
  test('for a person whether they may read, and nothing else', async () => {
    const { calls, checks } = await ask(yes, anne, ['a'])
    expect(calls).toHaveLength(1)
    expect(calls[0]).toMatchObject({
      path: 'batch-check',
      body: { authorization_model_id: modelId, consistency: 'HIGHER_CONSISTENCY' },
    })
    expect(checks).toEqual([
      {
        tuple_key: { user: 'user:anne', relation: 'can_read', object: 'document:a' },
        context: { current_time: expect.any(String) },
        correlation_id: expect.any(String),
      },
    ])
  })

  test('for an agent about the person still, with the outermost agent and the delegation on every item', async () => {
    const { checks } = await ask(yes, annesBot, numbered(60))
    expect(checks).toHaveLength(60)
    for (const { tuple_key, contextual_tuples } of checks) {
      expect(tuple_key).toMatchObject({ user: 'user:anne', relation: 'can_read_delegated' })
      expect(contextual_tuples?.tuple_keys).toEqual([
        { user: 'user:anne', relation: 'acting_for', object: 'agent:research-bot' },
        { user: 'user:anne', relation: 'presented', object: 'delegation:d_1' },
      ])
    }
  })

  test('about each document once, however many passages of it there are, and keeps the order of all', async () => {
    const { checks, cleared, counts } = await ask(yes, anne, ['b', 'a', 'b', 'c', 'a'])
    expect(checks.map(({ tuple_key }) => tuple_key.object)).toEqual([
      'document:b',
      'document:a',
      'document:c',
    ])
    expect(cleared.map(({ place }) => place)).toEqual([0, 1, 2, 3, 4])
    expect(counts).toEqual({ considered: 3, denied: 0, errors: 0 })
  })

  test('about 120 documents in five calls, 25 in each at first, and matches the answers whatever order they come in', async () => {
    const odd = ({ tuple_key }: BatchItem) => ({
      allowed: Number(tuple_key.object.slice('document:d'.length)) % 2 === 1,
    })
    const reversed: Answer = (call, ...rest) => {
      const { result } = batch(odd)(call, ...rest) as { result: Record<string, unknown> }
      return {
        result: Object.fromEntries(
          Object.entries(result)
            .map(([key, value]) => [key, value])
            .reverse(),
        ),
      }
    }
    const { calls, ids, counts, requestIds } = await ask(reversed, anne, numbered(120))
    expect(calls.map(({ body }) => body.checks?.length).sort()).toEqual([20, 25, 25, 25, 25])
    expect(ids).toEqual(numbered(120).filter((_, index) => index % 2 === 1))
    expect(counts).toEqual({ considered: 120, denied: 60, errors: 0 })
    expect([...requestIds].sort()).toEqual([1, 2, 3, 4, 5].map((nth) => `request-${nth}`))
  })

  test('nothing when there is nothing to ask', async () => {
    const { calls, cleared } = await ask(yes, anne, [])
    expect(calls).toEqual([])
    expect(cleared).toEqual([])
  })

  test.each([
    [noon, '2026-11-24T12:00:00.000Z'],
    [noon + 1, '2026-11-24T12:00:01.000Z'],
    [noon + 999, '2026-11-24T12:00:01.000Z'],
  ])(
    'with the time rounded up to the next second, so that no grant outlives its end (%d)',
    async (now, sent) => {
      const { checks } = await ask(yes, anne, ['a', 'b'], { now })
      expect(checks.map(({ context }) => context)).toEqual([{ current_time: sent }, { current_time: sent }])
    },
  )
})

describe('the gate refuses to ask', () => {
  test.each<[string, Principal, string]>([
    ['an agent without its delegation', withoutDelegation(annesBot), 'actor_unauthorized'],
    ['an agent without an actor', { ...annesBot, actors: [] }, 'actor_unauthorized'],
    ['a service', { ...anne, kind: 'service', subject: 'service:crawler' }, 'forbidden'],
    ['a service that names an actor', { ...annesBot, kind: 'service' }, 'forbidden'],
  ])('for %s', async (_, principal, code) => {
    expect(() => questionFor(principal)).toThrow(expect.objectContaining({ code }))
    await expect(ask(yes, principal, ['a'])).rejects.toEqual(expect.objectContaining({ code }))
  })

  test('with the wider question for a person whose token names an actor', () => {
    expect(questionFor({ ...annesBot, kind: 'person' }).relation).toBe('can_read_delegated')
  })
})

describe('the gate releases nothing', () => {
  test.each<[string, unknown]>([
    ['a no', { allowed: false }],
    ['an error', { error: { input_error: 'validation_error', message: 'm' } }],
    ['a yes beside an error', { allowed: true, error: { message: 'm' } }],
    ['a missing item', undefined],
    ['an empty item', {}],
    ['null', null],
    ['the string "true"', { allowed: 'true' }],
    ['the number 1', { allowed: 1 }],
    ['a list', { allowed: [true] }],
    ['a bare true', true],
  ])('for %s, and goes on with the others', async (_, wrong) => {
    const answer = batch(({ tuple_key }) => (tuple_key.object === 'document:b' ? wrong : { allowed: true }))
    const { ids, counts } = await ask(answer, anne, ['a', 'b', 'c', 'b'])
    expect(ids).toEqual(['a', 'c'])
    expect(counts.denied + counts.errors).toBe(1)
    expect(counts.considered).toBe(3)
  })

  test('and tells a refusal from a missing answer', async () => {
    const wrong: Readonly<Record<string, unknown>> = {
      'document:a': { allowed: false },
      'document:b': { allowed: 'true' },
    }
    const { counts } = await ask(
      batch(({ tuple_key }) => wrong[tuple_key.object]),
      anne,
      ['a', 'b', 'c'],
    )
    expect(counts).toEqual({ considered: 3, denied: 1, errors: 2 })
  })

  test('and counts as refused what is nested too deep, which is no failure of the server', async () => {
    const codes = ['authorization_model_resolution_too_complex', 'validation_error']
    const errors = codes.map((input_error) => ({ error: { input_error, message: 'no' } }))
    const wrong = Object.fromEntries(errors.map((error, place) => [`document:d${place}`, error]))
    const { ids, counts } = await ask(
      batch(({ tuple_key }) => wrong[tuple_key.object]),
      anne,
      ['d0', 'd1'],
    )
    expect({ ids, counts }).toEqual({ ids: [], counts: { considered: 2, denied: 1, errors: 1 } })
  })

  test('for an answer about other correlation ids', async () => {
    const { ids, counts } = await ask(
      () => ({ result: { other: { allowed: true }, '7': { allowed: true } } }),
      anne,
      ['a', 'b'],
    )
    expect(ids).toEqual([])
    expect(counts.errors).toBe(2)
  })

  test('for an id that is also a name of every object', async () => {
    const { ids, counts } = await ask(() => ({ result: {} }), anne, ['constructor', '__proto__', 'toString'])
    expect(ids).toEqual([])
    expect(counts.errors).toBe(3)
  })

  test.each<[string, unknown]>([
    ['no result', {}],
    ['null for a result', { result: null }],
    ['a string', 'allowed'],
    ['a list', [{ allowed: true }]],
  ])('and says 503 for an answer with %s', async (_, body) => {
    await expect(ask(() => body, anne, ['a'])).rejects.toEqual(unavailable)
  })

  test.each([400, 401, 404, 429, 500, 503])('and says 503 for status %d', async (status) => {
    const refusing: Answer = (_, response) => {
      response.statusCode = status
      return { code: 'some_error', message: 'm' }
    }
    await expect(ask(refusing, anne, ['a'])).rejects.toEqual(unavailable)
  })

  test('for the documents of a call that fails, and releases what the other two proved', async () => {
    const second: Answer = (call, response, nth) => {
      if (nth !== 1) return yes(call, response, nth)
      response.statusCode = 500
      return {}
    }
    const { ids, counts } = await ask(second, anne, numbered(120))
    expect([ids.length, ids.length + counts.errors]).toEqual([counts.considered - counts.errors, 120])
    expect([20, 50]).toContain(counts.errors)
  })

  test('and says 503 when all of three calls fail', async () => {
    const failing: Answer = (_, response) => {
      response.statusCode = 500
      return {}
    }
    await expect(ask(failing, anne, numbered(120))).rejects.toEqual(unavailable)
  })

  test.each<[string, Answer]>([
    ['never answers', () => undefined],
    [
      'sends half an answer and then nothing',
      (_, response) => void response.write('{"result":{"0":{"allowed":true}'),
    ],
    ['hangs up', (_, response) => void response.destroy()],
    ['hangs up in the middle', (_, response) => void response.write('{"result":', () => response.destroy())],
    ['sends no JSON', (_, response) => void response.end('<html>')],
    ['sends a byte now and then', trickle],
  ])('and says 503 within the time-out for a server that %s', async (_, answer) => {
    const started = performance.now()
    const outcome = await ask(answer, anne, ['a'], { timeoutMs: 400 }).then(
      ({ ids }) => ids,
      (error: unknown) => error,
    )
    expect(outcome).toEqual(unavailable)
    expect(performance.now() - started).toBeLessThan(8_000)
  })

  test('and stops at once when the request is over', async () => {
    await using double = await startDouble(() => undefined, 20_000)
    const gate = gateOf({ fga: double.fga, now: () => noon })
    const started = performance.now()
    const { cleared, stopped } = await gate
      .open(anne, { ...asking, signal: AbortSignal.timeout(100) })
      .clear(items('a'))
    expect([cleared, stopped?.code]).toEqual([[], 'deadline_exceeded'])
    expect(performance.now() - started).toBeLessThan(8_000)
  })
})

function withoutDelegation({ delegation: _, ...principal }: Principal): Principal {
  return principal
}

// An idle time-out alone would never fire.
function trickle(_: unknown, response: import('node:http').ServerResponse): undefined {
  const timer = setInterval(() => response.write(' '), 50)
  response.on('close', () => clearInterval(timer))
}
