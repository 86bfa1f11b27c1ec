import { compileModel, type JsonObject } from '@remit/engine'
import { describe, expect, test } from 'vitest'
import { createRandom } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import type { Change, StoredTuple } from '../../../src/authz/fga.ts'
import { createPermissionIndex } from '../../../src/authz/index/create.ts'
import type { ReplicaFeedDeps } from '../../../src/authz/index/feed.ts'
import { evaluateLocally } from '../../../src/authz/index/local.ts'
import { Reachability } from '../../../src/authz/index/reachable-acls.ts'
import { findDifferences, Replica } from '../../../src/authz/index/replica.ts'
import { holdsShare, type Share, shareOf } from '../../../src/authz/index/share.ts'
import { createStorage, type Storage } from '../../../src/authz/index/storage.ts'
import { openWorld } from '../../support/world.ts'
import { drawn, drawOwnTuples, ownJson, ownModel, ownQuestions } from '../own-worlds.ts'

const now = Date.now()
const documents = drawn.documents.map((document) => document.slice('document:'.length))
const shares = [1, 2, 3].map((number): Share => ({ number, of: 3 }))
const worlds = Number(process.env.FUZZ_WORLDS ?? 200)

/** What a process with this share holds of the tuples, and what it says about whom. */
function openReplica(share?: Share) {
  const replica = new Replica(share && holdsShare(share))
  const reaches = new Reachability()
  reaches.useModel(ownModel)
  reaches.follow(replica.tuples)
  return {
    replica,
    apply: (changes: readonly Change[]) => reaches.note(replica.apply(changes)),
    says: (question: (typeof ownQuestions)[number]) => ({
      nominated: reaches.nominate(question, now)?.toSorted(),
      verdicts: [...evaluateLocally(ownModel, replica.tuples, question, documents, now)].map(
        ([id, { allowed }]) => [id, allowed],
      ),
    }),
  }
}

const stored = (tuple: object): StoredTuple => ({ ...(tuple as StoredTuple), writtenAt: now })

describe('a share of the people', () => {
  test('is told by SHA-256 in a way that no version may change', () => {
    const people = ['user:anne', 'user:carol', 'user:4', 'user:čapek']
    expect(people.map((person) => shareOf(person, 3))).toEqual([3, 2, 1, 3])
    expect(people.map((person) => shareOf(person, 1))).toEqual([1, 1, 1, 1])
  })

  test('holds every tuple but those whose user is a person of another share', () => {
    const held = (user: string) => shares.filter((share) => holdsShare(share)({ user })).length
    expect(held('user:anne')).toBe(1)
    for (const user of ['user:*', 'group:all#member', 'agent:bot', 'service:loader', 'folder:f'])
      expect(held(user), user).toBe(3)
  })

  test(`says of its own people what the whole replica says, in ${worlds} random worlds (FUZZ_SEED=${seed})`, () => {
    let yes = 0
    let people = 0
    for (let nth = 0; nth < worlds; nth++) {
      const random = createRandom(seed + nth)
      const whole = openReplica()
      const parts = shares.map((share) => ({ share, ...openReplica(share) }))
      const keys = drawOwnTuples(random, 60)
      // Some come, some go again, as the log tells it.
      const changes = keys.map((key): Change => ({ operation: 'write', tuple: stored(key) }))
      const gone = random
        .sample(keys, 0.2)
        .map((key): Change => ({ operation: 'delete', tuple: stored(key) }))
      for (const some of [changes, gone]) for (const one of [whole, ...parts]) one.apply(some)
      for (const question of ownQuestions) {
        const own = parts.filter(({ share }) => share.number === shareOf(question.user, share.of))
        expect(own).toHaveLength(1)
        const said = whole.says(question)
        expect(own[0]?.says(question), `${seed + nth} ${question.user} ${question.relation}`).toEqual(said)
        yes += said.nominated?.length ?? 0
        people += 1
      }
    }
    expect(yes / people).toBeGreaterThan(0.2)
  }, 300_000)

  test('is not missed by a comparison with all of OpenFGA’s tuples', async () => {
    const replica = new Replica(holdsShare({ number: 3, of: 3 }))
    const all = ['user:anne', 'user:carol', 'user:*'].map((user) =>
      stored({ user, relation: 'viewer', object: 'document:a' }),
    )
    replica.apply(all.map((tuple) => ({ operation: 'write', tuple })))
    const differences = await findDifferences({
      fga: {
        async *readAll() {
          yield all
        },
      },
      replica,
      signal: new AbortController().signal,
      catchUp: async () => undefined,
    })
    expect(replica.tuples.size).toBe(2)
    expect(differences).toEqual({ differences: [], marks: [] })
  })

  test('is refused under a model in which a path goes on from a person', async () => {
    const managed = structuredClone(ownJson) as unknown as { type_definitions: JsonObject[] }
    managed.type_definitions = managed.type_definitions.map((definition) =>
      definition['type'] === 'user'
        ? {
            type: 'user',
            relations: { manager: { this: {} } },
            metadata: { relations: { manager: { directly_related_user_types: [{ type: 'user' }] } } },
          }
        : definition,
    )
    const json = managed as unknown as JsonObject
    compileModel(json)
    await using world = await openWorld({ embedder: null })
    await using part = partOf(world, { part: holdsShare({ number: 1, of: 2 }) })
    await part.index.catchUp()
    expect(part.index.view()).toBeDefined()
    expect(() => part.index.useModel('m', json)).toThrow('has relations')
    expect(part.index.view()).toBeUndefined()
  })
})

