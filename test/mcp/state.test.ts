import { afterEach, describe, expect, test, vi } from 'vitest'
import { agent, createFixtureApp } from './conformance/fixture-face.ts'
import { message, replyOf } from './world.ts'

// What a client carries between two rounds of a call is in the hands of whoever it likes to give it to.

const publicUrl = 'http://localhost:8787'
const tokens = {
  mine: agent,
  'another person': { ...agent, subject: 'user:bob' as const },
  'another agent': { ...agent, actors: ['agent:b' as const] },
  'another agent inside': { ...agent, actors: ['agent:a' as const, 'agent:b' as const] },
  'another client': { ...agent, client: 'elsewhere' },
  'another delegation': { ...agent, delegation: 'd_2' },
}
const tool = 'test_input_required_result_request_state'
const sibling = 'test_input_required_result_tampered_state'

function openCalls() {
  const shown = Object.entries(tokens).map(([name, who]) => [name.replaceAll(' ', '-'), who] as const)
  const app = createFixtureApp({ publicUrl, tokens: Object.fromEntries(shown) })
  const call = async (params: object, token: keyof typeof tokens = 'mine') => {
    const { body, headers } = message('tools/call', params, { capabilities: { elicitation: {} } })
    const response = await app.request(`${publicUrl}/mcp`, {
      method: 'POST',
      headers: { ...headers, authorization: `Bearer ${token.replaceAll(' ', '-')}` },
      body: JSON.stringify(body),
    })
    return (await replyOf(response)).body
  }
  const begin = async (): Promise<string> => {
    const { result } = await call({ name: tool, arguments: { a: 1 } })
    expect(result).toMatchObject({ resultType: 'input_required', requestState: expect.any(String) })
    return String(result?.['requestState'])
  }
  const inputResponses = { confirm: { action: 'accept', content: { ok: true } } }
  const goOn = (requestState: string, token?: keyof typeof tokens, changed: object = {}) =>
    call({ name: tool, arguments: { a: 1 }, inputResponses, requestState, ...changed }, token)
  const nested = async (state: object): Promise<number> => {
    const { body, headers } = message('tools/call', { name: tool, arguments: { a: 'DEEP' }, ...state })
    const deep = '['.repeat(100_000) + ']'.repeat(100_000)
    const response = await app.request(`${publicUrl}/mcp`, {
      method: 'POST',
      headers: { ...headers, authorization: 'Bearer mine' },
      body: JSON.stringify(body).replace('"DEEP"', deep),
    })
    return response.status
  }
  return { begin, goOn, nested }
}

const refusal = { error: { code: -32_602, message: 'Invalid or expired requestState' } }

afterEach(() => {
  vi.useRealTimers()
})

describe('the state of a call', () => {
  test('goes on with it, once', async () => {
    const { begin, goOn } = openCalls()
    const state = await begin()
    expect(JSON.stringify(await goOn(state))).toContain('state-ok')
    expect(await goOn(state)).toMatchObject(refusal)
  })

  test('goes on once of twenty at the same time', async () => {
    const { begin, goOn } = openCalls()
    const state = await begin()
    const all = await Promise.all(Array.from({ length: 20 }, () => goOn(state)))
    expect(all.filter(({ result }) => result !== undefined)).toHaveLength(1)
  })

  test('is not what arguments that are nested without end break on', async () => {
    const { begin, nested } = openCalls()
    expect(await nested({})).toBeLessThan(500)
    expect(await nested({ requestState: await begin() })).toBeLessThan(500)
  })

  test.each(Object.keys(tokens).filter((one) => one !== 'mine'))('is worth nothing to %s', async (token) => {
    const { begin, goOn } = openCalls()
    const state = await begin()
    expect(await goOn(state, token as keyof typeof tokens)).toMatchObject(refusal)
    // It was not used up by them.
    expect(JSON.stringify(await goOn(state))).toContain('state-ok')
  })

  test('is worth nothing for another tool or other arguments, whose order does not count', async () => {
    const { begin, goOn } = openCalls()
    const state = await begin()
    expect(await goOn(state, 'mine', { name: sibling })).toMatchObject(refusal)
    expect(await goOn(state, 'mine', { arguments: { a: 2 } })).toMatchObject(refusal)
    expect(await goOn(state, 'mine', { arguments: {} })).toMatchObject(refusal)
    expect(JSON.stringify(await goOn(state))).toContain('state-ok')
  })

  test('is worth nothing changed, in any of its parts', async () => {
    const { begin, goOn } = openCalls()
    const state = await begin()
    for (const [index, part] of state.split('.').entries()) {
      const parts = state.split('.')
      parts[index] = `${part.slice(0, -2)}${part.endsWith('AA') ? 'BB' : 'AA'}`
      expect(await goOn(parts.join('.'))).toMatchObject(refusal)
    }
    for (const other of ['', 'v1..', 'null', `${state}x`]) expect(await goOn(other)).toMatchObject(refusal)
  })

  test('is over after five minutes', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { begin, goOn } = openCalls()
    const state = await begin()
    vi.setSystemTime(Date.now() + 301_000)
    expect(await goOn(state)).toMatchObject(refusal)
  })
})
