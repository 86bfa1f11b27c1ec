import { join } from 'node:path'
import { expect, test } from 'vitest'
import { freshSettings, remit } from '../e2e/process.ts'

test('with the embedded database it is said how that is copied, what a restore lacks, and an archive is looked at', async () => {
  await using settings = await freshSettings(undefined)
  const { env, home } = settings
  const archive = join(home, 'none')
  const taken = await remit(['backup', 'take', archive, '--recipient', 'age1x'], env)
  expect(taken).toMatchObject({ code: 1, stderr: expect.stringContaining('but no keys/issuer-* of it') })
  const restored = await remit(['restore', archive, '--identity', 'key'], env)
  expect(restored).toMatchObject({ code: 1, stderr: expect.stringContaining('DATABASE_URL is missing') })
  const checked = await remit(['restore', archive, '--identity', 'key', '--check'], env)
  expect(checked).toMatchObject({ code: 1, stderr: expect.stringContaining('oauth.key') })
})
