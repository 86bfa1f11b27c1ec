import { afterAll, beforeAll, expect, test } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
  await world.put({ 'handbook/travel': { access: { viewers: ['user:anne'] } }, 'handbook/secret': {} })
})
afterAll(() => world?.[Symbol.asyncDispose]())

async function call(method: string, path: string, token?: string, accept = 'application/json') {
  const response = await world.call(method, path, { headers: { accept }, ...(token && { token }) })
  const { txn: _, ...said } = JSON.parse((await response.text()).replace(/^<.*/s, '{}') || '{}')
  const type = response.headers.get('content-type')
  return { status: response.status, allow: response.headers.get('allow'), type, said }
}

test('every path of the contract answers a method that it does not take with 405 and those that it takes', async () => {
  const { paths } = (await (await world.call('GET', '/openapi.json')).json()) as {
    paths: Record<string, Record<string, unknown>>
  }
  expect(Object.keys(paths).length).toBeGreaterThan(50)
  for (const [path, operations] of Object.entries(paths)) {
    const answer = await call('OPTIONS', path.replaceAll(/\{\w+\}/g, 'x'))
    expect(answer, path).toMatchObject({
      status: 405,
      type: 'application/problem+json',
      said: { code: 'method_not_allowed', status: 405 },
    })
    const taken = new Set(answer.allow?.split(', '))
    expect(taken.size, path).toBe(answer.allow?.split(', ').length)
    for (const method of Object.keys(operations)) expect(taken, path).toContain(method.toUpperCase())
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].filter((one) => !taken.has(one)))
      expect(await call(method, path.replaceAll(/\{\w+\}/g, 'x')), `${method} ${path}`).toEqual(answer)
  }
})

test('GET /retrieve is 405 for a stranger and for a person alike', async () => {
  const answer = await call('GET', '/retrieve')
  expect(answer).toMatchObject({ status: 405, allow: 'POST' })
  expect(await call('GET', '/retrieve', await world.token({ user: 'anne' }))).toEqual(answer)
})

test('a wrong method tells nobody what is there: readable, hidden and missing answer alike', async () => {
  const token = await world.token({ user: 'anne' })
  const [readable, ...others] = await Promise.all(
    ['handbook%2Ftravel', 'handbook%2Fsecret', 'handbook%2Fnothing'].flatMap((id) => [
      call('PATCH', `/documents/${id}`, token),
      call('PATCH', `/documents/${id}`),
    ]),
  )
  expect(readable).toMatchObject({ status: 405, allow: expect.stringMatching(/GET.*HEAD/) })
  for (const other of others) expect(other).toEqual(readable)
})

test('what is not there stays 404: a path that leads nowhere, and a document that nobody may know of', async () => {
  const token = await world.token({ user: 'anne' })
  for (const method of ['GET', 'POST', 'OPTIONS'])
    expect(await call(method, '/nowhere', token)).toMatchObject({ status: 404, allow: null })
  for (const id of ['handbook%2Fsecret', 'handbook%2Fnothing'])
    for (const method of ['GET', 'HEAD'])
      expect(await call(method, `/documents/${id}`, token)).toMatchObject({ status: 404, allow: null })
})

test('a browser gets the page for an address that leads nowhere, with the same status', async () => {
  expect(await call('GET', '/retrieve', undefined, 'text/html')).toMatchObject({
    status: 405,
    allow: 'POST',
    type: expect.stringContaining('text/html'),
  })
})
