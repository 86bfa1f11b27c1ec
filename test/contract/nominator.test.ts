import { randomBytes } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { createRandom } from '../../packages/engine/test/support/random.ts'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { shareOf } from '../../src/authz/index/share.ts'
import type { LocalQuestion } from '../../src/authz/permission-index.ts'
import { presentedTuples } from '../../src/authz/presented.ts'
import { setBit } from '../../src/kernel/bits.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { openNominators } from '../../src/retrieval/nominators/ask.ts'
import {
  digestOf,
  digestOfBits,
  type NominatorAnswer,
  type NominatorQuestion,
} from '../../src/retrieval/nominators/protocol.ts'
import { createRemoteSights } from '../../src/retrieval/nominators/remote-sights.ts'
import type { Credentials } from '../../src/retrieval/nominators/serve.ts'
import { createAuthority } from '../support/certificate.ts'
import { freePort } from '../support/port.ts'
import { type DocumentSketch, people } from '../support/world.ts'
import {
  authority,
  credentialsOf,
  type Deployment,
  openDeployment,
  openNominator,
  type TestNominator,
} from './nominators.ts'

const random = createRandom(seed)
const readers = [...people.map((name) => `user:${name}`), 'group:one#member', 'group:two#member', 'user:*']
const folders = ['folder:a', 'folder:b']

/** Who may read what, by chance: readers, folders, denials and what is sensitive. */
const sketch = (): DocumentSketch => ({
  text: 'A llama.',
  access: {
    viewers: random.sample(readers, 0.2),
    parents: random.sample(folders, 0.3),
    blocked: random.sample(readers.slice(0, 6), 0.1),
    sensitive: random.chance(0.2),
  },
})
const documents = Object.fromEntries(Array.from({ length: 24 }, (_, number) => [`d${number}`, sketch()]))
const changes = [
  ...people.flatMap((name) => [`user:${name} member group:one`, `user:${name} member group:two`]),
  'group:one#member viewer folder:a',
  'user:bob viewer folder:b',
  'folder:a parent folder:b',
]

let deployment: Deployment
let whole: TestNominator
let delegation: string

beforeAll(async () => {
  deployment = await openDeployment()
  const { world } = deployment
  await world.put(documents)
  await world.write(...changes)
  delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  // Holds everybody's tuples, in this process.
  whole = await openNominator(world, { share: { number: 1, of: 1 }, port: await freePort() })
  await deployment.settle()
}, 120_000)
afterAll(async () => {
  await whole?.[Symbol.asyncDispose]()
  await deployment?.[Symbol.asyncDispose]()
})
afterEach(async () => {
  for (const one of deployment.all) {
    one.lie(undefined)
    one.instead(undefined)
    await one.revive()
    one.said.length = 0
  }
  deployment.checks.length = 0
})

const settle = async () => {
  await deployment.settle()
  await Promise.all([whole.index.catchUp(), whole.corpus.refresh()])
}
const ofShare = (user: string) => deployment.nominators[shareOf(user, 2) - 1] ?? []
const personally = (user: FgaObject): LocalQuestion => ({ user, relation: 'can_read', contextual: [] })
const byAgent = (relation: string): LocalQuestion => ({
  user: 'user:anne',
  relation,
  contextual: presentedTuples({ user: 'user:anne', agent: 'agent:research-bot', delegation }),
})

/** The way from an API process, as the service composes it. */
function open(options: { credentials?: Credentials; shares?: string[][]; wroteAt?: () => number } = {}) {
  const { fga, index } = deployment.world.service
  const logged: { event: string; fields?: object | undefined }[] = []
  const nominators = openNominators({
    shares: deployment.nominators.map((ofOne) => ofOne.map(({ url }) => url)),
    credentials: credentialsOf('api'),
    modelId: () => fga.modelId,
    ownMarks: () => (index as unknown as Pick<TestNominator['index'], 'ownMarks'>).ownMarks(),
    wroteAt: () => Number.NEGATIVE_INFINITY,
    now: Date.now,
    newNonce: () => randomBytes(16).toString('base64url'),
    log: (event, fields) => logged.push({ event, fields }),
    timeoutMs: 20_000,
    ...options,
  })
  const sights = createRemoteSights({ nominators, corpus: whole.corpus, now: Date.now })
  return { nominators, sights, logged }
}

/** What a search answers, and the truth by a replica that holds everything. */
async function answers(user: string, agent?: string) {
  const { world } = deployment
  const token = await world.token({ user, ...(agent && { agent }) })
  const { results, complete } = await world.retrieve(token, { query: 'llama', top_k: 100 })
  return { ids: results.map(({ document_id: id }) => id).toSorted(), complete }
}
const truth = (question: LocalQuestion) =>
  (whole.index.nominate(question) ?? []).filter((id) => id in documents).toSorted()

