import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { freshSettings, listens, startService } from '../e2e/process.ts'

const makeKeys = (...args: readonly string[]) => execFileSync('node', ['scripts/keys.ts', ...args])

describe('the keys that several processes share', () => {
  test('are those that a process makes at its start, and the chart wants all of them', {
    timeout: 120_000,
  }, async () => {
    await using settings = await freshSettings(undefined)
    const made = join(settings.home, '../made')
    makeKeys(made)
    {
      await using service = startService({ ...settings.env, DEMO_SAMPLE: 'false' })
      await listens(service)
      // Whose key for ID tokens is made when it is first asked for.
      expect((await fetch(`${settings.url}/oauth/jwks`)).ok).toBe(true)
      expect(readdirSync(made)).toEqual(readdirSync(join(settings.home, 'keys')))
    }
    const chart = readFileSync(
      new URL('../../deploy/helm/remit/templates/_helpers.tpl', import.meta.url),
      'utf8',
    )
    const [, wanted] = /define "remit\.keyFiles" -\}\}\n(.*)\n/.exec(chart) ?? []
    expect(wanted?.split(' ')).toEqual(readdirSync(made))
  })

  test('stay when they are made again, and at a rotation the old ones are published still', async () => {
    await using settings = await freshSettings(undefined)
    const folder = settings.home
    const held = () => readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')])
    const kids = async () =>
      (await (await openKeyRing(folder, { now: Date.now })).jwks()).keys.map(({ kid }) => kid)
    makeKeys(folder)
    const made = held()
    for (const [name = ''] of made) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600)
    makeKeys(folder)
    expect(held()).toEqual(made)
    const old = await kids()
    makeKeys(folder, 'rotate')
    const rotated = await kids()
    expect(rotated.length).toBe(4)
    expect(rotated).toEqual(expect.arrayContaining(old))
    expect(rotated[0]).not.toBe(old[0])
  })
})
