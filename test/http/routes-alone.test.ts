import { readdirSync } from 'node:fs'
import { expect, test } from 'vitest'

const routes = new URL('../../src/http/routes/', import.meta.url)

// `.openapi()` is put on what zod makes after @hono/zod-openapi was loaded. What the kernel made before lacks it, and
// which comes first is chance: the order of the imports of whoever asks.
test('a route’s schemas do not care whether the kernel’s were made before the contract’s library was loaded', async () => {
  const { instant } = await import('../../src/kernel/instant.ts')
  expect(instant).not.toHaveProperty('openapi')
  await import('../../src/kernel/text.ts')
  await import('../../src/ingest/wire.ts')
  await import('../../src/retrieval/wire/question.ts')
  await import('../../src/retrieval/wire/answer.ts')
  const names = readdirSync(routes, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  )
  expect(names.length).toBeGreaterThan(40)
  for (const name of names) await import(new URL(name, routes).href)
})
