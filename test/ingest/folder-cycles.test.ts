import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  askCheck,
  createStore,
  engineTarget,
  parseDsl,
  serverTarget,
  type Target,
  weightedTarget,
  writeModel,
} from '../../packages/engine/test/support/target.ts'
import type { Caller } from '../../src/ingest/access-rights.ts'
import { describeBackends } from '../support/backends.ts'
import { needs } from '../support/native.ts'
import { type IngestWorld, loader, machine, openIngestWorld, tuple } from './world.ts'

const docs: Caller = { kind: 'service', writer: loader, scopes: new Set(['docs.write']), prefixes: [] }

/** Plain JSON of the key alone. */
const keyOf = (line: string) => {
  const { user, relation, object } = tuple(line)
  return { user, relation, object }
}

describeBackends('a folder', (backend) => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld(backend)
    const folders = ['a', 'b', 'c', 'd', 'e', 'one', 'two']
    await change({ writes: folders.map((id) => `collection:closed filed_in folder:${id}`) })
    await change({ writes: ['folder:a parent folder:b', 'folder:b parent folder:c'] })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  const change = ({ writes = [], deletes = [] }: { writes?: string[]; deletes?: string[] }) =>
    world.ingest.changeAccess(docs, { writes: writes.map(tuple), deletes: deletes.map(tuple) })
  const parents = async (): Promise<string[]> =>
    (await Promise.all(['a', 'b', 'c', 'd', 'e', 'one', 'two'].map((id) => world.tuples(`folder:${id}`))))
      .flat()
      .filter((line) => line.startsWith('folder:'))

  test.each([
    ['in itself', { writes: ['folder:d parent folder:d'] }, 'writes.0.user'],
    ['in what it holds', { writes: ['user:x viewer folder:a', 'folder:b parent folder:a'] }, 'writes.1.user'],
    ['in what is deep in it', { writes: ['folder:c parent folder:a'] }, 'writes.0.user'],
    [
      'in itself by what one request says',
      { writes: ['folder:d parent folder:e', 'folder:e parent folder:d'] },
      'writes.1.user',
    ],
  ])('does not lie %s, and nothing is written', async (_, wanted, field) => {
    const before = await parents()
    await expect(change(wanted)).rejects.toMatchObject({ code: 'invalid_request', field })
    expect(await parents()).toEqual(before)
  })

  test('does not lie in itself by what the operator applies either', async () => {
    const applied = world.ingest.applyTuples(machine, {
      writes: [tuple('folder:c parent folder:a')],
      deletes: [],
    })
    await expect(applied).rejects.toMatchObject({ code: 'invalid_request', field: 'writes.0.user' })
  })

  test('may be turned around in one request, and lie in two folders', async () => {
    await change({ writes: ['folder:d parent folder:e'] })
    await change({ deletes: ['folder:d parent folder:e'], writes: ['folder:e parent folder:d'] })
    await change({ writes: ['folder:a parent folder:d', 'folder:b parent folder:e'] })
    expect(await parents()).toHaveLength(5)
  })

  test('of two folders that become each other’s parent at once, one does', async () => {
    const both = await Promise.allSettled([
      change({ writes: ['folder:one parent folder:two'] }),
      change({ writes: ['folder:two parent folder:one'] }),
    ])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })
})

/**
 * Why it is refused: what an agent is told of a document in a circle of folders without anything sensitive.
 */
describe('in a circle of folders the embedded engine and the servers', () => {
  const ask = async (target: Target): Promise<unknown> => {
    const store = await createStore(target)
    await writeModel(target, store, parseDsl(await readFile('model.fga', 'utf8')))
    const keys = [
      'folder:a parent folder:b',
      'folder:b parent folder:a',
      'folder:a parent document:d',
      'user:anne viewer document:d',
      'delegation:t delegated_to document:d',
      'agent:bot agent delegation:t',
    ].map(keyOf)
    const until = { name: 'until', context: { expires_at: '2099-01-01T00:00:00Z' } }
    const delegator = { ...keyOf('user:anne delegator delegation:t'), condition: until }
    const { status } = await target.call('POST', `${store}/write`, {
      writes: { tuple_keys: [...keys, delegator] },
    })
    expect(status).toBe(200)
    return askCheck(target, store, {
      tuple_key: keyOf('user:anne can_read_delegated document:d'),
      context: { current_time: '2026-11-25T00:00:00Z' },
      contextual_tuples: {
        tuple_keys: ['user:anne acting_for agent:bot', 'user:anne presented delegation:t'].map(keyOf),
      },
    })
  }
  const server = serverTarget()
  const weighted = weightedTarget()

  test('deny today', async () => {
    expect(await ask(engineTarget())).toBe(false)
  })

  test('deny today on a real server', needs(server !== undefined, 'a real OpenFGA server'), async () => {
    expect(server && (await ask(server))).toBe(false)
  })

  test(
    'allow with the coming engine (OPENFGA_WEIGHTED_TEST_URL)',
    needs(weighted !== undefined, 'a server with weighted_graph_check'),
    async () => {
      expect(weighted && (await ask(weighted))).toBe(true)
    },
  )
})