type World = Awaited<ReturnType<typeof openWorld>>

function partOf({ service, database }: World, options: Pick<ReplicaFeedDeps, 'part'>) {
  const calls: string[] = []
  const storage = createStorage(database, service.fga.storeId)
  const noted = Object.fromEntries(
    Object.entries(storage).map(([name, call]) => [
      name,
      (...given: never[]) => {
        calls.push(name)
        return (call as (...all: never[]) => unknown)(...given)
      },
    ]),
  ) as unknown as Storage
  const index = createPermissionIndex({
    fga: service.fga,
    storage: noted,
    now: Date.now,
    log: () => undefined,
    pollMs: 10,
    ...options,
  })
  index.useModel(service.activeModel.current.id, service.activeModel.current.json)
  return { index, calls, [Symbol.asyncDispose]: () => index[Symbol.asyncDispose]() }
}

describe('a replica of a part', () => {
  const parts: readonly [string, Pick<ReplicaFeedDeps, 'part'>][] = [
    ['a share', { part: holdsShare({ number: 1, of: 2 }) }],
    ['nothing', { part: 'nothing' }],
  ]

  test.each(parts)('of %s is never stored, since what is stored is whole', async (_, options) => {
    await using world = await openWorld({ embedder: null })
    const people = Array.from({ length: 20 }, (_, number) => `user:p${number} member group:all`)
    await world.write(...people)
    await world.service.index.catchUp()
    {
      await using part = partOf(world, options)
      await part.index.catchUp()
      await world.remove(people[0] ?? '')
      await part.index.catchUp()
      await part.index.rebuild()
      await new Promise((resolve) => setTimeout(resolve, 1_200))
      expect(part.index.status().tuples < world.service.index.status().tuples).toBe(true)
      expect(part.calls.filter((call) => call === 'begin' || call === 'save')).toEqual([])
      expect(part.calls).not.toEqual([])
    }
  })

  test('of nothing follows the log, and says nothing of anybody', async () => {
    await using world = await openWorld({ embedder: null })
    await world.write('user:anne viewer document:a')
    await using part = partOf(world, { part: 'nothing' })
    const { index } = part
    await index.catchUp()
    const question = { user: 'user:anne', relation: 'can_read', contextual: [] }
    expect(index.status()).toMatchObject({ state: 'following', tuples: 0 })
    expect(index.status().tailReadAt).toBeDefined()
    expect(index.view()).toBeUndefined()
    expect(index.evaluate(question, ['a'], Date.now())).toBeUndefined()
    expect(index.nominate(question)).toBeUndefined()
    expect(index.reachableAcls(question)).toBeUndefined()
    expect(index.touched(['a'], Date.now())).toEqual(new Set(['a']))
    expect(index.leadingTo(['a'], new Set())).toEqual(new Set(['a']))
    expect(await index.watch()(['a'])).toEqual(new Set(['a']))
    expect(part.calls).not.toContain('load')
  })
})
