import { expect, test } from 'vitest'
import { freshSettings, listens, startService } from './process.ts'

test('a service whose port another one has is told as ended, though that one answers there', async () => {
  await using first = await freshSettings(undefined)
  await using service = startService(first.env)
  await listens(service)
  await using second = await freshSettings(undefined)
  await using other = startService({ ...second.env, PORT: first.env['PORT'] ?? '' })
  await expect(listens(other)).rejects.toThrow(/ended before .* is taken by another process/s)
  await expect(other.crash()).rejects.toThrow(/ended by itself \(1\)/)
  await expect(service.crash()).resolves.toBeUndefined()
}, 120_000)
