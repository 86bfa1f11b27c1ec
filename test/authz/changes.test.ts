import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ChangePosition, PositionRefused, type Tuple } from '../../src/authz/fga.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { describeBackends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

describeBackends('the change log', (backend) => {
  let world: World
  beforeAll(async () => {
    world = await openWorld({ backend })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  const tuple = (id: string, user = 'user:anne'): Tuple => ({
    user,
    relation: 'viewer',
    object: `document:${id}` as FgaObject,
  })

  async function toEnd(from: ChangePosition) {
    let position = from
    const lines: string[] = []
    for (;;) {
      const page = await world.service.fga.readChanges(position)
      lines.push(...page.changes.map(({ operation, tuple: { object } }) => `${operation} ${object}`))
      position = page.position
      if (page.isEnd) return { lines, position }
    }
  }

  test('goes on where a page ended, says where it ends, and gives what was written with its condition and time', async () => {
    const { fga } = world.service
    const { position } = await toEnd({})
    const before = Date.now() - 5_000
    const condition = { name: 'until', context: { expires_at: '2030-01-01T00:00:00Z' } } as const
    await fga.write({ writes: [{ ...tuple('a'), condition }] })
    await fga.write({ deletes: [tuple('a')] })
    const page = await fga.readChanges(position)
    expect(page.changes).toEqual([
      { operation: 'write', tuple: { ...tuple('a'), condition, writtenAt: expect.any(Number) } },
      { operation: 'delete', tuple: { ...tuple('a'), writtenAt: expect.any(Number) } },
    ])
    expect(page.changes[0]?.tuple.writtenAt).toBeGreaterThan(before)
    expect(page.isEnd).toBe(true)
    expect(await fga.readChanges(page.position)).toEqual({
      changes: [],
      position: page.position,
      isEnd: true,
    })
  })

  test('begins at a time as well, and reads on over many pages without a gap', async () => {
    const { fga } = world.service
    const many = Array.from({ length: 230 }, (_, index) => tuple(`many-${index}`))
    const startTime = Date.now() - 60_000
    await fga.write({ writes: many })
    const { lines } = await toEnd({ startTime })
    expect(lines.filter((line) => line.includes('document:many-')).length).toBe(230)
  })

  test('holds every stored tuple once when all are read', async () => {
    const { fga } = world.service
    const found: string[] = []
    for await (const page of fga.readAll()) found.push(...page.map(({ object }) => object))
    expect(found.filter((object) => object.includes('many-')).length).toBe(230)
  })

  test('refuses a place that is none of its own', async () => {
    await expect(world.service.fga.readChanges({ after: 'bm9uZQ==' })).rejects.toThrow(PositionRefused)
  })
})
