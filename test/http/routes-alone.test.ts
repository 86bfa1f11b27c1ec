import { readdirSync } from 'node:fs'
import { expect, test } from 'vitest'

const routes = new URL('../../src/http/routes/', import.meta.url)
const contract = new URL('../../packages/contract/src/', import.meta.url)

// `.openapi()` is put on what zod makes after @hono/zod-openapi was loaded. What the contract made before
// lacks it, and which comes first is chance: the order of the imports of whoever asks.
test('a route’s schemas do not care whether the contract’s were made before the library that documents them was loaded', async () => {
  const { instant } = await import('@remit/contract/instant')
  expect(instant).not.toHaveProperty('openapi')
  for (const name of readdirSync(contract)) await import(new URL(name, contract).href)
  await import('../../src/ingest/wire.ts')
  const names = readdirSync(routes, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  )
  expect(names.length).toBeGreaterThan(30)
  for (const name of names) await import(new URL(name, routes).href)
})
