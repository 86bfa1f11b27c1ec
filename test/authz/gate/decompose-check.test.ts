import { expect, test } from 'vitest'
import type { Check, Verdict } from '../../../src/authz/fga.ts'
import { checkDecomposed } from '../../../src/authz/gate/decompose-check.ts'

const check: Check = { user: 'user:anne', relation: 'can_read', object: 'document:a' }
const part = { user: 'user:anne', relation: 'viewer', object: 'document:a', allowed: true }
const nothingMoved = async () => new Set<string>()

test('no parts at all prove nothing: it is asked whole', async () => {
  const sent: (readonly Check[])[] = []
  const send = async (checks: readonly Check[]): Promise<readonly Verdict[]> => {
    sent.push(checks)
    return checks.map(() => 'denied')
  }
  expect(await checkDecomposed([{ check, parts: [] }], send, nothingMoved)).toEqual(['denied'])
  expect(sent).toEqual([[], [check]])
})

test('a whole question that gets no answer is an error, and a bug is not taken for silence', async () => {
  const second = (answer: () => readonly Verdict[]) => {
    let calls = 0
    return async (): Promise<readonly Verdict[]> => (calls++ === 0 ? ['denied'] : answer())
  }
  const ask = (answer: () => readonly Verdict[]) =>
    checkDecomposed([{ check, parts: [part] }], second(answer), nothingMoved)
  expect(await ask(() => [])).toEqual(['error'])
  await expect(
    ask(() => {
      throw new TypeError('a bug')
    }),
  ).rejects.toThrow('a bug')
})