describe('nominators', () => {
  test(`see for everybody what a replica in the process sees, through random changes (FUZZ_SEED=${seed})`, async () => {
    const { sights, nominators } = open()
    await using _ = nominators
    let seen = 0
    for (let round = 0; round < 6; round++) {
      const some = random.sample(changes, 0.4)
      if (round > 0) await deployment.world.remove(...some)
      await settle()
      const questions = [
        ...[...people, 'nobody'].map((name) => [personally(`user:${name}`)]),
        [byAgent('can_read_delegated'), byAgent('can_be_told')],
      ]
      for (const asked of questions) {
        const [here, there] = await Promise.all([whole.sights.of(asked), sights.of(asked)])
        expect(there.snapshots).toHaveLength(asked.length)
        for (const [number, local] of here.snapshots.entries()) {
          const remote = there.snapshots[number]
          expect(remote?.content.docNos()).toEqual(local?.content.docNos())
          expect(remote?.content.size).toBe(local?.content.size)
          expect(remote?.content.chunks).toBe(local?.content.chunks)
          seen += remote?.content.size ?? 0
        }
      }
      if (round > 0) await deployment.world.write(...some)
    }
    expect(seen).toBeGreaterThan(10)
  }, 60_000)

  test('send a bitmap once for as long as it is the same, whoever of the share answers', async () => {
    await settle()
    const { sights, nominators } = open()
    await using _ = nominators
    const asked = [personally('user:anne')]
    const first = await sights.of(asked)
    const second = await sights.of(asked)
    expect(second.snapshots[0]?.content).toBe(first.snapshots[0]?.content)
    const [said] = deployment.all.flatMap((one) => (one.said.length > 0 ? [one] : []))
    await said?.kill()
    await sights.of(asked)
    const bits = ofShare('user:anne').flatMap((one) =>
      one.said.map(({ answer }) => typeof answer !== 'string' && answer.visible[0]?.bits !== undefined),
    )
    expect(bits.filter(Boolean)).toHaveLength(1)
    expect(bits).toHaveLength(3)
    // As long for somebody who may read nothing.
    const [one, two] = [open(), open()]
    await using _one = one.nominators
    await using _two = two.nominators
    await one.sights.of([personally('user:anne')])
    await two.sights.of([personally('user:nobody')])
    const lengths = deployment.all.flatMap(({ said }) =>
      said.map(({ answer }) => (typeof answer === 'string' ? 0 : (answer.visible[0]?.bits?.length ?? 0))),
    )
    expect(new Set(lengths.filter((length) => length > 0)).size).toBe(1)
  })

  test('let the service answer everybody as it would with the tuples itself, and it holds none', async () => {
    const { service } = deployment.world
    await settle()
    await vi.waitFor(async () => expect((await answers('anne')).complete).toBe(true), { timeout: 10_000 })
    deployment.checks.length = 0
    for (const user of people) {
      const ids = truth(personally(`user:${user}`))
      await expect.poll(() => answers(user)).toEqual({ ids, complete: true })
    }
    expect((await answers('anne', 'research-bot')).ids).toEqual(truth(byAgent('can_read_delegated')))
    expect(service.index.status()).toMatchObject({ state: 'following', tuples: 0 })
    expect(service.index.view()).toBeUndefined()
    // Nothing is said again: OpenFGA is asked each time, past its caches.
    expect(deployment.checks.length).toBeGreaterThanOrEqual(people.length)
    expect(new Set(deployment.checks.map(({ consistency }) => consistency))).toEqual(
      new Set(['HIGHER_CONSISTENCY']),
    )
  }, 60_000)

  test('show a write of the process that asks at its next question', async () => {
    const { world } = deployment
    for (let round = 0; round < 2; round++) {
      await world.put({ fresh: { text: 'A llama.', access: { viewers: ['user:carol'] } } })
      expect((await answers('carol')).ids).toContain('fresh')
      await world.put({ fresh: { text: 'A llama.', access: { viewers: ['user:dan'] } } })
      expect((await answers('carol')).ids).not.toContain('fresh')
      expect((await answers('dan')).ids).toContain('fresh')
    }
    await world.put({ fresh: { access: {} } })
  }, 60_000)

  test('list collections, and leave what is hidden unasked where it is named', async () => {
    const { world, checks } = deployment
    await world.put({
      hidden: { access: { viewers: ['user:bob'] } },
      own: { access: { viewers: ['user:anne'] } },
    })
    await settle()
    const token = await world.token({ user: 'anne' })
    const collections = await world.call('GET', '/collections', { token })
    expect(await collections.json()).toMatchObject({ collections: [{ id: 'handbook' }] })
    // It waits for the newest mark that was begun after that write.
    const askOfHidden = async () => {
      const began = performance.now()
      checks.length = 0
      expect((await world.call('GET', '/documents/hidden', { token })).status).toBe(404)
      const isAsked = checks.flatMap(({ objects }) => objects).includes('document:hidden')
      return { isAsked, hasWaited: performance.now() - began > 450 }
    }
    // For half a second: on a machine that stands still for longer all is asked about. Then once more.
    let seen = await askOfHidden()
    for (let tries = 0; tries < 10 && seen.isAsked && seen.hasWaited; tries += 1) seen = await askOfHidden()
    expect(seen.isAsked).toBe(false)
    checks.length = 0
    expect((await world.call('GET', '/documents/own', { token })).status).toBe(200)
    expect(checks.flatMap(({ objects }) => objects)).toContain('document:own')
    // Where no nominator answers, nobody is, whatever they name: OpenFGA takes longer for what is hidden.
    for (const one of deployment.all) await one.kill()
    checks.length = 0
    for (const id of ['hidden', 'own', 'never-was'])
      expect((await world.call('GET', `/documents/${id}`, { token })).status).toBe(503)
    expect(checks.flatMap(({ objects }) => objects)).not.toContain('document:hidden')
    await world.put({ hidden: { access: {} }, own: { access: {} } })
  }, 60_000)
})

