import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runCommand } from '../../src/cli/commands.ts'
import { loadConfig } from '../../src/config/config.ts'
import { withService } from '../../src/start.ts'
import { administer } from '../support/administer.ts'
import { native, needsPostgres } from '../support/native.ts'
import { openPutClock } from '../support/put-clock.ts'
import { freshSettings, listens, startService } from './process.ts'

const hourMs = 3_600_000

describe('a process on native Postgres', needsPostgres, () => {
  test('is not ready and lets nobody in while its clock is an hour wrong, from its start or later, and goes on by itself; recovery by such a clock is refused', {
    timeout: 240_000,
  }, async () => {
    const name = `remit_test_${randomBytes(6).toString('hex')}`
    const databaseUrl = native.databaseUrl ?? ''
    await administer(databaseUrl, `create database ${name}`)
    await using stack = new AsyncDisposableStack()
    stack.defer(() => administer(databaseUrl, `drop database if exists ${name} with (force)`))
    const { env, home, url, opsUrl } = stack.use(await freshSettings(undefined))
    const clock = await openPutClock(join(home, '..', 'clock'))
    await clock.put(hourMs)
    const settings = {
      ...env,
      PUBLIC_URL: url,
      DATABASE_URL: Object.assign(new URL(databaseUrl), { pathname: `/${name}` }).href,
      TRUSTED_ISSUERS: JSON.stringify([
        {
          issuer: 'http://127.0.0.1:9',
          audiences: { api: url, mcp: `${url}/mcp` },
          namespace: 'elsewhere',
          preset: 'generic',
        },
      ]),
    }
    const service = stack.use(startService({ ...settings, ...clock.settings }))
    await listens(service)

    const answerOf = async (address: string) => {
      const response = await fetch(address)
      return [response.status, await response.json()]
    }
    const answers = () =>
      Promise.all([`${url}/collections`, `${url}/readyz`, `${opsUrl}/readyz`].map(answerOf))
    const refuses = [
      [503, expect.objectContaining({ code: 'authorization_unavailable' })],
      [503, { status: 'unavailable' }],
      [503, expect.objectContaining({ status: 'unavailable', clocks_together: false })],
    ]
    const lets = [
      [401, expect.objectContaining({ code: 'invalid_token' })],
      [200, { status: 'ok' }],
      [200, expect.objectContaining({ status: 'ok', clocks_together: true })],
    ]
    const soon = { timeout: 30_000, interval: 200 }
    expect(await answers()).toEqual(refuses)
    await clock.put(0)
    await expect.poll(answers, soon).toEqual(lets)
    await clock.put(-hourMs)
    await expect.poll(answers, soon).toEqual(refuses)
    await clock.put(0)
    await expect.poll(answers, soon).toEqual(lets)
    const said = service
      .stderr()
      .split('\n')
      .filter((line) => line.includes('"event":"clocks_'))
      .map((line) => JSON.parse(line) as object)
    expect(said).toMatchObject([
      { event: 'clocks_apart', own: 'ahead', seconds: expect.closeTo(3_600, -2) },
      { event: 'clocks_together' },
      { event: 'clocks_apart', own: 'behind', seconds: expect.closeTo(3_600, -2) },
      { event: 'clocks_together' },
    ])
    await service[Symbol.asyncDispose]()
    const behind = { clock: { now: () => Date.now() - hourMs }, log: () => undefined, fetch }
    const recovering = withService(loadConfig(settings), behind, (deps) =>
      runCommand('recover', { anyway: true }, deps),
    )
    await expect(recovering).rejects.toMatchObject({
      code: 'conflict',
      public: expect.stringMatching(/clocks .* apart/),
    })
  })
})
