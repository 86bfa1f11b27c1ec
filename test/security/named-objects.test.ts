import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import type { IndexStatus, LocalQuestion, PermissionIndex } from '../../src/authz/permission-index.ts'
import { requesterOf } from '../../src/delegation/approvals/approval.ts'
import { documentObject, type FgaObject } from '../../src/kernel/ids.ts'
import type { Principal } from '../../src/kernel/principal.ts'
import { callTool, say } from '../mcp/world.ts'
import { describeDatabases } from '../support/backends.ts'
import { isNoting, note, noting, sentBy } from '../support/noting.ts'
import { type DocumentSketch, openWorld, type World } from '../support/world.ts'

// Counted at the ports, since a time that is measured is right only most of the time
// (`npm run bench:timing`).

// Told apart from decoys, of which nobody knows the names.
const named = new Set<string>()
const nameOf = (object: string): string =>
  named.has(object) ? 'what is named' : `a decoy of ${object.split(':')[0]}`

const notingOpenfga = (api: FgaApi): FgaApi =>
  Object.assign(Object.create(api), {
    batchCheck: (...[store, body, options]: Parameters<FgaApi['batchCheck']>) => {
      const checks = body.checks.map(
        ({ tuple_key: { relation, object }, contextual_tuples: own }) =>
          `${relation} of ${nameOf(object)} with ${own?.tuple_keys.length ?? 0}`,
      )
      note(`OpenFGA: ${checks.join(', ')}`)
      return api.batchCheck(store, body, options)
    },
  })

/** Notes what the replica is asked; `hasTail`: false, and it has not read the log to its end. */
function watch(index: PermissionIndex, hasTail: () => boolean): void {
  const { evaluate, status } = index
  const watched = {
    evaluate(question: LocalQuestion, ids: readonly string[], now: number) {
      note(`replica: ${question.relation} of ${ids.length} ${question.type ?? 'document'}`)
      return evaluate(question, ids, now)
    },
    status: (): IndexStatus => (hasTail() ? status() : { ...status(), tailReadAt: undefined }),
  }
  Object.assign(index, watched)
}

const deep = Array.from({ length: 5 }, (_, level): FgaObject => `folder:f${level}`)

const hidden: Readonly<Record<string, DocumentSketch>> = {
  'hidden/flat': { access: { viewers: ['user:bob'] } },
  'hidden/in-folders-and-groups': {
    access: {
      viewers: ['group:one#member', 'group:two#member', 'group:three#member'],
      blocked: ['group:out#member'],
      parents: ['folder:f4'],
    },
  },
  'hidden/ended': { access: { viewers: [{ user: 'user:anne', expires_at: '2020-01-01T00:00:00Z' }] } },
  'hidden/blocked': { access: { viewers: ['user:anne'], blocked: ['user:anne'] } },
  'hidden/too-deep': { access: { viewers: ['group:g0#member'] } },
}
const everybodys = Object.keys(hidden)
/** anne's own, which an agent that may not ask is not told of. */
const sensitive: DocumentSketch = { access: { viewers: ['user:anne'], sensitive: true } }
const elsewhere: DocumentSketch = { collection: 'finance', access: { viewers: ['user:anne'] } }
const notLent: DocumentSketch = { ...elsewhere, access: { viewers: ['user:anne'], sensitive: true } }