describe('a nominator that is killed', () => {
  test('is replaced by another of its share, with no wrong answer', async () => {
    await settle()
    const wanted = truth(personally('user:anne'))
    const [first, second] = ofShare('user:anne')
    for (const one of [first, second]) {
      await one?.kill()
      expect((await answers('anne')).ids).toEqual(wanted)
      await one?.revive()
    }
  })

  test('is nobody’s reason for a wrong answer while questions go on', async () => {
    await settle()
    const wanted = truth(personally('user:anne'))
    const [first] = ofShare('user:anne')
    const asking = Array.from({ length: 30 }, async (_, number) => {
      await new Promise((resolve) => setTimeout(resolve, 10 * number))
      return (await answers('anne')).ids
    })
    await new Promise((resolve) => setTimeout(resolve, 60))
    await first?.kill()
    for (const ids of await Promise.all(asking)) expect(ids).toEqual(wanted)
  }, 60_000)

  test('leaves a 503 for all people of its share where there is no other, until one is back', async () => {
    const { world } = deployment
    const ask = async (user: string) => {
      const token = await world.token({ user })
      const response = await world.call('POST', '/retrieve', { token, body: { query: 'llama' } })
      const { code, detail } = (await response.json()) as { code?: string; detail?: string }
      return { status: response.status, code, detail }
    }
    for (const one of ofShare('user:anne')) await one.kill()
    const refusal = await ask('anne')
    expect(refusal).toMatchObject({ status: 503, code: 'authorization_unavailable' })
    // Carol and dan are of the same share, and read other things.
    expect(await ask('carol')).toEqual(refusal)
    expect(await ask('dan')).toEqual(refusal)
    expect((await ask('bob')).status).toBe(200)
    const collections = await world.call('GET', '/collections', {
      token: await world.token({ user: 'anne' }),
    })
    expect(collections.status).toBe(503)
    await ofShare('user:anne')[0]?.revive()
    expect((await ask('anne')).status).toBe(200)
  })
})

/** What binds an answer to its question. Each is refused, and another nominator is asked. */
const unbound: readonly [
  string,
  (answer: NominatorAnswer, question: NominatorQuestion) => NominatorAnswer,
][] = [
  ['to another nonce', (answer) => ({ ...answer, nonce: 'x'.repeat(22) })],
  [
    'about another person',
    (answer, question) => ({ ...answer, asked: digestOf({ ...question, user: 'user:dan' }) }),
  ],
  [
    'about the person without their agent',
    (answer, question) => ({ ...answer, asked: digestOf({ ...question, contextual: [] }) }),
  ],
  ['under another model', (answer) => ({ ...answer, model_id: '01HXXXXXXXXXXXXXXXXXXXXXXX' })],
  ['of another share', (answer) => ({ ...answer, share: '1/1' })],
  ['with a bitmap too few', (answer) => ({ ...answer, visible: [] })],
  ['with a bitmap that is not its digest’s', (answer) => withBits(answer, (bits) => setBit(bits, 0), false)],
  [
    'that leaves out a bitmap which is not known',
    (answer) => ({ ...answer, visible: answer.visible.map((one) => one && { digest: one.digest }) }),
  ],
  ['with a member too many', (answer) => ({ ...answer, extra: 1 }) as NominatorAnswer],
]

