import { setImmediate, setTimeout } from 'node:timers/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import { createRemit, exchange, type Session, type WrappedTool } from '../../src/index.ts'
import { conversations } from '../../src/node.ts'
import { createDouble, type Double, issuer, url } from '../double/double.ts'

let double: Double
let sessions: Readonly<Record<'anne' | 'bob', Session>>
beforeEach(async () => {
  double = await createDouble()
  const token = exchange({ issuer, ...double.agents['agent-a'], fetch: double.fetch })
  const remit = createRemit({ url, token, fetch: double.fetch })
  sessions = {
    anne: remit.for(double.person('anne', 'agent-a')),
    bob: remit.for(double.person('bob', 'agent-a')),
  }
})

const ask: WrappedTool<string, string> = async (query, session) => {
  await setImmediate()
  return (await session.retrieve({ query })).results[0]?.text ?? 'nothing'
}

describe('a tool that is bound to the conversation', () => {
  test('works for whoever the conversation is with, through timers and callbacks', async () => {
    const { run, bind } = conversations()
    const tool = bind(ask)
    const talk = async (query: string) => {
      await setTimeout(Math.random() * 5)
      return Promise.all([tool(query), new Promise((resolve) => queueMicrotask(() => resolve(tool(query))))])
    }
    const [anne, bob] = await Promise.all([
      run(sessions.anne, () => talk('a')),
      run(sessions.bob, () => talk('b')),
    ])
    expect(anne).toEqual(['anne agent-a a', 'anne agent-a a'])
    expect(bob).toEqual(['bob agent-a b', 'bob agent-a b'])
  })

  test('does nothing outside of one, and nothing in one with nobody', async () => {
    const { run, bind, current } = conversations()
    const tool = bind(ask)
    await expect(tool('a')).rejects.toMatchObject({ code: 'no_person' })
    expect(current).toThrow(expect.objectContaining({ code: 'no_person' }))
    run(sessions.anne, () => undefined)
    await expect(tool('a')).rejects.toMatchObject({ code: 'no_person' })
    for (const none of [undefined, {}, { ...sessions.anne }])
      expect(() => run(none as Session, () => tool('a'))).toThrow(
        expect.objectContaining({ code: 'no_person' }),
      )
    expect(double.seen).toEqual([])
  })

  test('of one app is not the one of another', async () => {
    const [one, other] = [conversations(), conversations()]
    await one.run(sessions.anne, async () => {
      await expect(other.bind(ask)('a')).rejects.toMatchObject({ code: 'no_person' })
      expect(await one.bind(ask)('a')).toBe('anne agent-a a')
    })
  })
})
