import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { native, needsOpenfga, needsPostgres } from '../support/native.ts'
import { openPair, type Pair, statusOf } from '../support/pair.ts'

/** By hand more: `DEACTIVATIONS=100` prints the 99th of a hundred. */
const deactivations = Number(process.env['DEACTIVATIONS'] || 10)

describe('two processes on one Postgres', needsPostgres.skip ? needsPostgres : needsOpenfga, () => {
  let pair: Pair
  beforeAll(async () => {
    if (native.databaseUrl === undefined || native.openfga === undefined) return
    pair = await openPair({ databaseUrl: native.databaseUrl, openfga: native.openfga })
  }, 300_000)
  afterAll(() => pair?.[Symbol.asyncDispose]())

  const seen = (token: string) => Promise.all(pair.urls.map((url) => statusOf(url, token)))

  /**
   * Milliseconds from the end of `remove` to the beginning of the last request with which the token passed:
   * how long its answer takes is the machine's. The first process must not pass it at all.
   */
  async function untilRefused(token: string, remove: () => Promise<unknown>): Promise<number> {
    // An agent may not ask for jobs: 403 and a code say that the token was good.
    const good = await answers(token)
    expect(good).toEqual(['forbidden', 'forbidden'])
    await remove()
    const removed = performance.now()
    for (let passed = 0; ; ) {
      const asked = performance.now() - removed
      const [first, second] = await answers(token)
      expect(first).not.toBe('forbidden')
      if (second !== 'forbidden') return passed
      passed = asked
      if (passed > 10_000) throw new Error('it is never refused')
    }
  }

  const answers = (token: string): Promise<string[]> =>
    Promise.all(
      pair.urls.map(async (url) => {
        const response = await fetch(`${url}/jobs/none`, { headers: { authorization: `Bearer ${token}` } })
        return ((await response.json()) as { code: string }).code
      }),
    )

  test(
    'somebody whom their directory deactivates by the one is refused there at once, in the other within a second',
    async () => {
      await pair.command(
        ...['directory', 'add', 'acme', '--namespace', 'elsewhere', '--prefix', 'acme/'],
        ...['--key-attribute', 'externalId'],
      )
      const directory = (await pair.command('directory', 'token', 'acme')).trim()
      const scim = async (method: string, path: string, body: object) => {
        const response = await fetch(`${pair.urls[0]}/scim/v2${path}`, {
          method,
          headers: { authorization: `Bearer ${directory}`, 'content-type': 'application/scim+json' },
          body: JSON.stringify(body),
        })
        return { status: response.status, body: (await response.json()) as { readonly id: string } }
      }
      const passed: number[] = []
      for (let n = 0; n < deactivations; n += 1) {
        const user = { userName: `p${n}`, externalId: `p${n}`, active: true }
        const { id } = (await scim('POST', '/Users', user)).body
        const { token } = await pair.agentToken(`elsewhere/p${n}`)
        const off = { Operations: [{ op: 'replace', path: 'active', value: false }] }
        passed.push(
          await untilRefused(token, async () => {
            expect((await scim('PATCH', `/Users/${id}`, off)).status).toBe(200)
          }),
        )
      }
      passed.sort((one, other) => one - other)
      const p99 = passed[Math.ceil(passed.length * 0.99) - 1] ?? 0
      process.stdout.write(`Refused after ${p99.toFixed(0)} ms, the 99th in 100 of ${passed.length}.\n`)
      expect(Math.max(...passed)).toBeLessThan(1_000)
    },
    240_000 + deactivations * 6_000,
  )

  test.each([
    ['a delegation is revoked', (delegation: string) => ['delegation', 'revoke', delegation]],
    ['a person is disabled', () => ['person', 'disable', 'eve', '--unknown']],
    ['an agent is disabled', () => ['agent', 'disable', 'research-bot']],
  ] as const)(
    '%s in the one: its tokens are refused there at once, in the other within a second',
    async (_, command) => {
      const { token, delegation } = await pair.agentToken('eve')
      const passed = await untilRefused(token, () => pair.command(...command(delegation)))
      const statuses = await seen(token)
      if (command(delegation).includes('person')) await pair.command('person', 'enable', 'eve')
      expect(passed).toBeLessThan(1_000)
      expect(statuses.every((status) => status === 401 || status === 403)).toBe(true)
    },
    240_000,
  )
})
