import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Caller } from '../../src/ingest/access-rights.ts'
import { ParseError } from '../../src/ingest/parse/parsed.ts'
import { describeBackends } from '../support/backends.ts'
import {
  documentOf,
  type IngestWorld,
  loader,
  machine,
  openIngestWorld,
  type Sketch,
  stranger,
  tuple,
} from './world.ts'

describeBackends('what was accepted and waits', (backend) => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld(backend)
    const folders = ['vault', 'safe', 'plain']
    await world.ingest.applyTuples(machine, {
      writes: [
        ...folders.map((folder) => tuple(`collection:closed filed_in folder:${folder}`)),
        tuple('user:* sensitive folder:vault'),
        tuple('user:* sensitive folder:safe'),
        ...['north', 'south', 'open'].map((folder) => tuple(`collection:closed filed_in folder:${folder}`)),
        tuple('collection:closed filed_in zone:outer'),
        tuple('zone:outer parent folder:north'),
        tuple('user:bob blocked zone:outer'),
        tuple('group:barred#member blocked folder:south'),
        tuple('user:bob member group:barred'),
        tuple('user:fay blocked collection:closed'),
      ],
      deletes: [],
    })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  const docs: Caller = { kind: 'service', writer: loader, scopes: new Set(['docs.write']), prefixes: [] }
  const administrator: Caller = { kind: 'administrator', writer: { ...loader, subject: 'user:root' } }
  const anne = { viewers: ['user:anne'] }
  const unreadable = new ParseError('unreadable', 'Not read here.')
  const isSensitive = (id: string) => world.check('user:*', 'sensitive', `document:${id}`)

  // Content that was accepted is held where it is read until a test lets it go on, or finds it unreadable.
  let goOn: (refused?: Error) => void
  let jobs: string[]
  beforeEach(() => {
    jobs = []
    const gate = new Promise<Error | undefined>((resolve) => {
      goOn = resolve
    })
    world.onStep = async (step) => {
      const refused = step === 'prepared' ? await gate : undefined
      if (refused !== undefined) throw refused
    }
  })
  afterEach(async () => {
    goOn()
    for (const job of jobs) await world.done(job)
    world.onStep = async () => undefined
  })
  const put = async (sketch: Sketch) => void jobs.push(await world.put(sketch))
  const end = async (refused?: Error) => {
    goOn(refused)
    for (const job of jobs) await world.done(job)
    world.onStep = async () => undefined
  }
  /** Published, with nothing held. */
  const live = async (sketch: Sketch) => {
    const { onStep } = world
    world.onStep = async () => undefined
    expect(await world.putDone(sketch)).toMatchObject({ failed: 0 })
    world.onStep = onStep
  }
  const change = (caller: Caller, { writes = [], deletes = [] }: { writes?: string[]; deletes?: string[] }) =>
    world.ingest.changeAccess(caller, { writes: writes.map(tuple), deletes: deletes.map(tuple) })

  describe.each<[string, (id: string) => Promise<void>]>([
    ['by itself', (id) => put({ id, access: { ...anne, sensitive: true } })],
    ['by its folder', (id) => put({ id, access: { ...anne, parents: ['folder:vault'] } })],
    [
      'by a mark that came later',
      async (id) => {
        await put({ id, access: anne })
        await change(docs, { writes: [`user:* sensitive document:${id}`] })
      },
    ],
    [
      'by a folder that it was put into later',
      async (id) => {
        await put({ id, access: anne })
        await change(docs, { writes: [`folder:vault parent document:${id}`] })
      },
    ],
  ])('stays sensitive, %s,', (how, accept) => {
    test.each<[string, (id: string) => Promise<unknown>]>([
      ['when a PUT leaves it out', (id) => put({ id, access: anne })],
      ['when PUT access leaves it out', (id) => world.ingest.retag(loader, id, anne)],
      [
        'when two PUTs leave it out',
        async (id) => {
          await put({ id, access: anne })
          await put({ id, access: { ...anne, parents: ['folder:plain'] } })
        },
      ],
      [
        'when it is withdrawn and comes back',
        async (id) => {
          await world.ingest.withdraw(loader, id)
          await put({ id, access: anne })
        },
      ],
      [
        'when an import lists it without',
        async (id) => {
          const lines = [documentOf({ id, access: anne })].map((line) => Buffer.from(JSON.stringify(line)))
          async function* body() {
            yield* lines
          }
          jobs.push(await world.ingest.importAll(loader, { body: body() }))
        },
      ],
      [
        'when its parents are taken away',
        (id) => change(docs, { deletes: [`folder:vault parent document:${id}`] }),
      ],
      [
        'when its content is refused and a PUT leaves it out',
        async (id) => {
          await end(unreadable)
          await put({ id, access: anne })
        },
      ],
      [
        'when its content is refused, it is withdrawn, and comes back',
        async (id) => {
          await end(unreadable)
          await world.ingest.withdraw(loader, id)
          await put({ id, access: anne })
        },
      ],
    ])('%s', async (what, then) => {
      const id = `${how} ${what}`.replaceAll(/[^a-z]/gi, '-')
      await accept(id)
      await then(id)
      await end()
      expect(await world.sees('user:anne', id)).toBeDefined()
      expect(await isSensitive(id)).toBe(true)
    })
  })

  test('stays sensitive when a snapshot withdraws it and a PUT brings it back', async () => {
    await put({ id: 'snapped', collection: 'untagged', access: { ...anne, sensitive: true } })
    await world.importLines([{ end: 0 }], {
      snapshot: { collection: 'untagged', allowEmpty: true, allowWithdraw: 1 },
    })
    await put({ id: 'snapped', collection: 'untagged', access: anne })
    await end()
    expect(await isSensitive('snapped')).toBe(true)
  })

  test('is ordinary once an administrator took its mark away, and stays so', async () => {
    await put({ id: 'ended', access: { ...anne, sensitive: true } })
    await change(administrator, { deletes: ['user:* sensitive document:ended'] })
    await put({ id: 'ended', access: anne })
    await end()
    await world.putDone({ id: 'ended', access: anne })
    expect(await world.sees('user:anne', 'ended')).toBeDefined()
    expect(await isSensitive('ended')).toBe(false)
  })

  test('is ordinary once an administrator took the mark of what was refused away', async () => {
    await put({ id: 'refused-once', access: { ...anne, sensitive: true } })
    await end(unreadable)
    await put({ id: 'refused-once', access: anne })
    await change(administrator, { deletes: ['user:* sensitive document:refused-once'] })
    await end()
    expect(await world.sees('user:anne', 'refused-once')).toBeDefined()
    expect(await isSensitive('refused-once')).toBe(false)
  })

  test.each<[string, string[], string | null]>([
    ['somebody else', ['user:bob owner document:owned-waits'], 'user:bob'],
    ['nobody', [], null],
  ])('names the owner that it has since, %s', async (_, writes, owner) => {
    await put({ id: 'owned-waits', access: { owner: 'user:anne' } })
    await change(docs, { writes, deletes: ['user:anne owner document:owned-waits'] })
    await end()
    expect(await world.database.query(`select owner from documents where id = 'owned-waits'`)).toEqual([
      { owner },
    ])
  })

  test('is known to the service that sent it, also where it may not write it any more', async () => {
    await put({ id: 'sent', access: anne })
    const right = tuple('service:loader writer collection:closed')
    await world.fga.write({ deletes: [right] })
    try {
      await expect(world.ingest.retag(loader, 'sent', {})).rejects.toMatchObject({ code: 'forbidden' })
      await end(unreadable)
      for (const [writer, code] of [
        [loader, 'forbidden'],
        [stranger, 'not_found'],
      ] as const)
        await expect(world.ingest.withdraw(writer, 'sent')).rejects.toMatchObject({ code })
    } finally {
      await world.fga.write({ writes: [right] })
    }
  })

  describe('restricts what is live before it is answered, and where it is refused too:', () => {
    test.each<[string, string[], object]>([
      ['sensitive', [], { sensitive: true }],
      ['put into a sensitive folder', ['folder:plain'], { parents: ['folder:vault'] }],
      ['put from one sensitive folder into another', ['folder:vault'], { parents: ['folder:safe'] }],
      ['taken out of a sensitive folder', ['folder:vault'], {}],
    ])('%s', async (what, parents, access) => {
      const id = what.replaceAll(' ', '-')
      await live({ id, text: 'old', access: { ...anne, parents } })
      await put({ id, text: 'new', access: { ...anne, ...access } })
      expect(await isSensitive(id)).toBe(true)
      await end(unreadable)
      expect(await world.sees('user:anne', id)).toBe('old')
      expect(await isSensitive(id)).toBe(true)
      await world.putDone({ id, text: 'newer', access: anne })
      expect(await world.sees('user:anne', id)).toBe('newer')
      expect(await isSensitive(id)).toBe(true)
    })

    const both = { viewers: ['user:anne', 'user:bob'] }
    const without = { ...both, blocked: ['user:bob'] }
    test.each<[string, (id: string) => Promise<unknown>]>([
      ['blocked by PUT', (id) => put({ id, text: 'new', access: without })],
      [
        'blocked by PUT access while content waits',
        async (id) => {
          await put({ id, text: 'new', access: both })
          await world.ingest.retag(loader, id, without)
        },
      ],
      [
        'blocked by POST access while content waits',
        async (id) => {
          await put({ id, text: 'new', access: both })
          await change(docs, { writes: [`user:bob blocked document:${id}`] })
        },
      ],
      [
        'blocked by a line of an import',
        async (id) => {
          const line = Buffer.from(JSON.stringify(documentOf({ id, text: 'new', access: without })))
          async function* body() {
            yield line
          }
          jobs.push(await world.ingest.importAll(loader, { body: body() }))
        },
      ],
      [
        'blocked by PUT, and no more by another that waits as well',
        async (id) => {
          await put({ id, text: 'new', access: without })
          await put({ id, text: 'new', access: both })
        },
      ],
    ])('%s', async (what, then) => {
      const id = what.replaceAll(/[^a-z]/gi, '-')
      await live({ id, text: 'old', access: both })
      await then(id)
      expect(await world.tuples(`document:${id}`)).toContain('user:bob blocked')
      await end(unreadable)
      expect(await world.sees('user:anne', id)).toBe('old')
      expect(await world.sees('user:bob', id)).toBeUndefined()
      await world.ingest.drift()
      expect(await world.sees('user:bob', id)).toBeUndefined()
      // Unlike sensitivity a writer ends it, by what is then published.
      await world.putDone({ id, text: 'newer', access: both })
      expect(await world.sees('user:bob', id)).toBe('newer')
    })
  })

  describe('keeps from what is live whom a folder blocks, or the zone above it, before the answer, and where it is refused too:', () => {
    const both = { viewers: ['user:anne', 'user:bob'] }
    const within = (...parents: string[]) => ({ ...both, parents: parents.map((one) => `folder:${one}`) })
    const by =
      (...parents: string[]) =>
      (id: string) =>
        put({ id, text: 'new', access: within(...parents) })
    test.each<[string, string[], (id: string) => Promise<unknown>]>([
      ['put from one into another', ['north'], by('south')],
      ['put from one into two, and out of one that blocks nobody', ['south', 'open'], by('north', 'south')],
      ['taken out', ['south'], by()],
      ['put into one', ['open'], by('north')],
      [
        'taken out, and put back while it waits',
        ['north'],
        async (id) => {
          await by()(id)
          await by('north')(id)
        },
      ],
      [
        'put from one into another by PUT access while content waits',
        ['north'],
        async (id) => {
          await by('north')(id)
          await world.ingest.retag(loader, id, within('south'))
        },
      ],
      [
        'put from one into another by a line of an import',
        ['south'],
        async (id) => {
          const line = Buffer.from(JSON.stringify(documentOf({ id, text: 'new', access: within('north') })))
          async function* body() {
            yield line
          }
          jobs.push(await world.ingest.importAll(loader, { body: body() }))
        },
      ],
    ])('%s', async (what, before, then) => {
      const id = what.replaceAll(/[^a-z]/gi, '-')
      await live({ id, text: 'old', access: within(...before) })
      await then(id)
      expect(await world.sees('user:bob', id)).toBeUndefined()
      expect(await world.sees('user:anne', id)).toBe('old')
      await end(unreadable)
      await world.ingest.drift()
      expect(await world.sees('user:bob', id)).toBeUndefined()
      expect(await world.sees('user:anne', id)).toBe('old')
      // What is published then stands by its own place alone.
      await world.putDone({ id, text: 'newer', access: within('open') })
      expect(await world.tuples(`document:${id}`)).not.toContain('user:bob blocked')
      expect(await world.sees('user:bob', id)).toBe('newer')
    })

    test('PUT access puts on record what it changes, and not what it leaves of that', async () => {
      await live({ id: 'recorded', text: 'old', access: within('north') })
      await by('open')('recorded')
      await world.ingest.retag(loader, 'recorded', { ...within('open'), ...anne })
      expect(await world.tuples('document:recorded')).toContain('user:bob blocked')
      const [row] = await world.database.query(
        `select detail from decision_records where event = 'access_changed' order by record_no desc limit 1`,
      )
      expect(row?.['detail']).toMatchObject({
        writes: ['folder:open parent document:recorded'],
        deletes: ['user:bob viewer document:recorded'],
      })
      await end()
      expect(await world.tuples('document:recorded')).not.toContain('user:bob blocked')
    })

    test('nobody reads it meanwhile, where they are more than one document can say', async () => {
      const many = Array.from({ length: 501 }, (_, nth) => `user:p${nth} blocked folder:crowd`)
      const lines = ['collection:closed filed_in folder:crowd', ...many]
      for (let from = 0; from < lines.length; from += 90)
        await world.ingest.applyTuples(machine, {
          writes: lines.slice(from, from + 90).map(tuple),
          deletes: [],
        })
      await live({ id: 'crowded', text: 'old', access: within('crowd') })
      expect(await world.sees('user:anne', 'crowded')).toBe('old')
      await put({ id: 'crowded', text: 'new', access: within('open') })
      expect(await world.sees('user:anne', 'crowded')).toBeUndefined()
      // Whoever is let read it now may be blocked by the collection, or above the folder.
      await change(docs, {
        writes: ['fay', 'p3', 'anne'].map((one) => `user:${one} viewer document:crowded`),
      })
      expect(await world.sees('user:anne', 'crowded')).toBe('old')
      for (const user of ['user:fay', 'user:p3']) expect(await world.sees(user, 'crowded')).toBeUndefined()
      await end()
      expect(await world.sees('user:anne', 'crowded')).toBe('new')
    })
  })

  test.each([
    ['the same request again', undefined],
    ['the same request again with its key', 'again'],
  ])('is answered after %s only once OpenFGA has what it takes away', async (what, key) => {
    const id = what.replaceAll(' ', '-')
    await live({ id, text: 'old', access: { viewers: ['user:anne', 'user:bob'] } })
    const input = documentOf({ id, text: 'new', access: { ...anne, blocked: ['user:bob'] } })
    world.onWrite = () => {
      throw new Error('unreachable')
    }
    await expect(world.ingest.put(loader, input, key)).rejects.toThrow('unreachable')
    world.onWrite = () => undefined
    jobs.push(await world.ingest.put(loader, input, key))
    expect(await world.tuples(`document:${id}`)).toContain('user:bob blocked')
  })

  test('lets nobody into what is live when it is refused, though access was changed while it waited', async () => {
    await live({ id: 'for-new', text: 'old', access: anne })
    await put({ id: 'for-new', text: 'new', access: { viewers: ['user:carol'] } })
    await change(docs, { writes: ['user:dora viewer document:for-new'] })
    await end(unreadable)
    expect(await world.sees('user:carol', 'for-new')).toBeUndefined()
    expect(await world.sees('user:dora', 'for-new')).toBe('old')
  })

  test('is refused for as long as OpenFGA cannot say whether it is sensitive, and then remembered', async () => {
    await put({ id: 'unsaid', access: { ...anne, parents: ['folder:vault'] } })
    const { batchCheck } = world.fga
    let asked = 0
    Object.assign(world.fga, {
      batchCheck: async () => {
        asked += 1
        return { verdicts: ['error'], requestIds: [] }
      },
    })
    goOn(unreadable)
    await expect.poll(() => asked, { timeout: 10_000 }).toBeGreaterThan(0)
    const rows = await world.database.query(
      `select state from job_items where document_id = 'unsaid' and state <> 'queued'`,
    )
    Object.assign(world.fga, { batchCheck })
    expect(rows).toEqual([])
    for (const job of jobs) {
      expect(await world.done(job)).toMatchObject({ state: 'failed', errors: [{ code: 'unreadable' }] })
    }
    world.onStep = async () => undefined
    await world.putDone({ id: 'unsaid', access: anne })
    expect(await isSensitive('unsaid')).toBe(true)
  })
})
