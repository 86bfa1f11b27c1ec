import { expect, test } from 'vitest'
import { openWorld } from '../support/world.ts'

test('the committed contract is what the validating schemas say (renew: npm run openapi)', async () => {
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

test('the page says what the contract says of a member, and what a member holds whose names are free', async () => {
  await using world = await openWorld()
  const page = await (await world.call('GET', '/docs')).text()
  const rowOf = (route: string, member: string): string => {
    const section = page.slice(page.indexOf(`<section id="${route}">`))
    return section.slice(section.indexOf(`<code>${member}</code>`)).split('</tr>')[0] ?? ''
  }
  const filter = rowOf('post-retrieve', 'filter')
  expect(filter).toContain('Conditions on declared metadata fields, all of which must hold')
  expect(filter).toContain('{in} | {gte?, gt?, lte?, lt?}')
  expect(rowOf('put-fields', 'fields')).toContain('&quot;string&quot; | &quot;number&quot;')
  expect(rowOf('get-audit', 'actor')).toContain('Anywhere in the chain of agents.')
  expect(rowOf('post-explain', 'at')).toContain('The clock for conditions. The tuples are today’s.')
})
