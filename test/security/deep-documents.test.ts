import { expect, test } from 'vitest'
import { tailMaxMs } from '../../src/authz/gate/precheck.ts'
import { describeBackends } from '../support/backends.ts'
import { openWorld } from '../support/world.ts'
import { faultyDatabase } from './faulty-database.ts'

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

describeBackends('where somebody is kept out of a folder far above', (backend) => {
  test('whether it has a word, or where it is filed, no answer tells, though the log falls silent meanwhile', async () => {
    const storage = faultyDatabase()
    let isSilent = false
    await using world = await openWorld({
      backend,
      database: storage.wrap,
      openfga: (real) =>
        Object.assign(Object.create(real), {
          readChanges: (...question: Parameters<typeof real.readChanges>) =>
            isSilent ? Promise.reject(new Error('reset')) : real.readChanges(...question),
        }),
    })
    const access = { viewers: ['user:bob'], parents: ['folder:f0'] }
    await world.put({ 'handbook/deep': { text: 'A zebra at the bottom.', access } })
    const folders = Array.from({ length: 30 }, (_, index) => `folder:f${index + 1} parent folder:f${index}`)
    await world.write(...folders, 'user:bob blocked folder:f30')
    const token = await world.token({ user: 'bob' })
    const ask = async (query: string) => {
      const { results, complete } = await world.retrieve(token, { query, mode: 'keyword' })
      return { results, complete }
    }
    const collections = async () => {
      const listed = await world.call('GET', '/collections', { token })
      return listed.json()
    }
    const nothing = { results: [], complete: true }
    for (const query of ['unicorn', 'zebra']) {
      isSilent = false
      storage.set(undefined)
      // While writes are on their way nobody is told that an answer is whole.
      await expect.poll(() => ask(query), { timeout: 10_000 }).toEqual(nothing)
      await expect.poll(collections, { timeout: 10_000 }).toMatchObject({ collections: [], complete: true })
      // Memory has the tail as the question comes, and not any more once it is searched.
      storage.set(/from unnest\(to_tsvector/, async () => {
        storage.set(undefined)
        isSilent = true
        await new Promise((done) => setTimeout(done, tailMaxMs + 100))
      })
      expect(await ask(query), query).toEqual(nothing)
    }
  })
})