/** The answer with other bits, and by default the digest that fits. */
function withBits(answer: NominatorAnswer, change: (bits: Buffer) => unknown, fits = true): NominatorAnswer {
  const visible = answer.visible.map((one) => {
    if (one?.bits === undefined) return one
    const bits = Buffer.from(one.bits, 'base64')
    change(bits)
    return { digest: fits ? digestOfBits(bits) : one.digest, bits: bits.toString('base64') }
  })
  return { ...answer, visible }
}

describe('a nominator that lies', () => {
  test.each(unbound)('with an answer %s is passed over for another one', async (_, lie) => {
    await settle()
    const { sights, nominators, logged } = open()
    await using _nominators = nominators
    const asked = [byAgent('can_read_delegated')]
    const honest = await whole.sights.of(asked)
    for (const liar of ofShare('user:anne')) liar.lie(lie)
    await expect(sights.of(asked)).rejects.toMatchObject({ code: 'authorization_unavailable' })
    expect(logged.map(({ event }) => event)).toEqual(['nominator_refused', 'nominator_refused'])
    for (const one of ofShare('user:anne').slice(1)) one.lie(undefined)
    const { snapshots } = await sights.of(asked)
    expect(snapshots[0]?.content.docNos()).toEqual(honest.snapshots[0]?.content.docNos())
  })

  /** What nothing shows: it is for the gate to decide. */
  const unseen: readonly [string, (answer: NominatorAnswer) => NominatorAnswer][] = [
    ['names every number', (answer) => withBits(answer, (bits) => bits.fill(0xff))],
    ['names none', (answer) => withBits(answer, (bits) => bits.fill(0))],
    [
      'names what is not there for what is',
      (answer) =>
        withBits(answer, (bits) =>
          bits.forEach((byte, at) => {
            bits[at] = ~byte
          }),
        ),
    ],
  ]

  test.each(unseen)(
    'and %s releases nothing',
    async (what, lie) => {
      await settle()
      for (const liar of deployment.all) liar.lie(lie)
      let refused = 0
      for (const user of people) {
        deployment.checks.length = 0
        const { ids } = await answers(user)
        const allowed = truth(personally(`user:${user}`))
        expect(ids.filter((id) => !allowed.includes(id))).toEqual([])
        const asked = deployment.checks.flatMap(({ objects }) => objects.map((object) => object.slice(9)))
        refused += asked.filter((id) => id in documents && !allowed.includes(id)).length
      }
      const { ids } = await answers('anne', 'research-bot')
      const allowed = truth(byAgent('can_read_delegated'))
      expect(ids.filter((id) => !allowed.includes(id))).toEqual([])
      // What was named in vain came as far as OpenFGA.
      expect(refused > 0).toBe(what !== 'names none')
    },
    60_000,
  )

  test('with what another person sees releases nothing of it', async () => {
    await settle()
    const { sights, nominators } = open()
    await using _ = nominators
    const bobs = (await sights.of([personally('user:bob')])).snapshots[0]?.content.bits() ?? Buffer.alloc(0)
    for (const liar of deployment.all)
      liar.lie((answer) => withBits(answer, (bits) => bits.fill(0).set(bobs)))
    const allowed = truth(personally('user:carol'))
    const { ids } = await answers('carol')
    expect(ids.filter((id) => !allowed.includes(id))).toEqual([])
  })

  test('says that everything is allowed, and OpenFGA still decides about what is named', async () => {
    const { world } = deployment
    await world.put({ secret: { access: { viewers: ['user:bob'] } } })
    await settle()
    for (const liar of deployment.all)
      liar.lie((answer) => ({ ...answer, allowed: answer.allowed.map(() => true) }))
    const token = await world.token({ user: 'anne' })
    expect((await world.call('GET', '/documents/secret', { token })).status).toBe(404)
    await world.put({ secret: { access: {} } })
  })
})

