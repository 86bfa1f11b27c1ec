import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createStartupSteps } from '../../src/kernel/startup-steps.ts'

test('a step that takes long is told once, while it is under way; one that does not is not told; both give what they gave', async () => {
  const told: string[] = []
  const step = createStartupSteps((doing) => told.push(doing), 20)
  const slow = step('fetching', async () => {
    await sleep(100)
    return [...told]
  })
  expect(await slow).toEqual(['fetching'])
  expect(await step('reading', async () => 7)).toBe(7)
  await sleep(60)
  expect(told).toEqual(['fetching'])
})

test('a step that fails is told no more, and its error is passed on', async () => {
  const told: string[] = []
  const step = createStartupSteps((doing) => told.push(doing), 20)
  const failing = step('opening', async () => {
    throw new Error('no such folder')
  })
  await expect(failing).rejects.toThrow('no such folder')
  await sleep(60)
  expect(told).toEqual([])
})
