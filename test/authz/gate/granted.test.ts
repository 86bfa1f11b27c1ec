import { describe, expect, test } from 'vitest'
import type { ShownGrant } from '../../../src/authz/gate/granted.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import { annesBot } from '../double.ts'
import { createTestIndex } from '../parts.ts'
import { answering, type Saying } from './answering.ts'

// A use is counted for each grant by which a document goes: rather one too many than one that nobody counted.

const items = (...ids: readonly string[]) => ids.map((documentId) => ({ documentId }))
const byName: ShownGrant = { id: 'g_named', documentIds: ['a'] }
const byFolder: ShownGrant = { id: 'g_folder', documentIds: [] }
const other: ShownGrant = { id: 'g_other', documentIds: [] }
const strict = { consistency: 'strict' } as const
const read = 'can_read_delegated'
const everything: Saying = () => 'allowed'

/** A replica that knows all: here, of nobody who may read, and of what is sensitive. */
function replica(...sensitive: readonly string[]) {
  const index = createTestIndex('model-1', () => 0)
  index.add(
    ...sensitive.map((id) => ({ user: 'user:*', relation: 'sensitive', object: `document:${id}` as const })),
  )
  return index
}

describe('a grant that is presented', () => {
  test('stands in each question, beside the delegation', async () => {
    const { gate, calls } = answering(everything)
    await gate.open(annesBot, { ...strict, grants: [byName, byFolder] }).clear(items('a', 'b'))
    await gate.named(annesBot, { documentIds: ['c'], grants: [other] }).clear(items('c'))
    const presented = (id: string) => calls.flat().find((asked) => asked.id === id)?.presented
    expect(presented('a')).toEqual(['delegation:d_1', 'grant:g_named', 'grant:g_folder'])
    expect(presented('b')).toEqual(presented('a'))
    expect(presented('c')).toEqual(['delegation:d_1', 'grant:g_other'])
  })

  test('has OpenFGA asked about what it names, though the replica has heard of no such grant yet', async () => {
    const { gate, calls } = answering(everything, { index: replica() })
    const clearing = gate.open(annesBot, { ...strict, grants: [byName] })
    const { cleared } = await clearing.clear(items('a', 'b'))
    expect(cleared).toEqual(items('a'))
    expect(calls.flat().map(({ id }) => id)).toEqual(['a'])
    expect(clearing.counts).toMatchObject({ considered: 2, passedOver: 1 })
    const named = gate.named(annesBot, { documentIds: ['a', 'b'], grants: [byName] })
    expect(await named.clear(items('a', 'b'))).toEqual(items('a'))
  })
})

// Both ways through the gate count alike.
describe.each(['open', 'named'] as const)('of what leaves, by gate.%s', (way) => {
  const grantsOf = async (
    grants: readonly ShownGrant[],
    ids: readonly string[],
    says: Saying,
    {
      sensitive = ids,
      signal,
    }: { readonly sensitive?: readonly string[]; readonly signal?: AbortSignal } = {},
  ) => {
    const { gate, calls } = answering(says, { index: replica(...sensitive) })
    const options = { grants, ...(signal && { signal }) }
    const clearing =
      way === 'open'
        ? gate.open(annesBot, { ...strict, ...options })
        : gate.named(annesBot, { documentIds: [], ...options })
    const found = await clearing.grantsOf(ids)
    // Without those about decoys.
    const asked = calls.flat().filter(({ id }) => ids.includes(id))
    return { covering: found && Object.fromEntries(found), asked }
  }

  test('what a grant names goes by it, and nobody is asked', async () => {
    const { covering, asked } = await grantsOf([byName], ['a'], everything)
    expect([covering, asked]).toEqual([{ a: ['g_named'] }, []])
  })

  test('what none names goes by each of those that OpenFGA, asked of each alone past its caches, says', async () => {
    const says: Saying = (relation, _, presented) =>
      relation === 'granted' && !presented.includes('grant:g_folder') ? 'denied' : 'allowed'
    const { signal } = new AbortController()
    const { covering, asked } = await grantsOf([byName, byFolder, other], ['a', 'b'], says, { signal })
    expect(covering).toEqual({ a: ['g_named', 'g_folder'], b: ['g_folder'] })
    const one = (id: string, grant: string) => ({
      relation: 'granted',
      id,
      presented: ['delegation:d_1', `grant:${grant}`],
      consistency: 'fresh',
      signal,
    })
    expect(asked).toEqual([
      one('b', 'g_named'),
      ...['a', 'b'].map((id) => one(id, 'g_folder')),
      ...['a', 'b'].map((id) => one(id, 'g_other')),
    ])
  })

  test('what OpenFGA has no verdict on counts as a use', async () => {
    const says: Saying = (relation) => (relation === 'granted' ? 'error' : 'allowed')
    expect((await grantsOf([byFolder], ['a'], says)).covering).toEqual({ a: ['g_folder'] })
  })

  test('what is ordinary goes by none that does not name it, and nobody is asked', async () => {
    const { covering, asked } = await grantsOf([byName, byFolder], ['a', 'b'], everything, { sensitive: [] })
    expect([covering, asked]).toEqual([{ a: ['g_named'] }, []])
  })

  test.each(['allowed', 'denied', 'error'] as const)(
    'what may need a grant and goes by none is asked about once more: %s',
    async (verdict) => {
      const says: Saying = (relation, id) =>
        relation === 'granted' ? 'denied' : id === 'b' ? verdict : 'allowed'
      const { covering, asked } = await grantsOf([byName, byFolder], ['a', 'b', 'c'], says)
      expect(covering).toEqual(verdict === 'allowed' ? { a: ['g_named'] } : undefined)
      const again = asked.filter(({ relation }) => relation === read)
      expect(again.map(({ id, presented, consistency }) => [id, presented.length, consistency])).toEqual([
        ['b', 3, 'fresh'],
        ['c', 3, 'fresh'],
      ])
    },
  )

  test('it fails where OpenFGA as a whole does not answer', async () => {
    const says: Saying = (relation) => {
      if (relation === 'granted') throw new AppError('authorization_unavailable')
      return 'allowed'
    }
    await expect(grantsOf([byFolder], ['a'], says)).rejects.toMatchObject({
      code: 'authorization_unavailable',
    })
  })
})
