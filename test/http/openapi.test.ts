import { expect, test } from 'vitest'
import { openWorld } from '../support/world.ts'

test('the committed contract is what the validating schemas say (renew: npx vitest run test/http/openapi.test.ts -u)', async () => {
  await using world = await openWorld()
  const response = await world.call('GET', '/openapi.json')
  expect(response.status).toBe(200)
  const text = `${JSON.stringify(await response.json(), null, 2)}\n`
  await expect(text).toMatchFileSnapshot('../../docs/openapi.json')
})

test('the contract can be read as one page that needs no script', async () => {
  await using world = await openWorld()
  const response = await world.call('GET', '/docs')
  expect(response.headers.get('content-security-policy')).toContain("default-src 'none'")
  const page = await response.text()
  expect(page).not.toContain('<script')
  for (const path of [
    '/retrieve',
    '/documents/{id}',
    '/imports',
    '/access',
    '/collections',
    '/fields',
    '/jobs/{id}',
  ]) {
    expect(page).toContain(path)
  }
})