describeDatabases('an object that is named', (kind) => {
  let world: World
  let isAtTail = true
  // By the request alone: what runs beside it looks as well.
  let looksWithoutTail = 0

  beforeAll(async () => {
    world = await openWorld({
      backend: { database: kind, openfga: 'engine' },
      env: { REQUEST_DEADLINE_MS: '60000' },
      database: noting,
      openfga: notingOpenfga,
    })
    watch(world.service.index, () => {
      if (!isNoting() || looksWithoutTail === 0) return isAtTail
      looksWithoutTail -= 1
      return false
    })
    await world.service.services.save({ name: 'stranger', collections: [], prefixes: [] })
    await world.service.ingest.saveCollection(operator('test'), { id: 'hidden', title: 'Hidden' })
    await world.write('user:bob viewer collection:hidden')
    await world.service.services.save({ name: 'writer', collections: [], prefixes: [] })
    await world.service.ingest.saveCollection(operator('test'), {
      id: 'drop',
      title: 'Drop',
      writers: ['service:writer'],
    })
    await world.put({
      ...hidden,
      'own/sensitive': sensitive,
      'own/elsewhere': elsewhere,
      'own/not-lent': notLent,
      'own/open': { access: { viewers: ['user:anne'] } },
    })
    const chain = Array.from(
      { length: 40 },
      (_, level) => `group:g${level + 1}#member member group:g${level}`,
    )
    await world.write(
      ...deep.slice(1).map((folder, level) => `${deep[level]} parent ${folder}`),
      'group:four#member member group:three',
      'user:bob viewer folder:f0',
      ...chain,
    )
    await world.lend('anne', 'research-bot', 'collection:handbook')
    for (const id of [
      ...Object.keys(hidden),
      'own/sensitive',
      'own/elsewhere',
      'own/not-lent',
      'own/open',
      'never/was',
    ])
      named.add(`document:${id}`)
    for (const object of [...deep, 'folder:never', 'collection:hidden', 'collection:never']) named.add(object)
  }, 120_000)
  afterAll(() => world?.[Symbol.asyncDispose]())

  /** What is done on the way of one request, without what names the object itself. */
  async function done(request: () => Promise<unknown>): Promise<readonly string[]> {
    // The first looks up who asks.
    await request()
    for (let tries = 0; tries < 200 && isAtTail && !(await hasTail()); tries += 1) await delay(50)
    const seen = await sentBy(request)
    // Who asks is looked up again as soon as anything changed of anybody's authority, whatever is named.
    return seen.filter((one) => !one.includes('revocable as ('))
  }
  const hasTail = async (): Promise<boolean> => {
    const { state, tailReadAt } = world.service.index.status()
    return state === 'following' && tailReadAt !== undefined && Date.now() - tailReadAt < 300
  }

  const person = () => world.token({ user: 'anne' })
  const mute = () =>
    world.token({ user: 'anne', agent: 'research-bot', scopes: ['docs.search', 'docs.read'] })
  const agent = () => world.token({ user: 'anne', agent: 'research-bot' })
  const get = (token: string, id: string) =>
    world.call('GET', `/documents/${encodeURIComponent(id)}`, { token })

  interface Face {
    readonly name: string
    readonly ids: readonly string[]
    readonly probe: () => Promise<(id: string) => Promise<number>>
  }
  const read =
    (token: () => Promise<string>): Face['probe'] =>
    async () => {
      const held = await token()
      return async (id) => (await get(held, id)).status
    }
  const overMcp =
    (ask: (token: string, id: string) => ReturnType<typeof say>): Face['probe'] =>
    async () => {
      const token = await world.token({
        user: 'anne',
        agent: 'research-bot',
        scopes: ['docs.search', 'docs.read'],
        resource: 'mcp',
      })
      return async (id) => {
        const { error, result } = (await ask(token, id)).body
        return error !== undefined || result?.['isError'] === true ? 404 : 200
      }
    }
  const faces: readonly Face[] = [
    { name: 'GET /documents/{id} by the person', ids: everybodys, probe: read(person) },
    {
      name: 'GET /documents/{id} by the person, narrowed to a collection',
      ids: [...everybodys, 'own/elsewhere', 'own/not-lent'],
      probe: read(() => world.token({ user: 'anne', collections: ['handbook'] })),
    },
    {
      name: 'GET /documents/{id} by an agent that may not ask',
      ids: [...everybodys, 'own/sensitive', 'own/elsewhere', 'own/not-lent'],
      probe: read(mute),
    },
    {
      name: 'GET /documents/{id} by an agent that may ask',
      ids: [...everybodys, 'own/elsewhere', 'own/not-lent'],
      probe: read(agent),
    },
    {
      name: 'read_document of MCP',
      ids: [...everybodys, 'own/sensitive', 'own/not-lent'],
      probe: overMcp((token, id) => callTool(world, 'read_document', { id }, { token })),
    },
    {
      name: 'resources/read of MCP',
      ids: [...everybodys, 'own/sensitive', 'own/not-lent'],
      probe: overMcp((token, id) =>
        say(world, 'resources/read', { uri: `remit://document/${encodeURIComponent(id)}` }, { token }),
      ),
    },
  ]

  describe.each(faces)('by $name', ({ ids, probe }) => {
    test('costs the same, whether it is hidden or never was: OpenFGA is asked about decoys alone', async () => {
      const ask = await probe()
      expect(await ask('never/was')).toBe(404)
      const none = await done(() => ask('never/was'))
      expect(none.filter((one) => one.startsWith('OpenFGA'))).toHaveLength(1)
      expect(none.filter((one) => one.startsWith('replica'))).not.toEqual([])
      expect(none.join('\n')).not.toContain('what is named')
      for (const id of ids) {
        expect(await ask(id), id).toBe(404)
        expect(await done(() => ask(id)), id).toEqual(none)
      }
    })

    test('costs the same while the replica lacks the tail: decoys are asked about beside it', async () => {
      const ask = await probe()
      isAtTail = false
      try {
        const none = await done(() => ask('never/was'))
        expect(none.filter((one) => one.startsWith('OpenFGA'))).toHaveLength(2)
        expect(none.join('\n')).toContain('what is named')
        for (const id of ids) expect(await done(() => ask(id)), id).toEqual(none)
      } finally {
        isAtTail = true
      }
    })
  })

  test('is not asked about because a write is on its way: the replica is waited for', async () => {
    const token = await person()
    const none = await done(() => get(token, 'never/was'))
    const after = async () => {
      looksWithoutTail = 3
      await get(token, 'hidden/in-folders-and-groups')
    }
    const seen = await sentBy(after)
    expect(looksWithoutTail).toBe(0)
    expect(seen).toEqual(none)
  })

  test('that may be read is asked about whole, beside the decoy', async () => {
    const token = await person()
    const sent = await done(async () => expect((await get(token, 'own/open')).status).toBe(200))
    expect(sent.filter((one) => one.startsWith('OpenFGA'))).toEqual([
      'OpenFGA: can_read of a decoy of document with 0',
      'OpenFGA: can_read of what is named with 0',
    ])
  })

  test('that an agent may be told of is asked about, and is a 403', async () => {
    expect((await get(await agent(), 'own/sensitive')).status).toBe(403)
  })

  test('for lending costs the same, whether it is hidden or never was', async () => {
    const { among } = world.service.issuer.lendables
    const offer = (object: FgaObject) => async () => expect((await among('user:anne', [object])).size).toBe(0)
    const asked: readonly (readonly [FgaObject, ...FgaObject[]])[] = [
      ['document:never/was', ...everybodys.map(documentObject)],
      ['folder:never', ...deep],
      ['collection:never', 'collection:hidden'],
    ]
    for (const [none, ...others] of asked) {
      const expected = await done(offer(none))
      expect(expected.filter((one) => one.startsWith('OpenFGA'))[0]).toMatch(
        /^OpenFGA: \w+ of a decoy of \w+ with 0$/,
      )
      for (const object of others) expect(await done(offer(object)), object).toEqual(expected)
    }
  })

  test('for lending costs the same, whether its source closes it or it never was', async () => {
    const { database, service } = world
    await service.ingest.saveCollection(operator('test'), {
      id: 'aged',
      title: 'Aged',
      writers: ['service:loader'],
      taggers: ['service:loader'],
    })
    await world.put({ 'aged/item': { collection: 'aged', access: { viewers: ['user:anne'] } } })
    await world.write('user:anne viewer folder:aged/team', 'user:anne viewer collection:aged')
    const pairs: readonly (readonly [FgaObject, FgaObject])[] = [
      ['document:aged/item', 'document:never/was'],
      ['folder:aged/team', 'folder:never'],
      ['collection:aged', 'collection:never'],
    ]
    const { among } = service.issuer.lendables
    for (const [object] of pairs) {
      named.add(object)
      await expect.poll(async () => (await among('user:anne', [object])).size, { timeout: 10_000 }).toBe(1)
    }
    await database.query(`insert into filings values ('folder:aged/team', 'aged')`)
    await database.query(`update documents set source = 'source/aged' where id = 'aged/item'`)
    await database.query(
      `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds, max_age_seconds, purge_days)
       values ('aged', 'none', 'file:///srv/none', '{}', '{aged}', 'paused', 'user:dan', 1, 1, 1000, 1)`,
    )
    const offer = (object: FgaObject) => async () => expect((await among('user:anne', [object])).size).toBe(0)
    for (const [object, none] of pairs)
      expect(await done(offer(object)), object).toEqual(await done(offer(none)))
  })

  test('in an approval that waits costs its person the same, whether it is hidden by now or withdrawn', async () => {
    const principal: Principal = {
      kind: 'agent',
      subject: 'user:anne',
      actors: ['agent:research-bot'],
      client: 'demo-agent-research-bot',
      delegation: (await world.service.delegations.current('user:anne', 'research-bot'))?.id ?? 'none',
      scopes: new Set(['approvals.request']),
      authorizationDetails: [],
      txn: 't_test',
      expiresAt: 0,
    }
    const { approvals } = world.service
    const shownOf = async (id: string) => {
      const asked = {
        kind: 'documents',
        scopes: [],
        offer: `o_${id}`,
        documentIds: [id],
        queryHmac: id,
      } as const
      const wish = { seconds: 300, front: 'rest' } as const
      const approval = await approvals.ask(requesterOf(principal), asked, wish)
      const sent = await done(async () =>
        expect((await approvals.oneOfMine('user:anne', approval.id))?.documents).toEqual([]),
      )
      // Else there were too many open.
      await world.database.query(`update approvals set state = 'expired' where id = $1`, [approval.id])
      return sent
    }
    const none = await shownOf('never/was')
    expect(none.join('\n')).not.toContain('what is named')
    for (const id of everybodys) expect(await shownOf(id), id).toEqual(none)
  })

  test.each<[string, string, object | undefined]>([
    ['DELETE', '', undefined],
    ['PUT', '/access', { viewers: ['user:anne'] }],
    ['PUT', '/access', { viewers: ['user:anne'], parents: ['folder:unknown'] }],
  ])(
    'by a service that may not write it, %s /documents/{id}%s, costs the same',
    async (method, rest, body) => {
      const token = await world.token({ service: 'stranger' })
      const ask = (id: string) => async () =>
        expect(
          (await world.call(method, `/documents/${encodeURIComponent(id)}${rest}`, { token, body })).status,
        ).toBe(404)
      const none = await done(ask('never/was'))
      expect(none.filter((one) => one.startsWith('OpenFGA'))).toHaveLength(1)
      for (const id of [...everybodys, 'own/sensitive', 'own/elsewhere'])
        expect(collections(await done(ask(id))), id).toEqual(collections(none))
    },
  )

  test('whose content failed costs the same to retry, whosever it is and though it was sent by whoever asks, once that may not write there', async () => {
    const { services } = world.service
    const unreadable = { collection: 'finance', title: 'Broken', text: '{', mime_type: 'application/json' }
    const fail = async (service: string, id: string) => {
      await services.save({ name: service, collections: ['finance'], prefixes: [] })
      const token = await world.token({ service })
      const headers = { prefer: 'wait' }
      const answer = await world.call('PUT', `/documents/${id}`, { token, headers, body: unreadable })
      expect(answer.status).toBe(422)
      named.add(`document:${id}`)
    }
    await fail('other', 'failed-of-others')
    await fail('lapsed', 'failed-of-its-own')
    await services.save({ name: 'lapsed', collections: [], prefixes: [] })
    const token = await world.token({ service: 'lapsed' })
    const ask = (id: string) => async () =>
      expect((await world.call('POST', `/documents/${encodeURIComponent(id)}/retry`, { token })).status).toBe(
        404,
      )
    const none = await done(ask('never/was'))
    expect(none.filter((one) => one.startsWith('OpenFGA'))).toHaveLength(1)
    for (const id of ['failed-of-others', 'failed-of-its-own', 'own/open', ...everybodys])
      expect(collections(await done(ask(id))), id).toEqual(collections(none))
  })

  test('as the parent of a document costs a service that may file nothing new the same', async () => {
    const token = await world.token({ service: 'writer' })
    const ask = (parent: string) => async () => {
      const body = { collection: 'drop', title: 'New', text: 'New.', access: { parents: [parent] } }
      expect((await world.call('PUT', '/documents/new', { token, body })).status).toBe(403)
    }
    const none = await done(ask('folder:never'))
    for (const folder of deep) expect(await done(ask(folder)), folder).toEqual(none)
  })

  test('in a change of access by a service that may not make it costs the same', async () => {
    const token = await world.token({ service: 'stranger' })
    const ask = (object: string) => async () => {
      const writes = [{ user: 'user:anne', relation: 'viewer', object }]
      expect((await world.call('POST', '/access', { token, body: { writes } })).status).toBe(403)
    }
    for (const [none, ...others] of [
      ['document:never/was', ...everybodys.map((id) => `document:${id}`), 'document:own/elsewhere'],
      ['folder:never', ...deep],
      ['collection:never', 'collection:hidden'],
    ] as const) {
      const expected = await done(ask(none))
      expect(expected.filter((one) => one.startsWith('OpenFGA'))).toHaveLength(1)
      for (const object of others)
        expect(collections(await done(ask(object))), object).toEqual(collections(expected))
    }
  })

  test('that belongs to another agent or person costs one statement, as one that never was', async () => {
    const token = await agent()
    const other = await approvalOfBob(world)
    for (const [method, rest, body] of [
      ['GET', '', undefined],
      ['POST', '/answers', { text: 'Why?' }],
    ] as const) {
      const ask = (id: string) => async () =>
        expect((await world.call(method, `/approvals/${id}${rest}`, { token, body })).status).toBe(404)
      expect(await done(ask(other))).toEqual(await done(ask('ap_never')))
    }
  })
})

/** A right on a collection is one stored tuple, or none: asking about one that is there takes no longer. */
const collections = (sent: readonly string[]): readonly string[] =>
  sent.map((one) => one.replaceAll(/what is named|a decoy of collection/g, 'a collection'))

async function approvalOfBob({ service, lend }: World): Promise<string> {
  const delegation = await lend('bob', 'other-bot', 'collection:handbook')
  const asker = { subject: 'user:bob', agent: 'other-bot', client: 'x', delegation, txn: 't_test' } as const
  const asked = {
    kind: 'documents',
    scopes: [],
    offer: 'o_1',
    documentIds: ['hidden/flat'],
    queryHmac: 'q',
  } as const
  return (await service.approvals.ask(asker, asked, { seconds: 300, front: 'rest' })).id
}
