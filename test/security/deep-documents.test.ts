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
