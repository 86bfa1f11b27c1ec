import { expect, test } from 'vitest'
import { openWorld } from '../support/world.ts'

test('a document that is nested too deep for a verdict looks missing, to whoever asks', async () => {
  await using world = await openWorld()
  await world.put({ 'handbook/deep': { text: 'At the bottom.', access: { viewers: ['group:g0#member'] } } })
  const chain = Array.from({ length: 40 }, (_, index) => `group:g${index + 1}#member member group:g${index}`)
  await world.write(...chain, 'user:anne member group:g40')
  for (const user of ['anne', 'carol']) {
    const token = await world.token({ user })
    const deep = await world.call('GET', '/documents/handbook%2Fdeep', { token })
    const missing = await world.call('GET', '/documents/handbook%2Fnone', { token })
    expect([deep.status, missing.status]).toEqual([404, 404])
    expect(await deep.text()).toEqual(await missing.text())
  }
})

test('whether it has a word, or where it is filed, no answer tells: not to whom a folder far above keeps out', async () => {
  await using world = await openWorld()
  const access = { viewers: ['user:bob'], parents: ['folder:f0'] }
  await world.put({ 'handbook/deep': { text: 'A zebra at the bottom.', access } })
  const folders = Array.from({ length: 30 }, (_, index) => `folder:f${index + 1} parent folder:f${index}`)
  await world.write(...folders, 'user:bob blocked folder:f30')
  const token = await world.token({ user: 'bob' })
  const ask = async (query: string) => {
    const { results, complete } = await world.retrieve(token, { query, mode: 'keyword' })
    return { results, complete }
  }
  const nothing = { results: [], complete: true }
  // While writes are on their way nobody is told that an answer is whole.
  await expect.poll(() => ask('unicorn'), { timeout: 5_000 }).toEqual(nothing)
  expect(await ask('zebra')).toEqual(nothing)
  const listed = await world.call('GET', '/collections', { token })
  expect(await listed.json()).toMatchObject({ collections: [], complete: true })
})
