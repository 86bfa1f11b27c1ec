import { isDeepStrictEqual } from 'node:util'
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

test('requests are closed, and an answer may gain members and words', async () => {
  await using world = await openWorld()
  const { paths, components } = (await (await world.call('GET', '/openapi.json')).json()) as Contract
  const operations = Object.values(paths).flatMap((methods) => Object.values(methods))
  const isString = (one: object) => isDeepStrictEqual(one, { type: 'string' })
  const answers = partsOf(
    operations.map(({ responses }) => responses),
    components,
  )
  expect(answers.filter((part) => part.additionalProperties === false)).toEqual([])
  const words = answers.filter((part) => part.enum !== undefined)
  expect(words.length).toBeGreaterThan(20)
  const open = new Set(answers.flatMap(({ anyOf = [] }) => (anyOf.some(isString) ? anyOf : [])))
  expect(words.filter((part) => !open.has(part))).toEqual([])
  const bodies = partsOf(
    operations.map(({ requestBody }) => requestBody),
    components,
  )
  expect(bodies.length).toBeGreaterThan(100)
  expect(bodies.filter((part) => part.properties && !('additionalProperties' in part))).toEqual([])
})

test('every operation has an id of its own, by its method and path', async () => {
  await using world = await openWorld()
  const { paths } = (await (await world.call('GET', '/openapi.json')).json()) as Contract
  const ids = Object.values(paths).flatMap((methods) =>
    Object.values(methods).map(({ operationId = '' }) => operationId),
  )
  expect(ids.filter((id) => !/^(get|post|put|delete)([A-Z][a-z\d]+)+$/.test(id))).toEqual([])
  expect(new Set(ids).size).toBe(ids.length)
  expect(paths['/retrieve']?.['post']?.operationId).toBe('postRetrieve')
  expect(paths['/jobs']?.['get']?.operationId).toBe('getJobs')
  expect(paths['/who-can']?.['post']?.operationId).toBe('postWhoCan')
  expect(paths['/documents/{id}/access']?.['put']?.operationId).toBe('putDocumentsByIdAccess')
})

interface Part {
  readonly additionalProperties?: unknown
  readonly properties?: object
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly object[]
  readonly $ref?: string
}
interface Contract {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, object>> }
}
interface Operation {
  readonly operationId?: string
  readonly requestBody?: object
  readonly responses: object
}

/** Every object in these, and in the schemas to which they lead. */
function partsOf(root: object, { schemas }: Contract['components']): readonly Part[] {
  const parts = new Set<Part>()
  const add = (part: unknown): void => {
    if (typeof part !== 'object' || part === null || parts.has(part)) return
    parts.add(part)
    const { $ref } = part as Part
    for (const inner of Object.values(part)) add(inner)
    add(schemas[$ref?.split('/').at(-1) ?? ''])
  }
  add(root)
  return [...parts]
}