describe('an old nominator', () => {
  const asked = [personally('user:anne')]
  /** Until the newest mark of the process that asks has come back from everywhere. */
  const whenWhole = (sights: ReturnType<typeof open>['sights']) =>
    vi.waitFor(async () => expect((await sights.of(asked)).isWhole).toBe(true), { timeout: 10_000 })

  test('shows by its mark that it is old: nothing is called complete, and no later mark is believed', async () => {
    const { sights, nominators } = open()
    await using _ = nominators
    await whenWhole(sights)
    let old: string | undefined
    for (const one of ofShare('user:anne')) {
      one.lie((answer) => {
        old ??= answer.mark ?? undefined
        return { ...answer, mark: old ?? null }
      })
    }
    await sights.of(asked)
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    expect((await sights.of(asked)).isWhole).toBe(false)
    expect((await answers('anne')).complete).toBe(false)
    for (const mark of [null, 'write turn:999999', 'delete turn:1', '']) {
      for (const one of ofShare('user:anne')) one.lie((answer) => ({ ...answer, mark }))
      if (mark !== 'delete turn:1') expect((await sights.of(asked)).isWhole, `${mark}`).toBe(false)
    }
    for (const one of ofShare('user:anne')) one.lie(undefined)
    await whenWhole(sights)
  }, 60_000)

  test('that has not heard of what this process wrote last is not whole, however young its mark', async () => {
    let wroteAt = Number.NEGATIVE_INFINITY
    const { sights, nominators } = open({ wroteAt: () => wroteAt })
    await using _ = nominators
    await whenWhole(sights)
    wroteAt = Date.now()
    await whenWhole(sights)
    // While it writes, too.
    wroteAt = Number.POSITIVE_INFINITY
    expect((await sights.of(asked)).isWhole).toBe(false)
    wroteAt = Date.now() + 60_000
    expect((await sights.of(asked)).isWhole).toBe(false)
  })

  test('that reads no more is not ready after two seconds, and answers nobody', async () => {
    const { sights, nominators } = open()
    await using _ = nominators
    for (const one of ofShare('user:anne')) one.instead(async () => 'unready')
    await expect(sights.of(asked)).rejects.toMatchObject({ code: 'authorization_unavailable' })
  })

  test('of another share refuses, also where the person’s own was never asked', async () => {
    const urls = deployment.nominators.map((ofOne) => ofOne.map(({ url }) => url))
    const { sights, nominators, logged } = open({ shares: urls.toReversed() })
    await using _ = nominators
    await expect(sights.of(asked)).rejects.toMatchObject({ code: 'authorization_unavailable' })
    expect(logged.map(({ fields }) => (fields as { reason: string }).reason)).toEqual([
      'HTTP 421',
      'HTTP 421',
    ])
  })
})

describe('a certificate', () => {
  const asked = [personally('user:anne')]
  const reasonsOf = (logged: ReturnType<typeof open>['logged']) =>
    logged.map(({ fields }) => (fields as { reason: string }).reason)
  const foreign = createAuthority()
  const clients: readonly [string, Credentials][] = [
    ['with the role nominator', credentialsOf('nominator')],
    ['with both roles', credentialsOf('api', 'nominator')],
    ['without a role', credentialsOf()],
    ['with a role that only begins like it', credentialsOf('api2')],
    [
      'whose host’s name looks like a role',
      { ...authority.issue({ hosts: ['a, URI:urn:remit:role:api'] }), ca: authority.cert },
    ],
    ['of another authority', { ...foreign.issue({ uris: ['urn:remit:role:api'] }), ca: authority.cert }],
    ['that is not there', { key: '', cert: '', ca: authority.cert }],
  ]

  test.each(clients)('%s asks nobody', async (_, credentials) => {
    const { cert, key, ca } = credentials
    const shown = (cert === '' ? { ca } : { cert, key, ca }) as Credentials
    const { sights, nominators } = open({ credentials: shown })
    await using _nominators = nominators
    await expect(sights.of(asked)).rejects.toMatchObject({ code: 'authorization_unavailable' })
    expect(deployment.all.flatMap(({ said }) => said)).toEqual([])
  })

  const servers: readonly [string, Credentials][] = [
    ['with the role api', credentialsOf('api')],
    ['with both roles', credentialsOf('api', 'nominator')],
    ['without a role', credentialsOf()],
    [
      'for another host',
      {
        ...authority.issue({ hosts: ['nominator.example'], uris: ['urn:remit:role:nominator'] }),
        ca: authority.cert,
      },
    ],
    [
      'of another authority',
      {
        ...foreign.issue({ addresses: ['127.0.0.1'], uris: ['urn:remit:role:nominator'] }),
        ca: authority.cert,
      },
    ],
  ]

  test.each(servers)('%s makes no nominator', async (_, credentials) => {
    for (const one of ofShare('user:anne')) await one.revive(credentials)
    const { sights, nominators, logged } = open()
    await using _nominators = nominators
    await expect(sights.of(asked)).rejects.toMatchObject({ code: 'authorization_unavailable' })
    expect(reasonsOf(logged)).toHaveLength(2)
    expect(deployment.all.flatMap(({ said }) => said)).toEqual([])
  })
})
