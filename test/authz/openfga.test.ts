import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { type Fga, type Tuple, WriteRefused } from '../../src/authz/fga.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { createNominator } from '../../src/authz/nominate.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { type Answer, anne, apiToken, type Call, modelId, startDouble, storeId } from './double.ts'

const model = {
  id: modelId,
  ...readDsl(readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')),
}
const unavailable = expect.objectContaining({ code: 'authorization_unavailable', status: 503 })
const options = { now: 0 } as const
const unready = { nominate: () => undefined }
const secret = 'severance-of-bob'

const tuplesOf = (count: number, name = 'd'): Tuple[] =>
  Array.from({ length: count }, (_, index) => ({
    user: 'user:anne',
    relation: 'viewer',
    object: `document:${name}${index}` as FgaObject,
  }))

const stored = (key: Tuple) => ({ key, timestamp: '2026-11-24T12:00:00Z' })

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of source) all.push(item)
  return all
}

const outcomeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    (value) => value,
    (error: unknown) => error,
  )

describe('read', () => {
  const paged: Answer = ({ body }) => {
    const start = Number(body.continuation_token ?? 0)
    const tuples = tuplesOf(250)
      .slice(start, start + 100)
      .map(stored)
    return { tuples, continuation_token: start + 100 < 250 ? String(start + 100) : '' }
  }

  test('goes on through all pages, with the same filter and past every cache', async () => {
    await using double = await startDouble(paged)
    const tuples = await collect(double.fga.read({ object: 'document:', user: 'user:anne' }))
    expect(tuples).toEqual(tuplesOf(250))
    expect(double.calls.map(({ body }) => body.continuation_token)).toEqual([undefined, '100', '200'])
    for (const { body } of double.calls) {
      expect(body).toMatchObject({
        tuple_key: { object: 'document:', user: 'user:anne' },
        consistency: 'HIGHER_CONSISTENCY',
      })
    }
  })

  test('throws when a later page fails: a part is never passed off as the whole', async () => {
    await using double = await startDouble((call, response, nth) => {
      if (nth === 0) return paged(call, response, nth)
      response.statusCode = 500
      return {}
    })
    await expect(collect(double.fga.read({}))).rejects.toEqual(unavailable)
  })

  test('gives the condition of a tuple, and none where there is none', async () => {
    const condition = { name: 'until', context: { expires_at: '2026-12-01T00:00:00Z' } } as const
    const [plain] = tuplesOf(1)
    await using double = await startDouble(() => ({
      tuples: [stored({ ...plain!, condition }), { key: { ...plain, condition: null } }],
      continuation_token: '',
    }))
    expect(await collect(double.fga.read({}))).toEqual([{ ...plain, condition }, plain])
  })
})

describe('write', () => {
  const writesOf = ({ body }: Call): [number, number] => [
    body.deletes?.tuple_keys.length ?? 0,
    body.writes?.tuple_keys.length ?? 0,
  ]

  const isWrite = ({ path }: Call): boolean => path === 'write'
  /** Writes alone are counted; a change that does not fit one asks for the model first. */
  async function startWriting(answer: (nth: number) => { status: number; body: object } | undefined) {
    let nth = 0
    return startDouble(({ path, body }, response) => {
      if (path !== 'write')
        return path === 'read' ? { tuples: [], continuation_token: '' } : { authorization_model: model }
      const refusal = answer(nth++)
      if (refusal === undefined) return {}
      expect(body).toBeDefined()
      response.statusCode = refusal.status
      return refusal.body
    })
  }

  async function write(change: Parameters<Fga['write']>[0]): Promise<readonly Call[]> {
    await using double = await startWriting(() => undefined)
    await double.fga.write(change)
    return double.calls.filter(isWrite)
  }

  test('is one transaction for up to 100 tuples, in which repeating is no error', async () => {
    const calls = await write({ writes: tuplesOf(40), deletes: tuplesOf(60, 'e') })
    expect(calls.map(writesOf)).toEqual([[60, 40]])
    expect(calls[0]?.body).toMatchObject({
      authorization_model_id: modelId,
      writes: { on_duplicate: 'ignore' },
      deletes: { on_missing: 'ignore' },
    })
  })

  const relationsOf = ({ body }: Call) =>
    [body.deletes, body.writes].map((part) => [
      ...new Set(part?.tuple_keys.map((key) => (key as Tuple).relation)),
    ])

  test('of more takes away first, then does at once what may do both, and gives last', async () => {
    const on = (relation: string, count: number) => tuplesOf(count).map((tuple) => ({ ...tuple, relation }))
    const calls = await write({
      writes: [...on('viewer', 101), ...on('blocked', 2), ...on('parent', 40)],
      deletes: [...on('owner', 101), ...on('sensitive', 2), ...on('filed_in', 40)],
    })
    expect(calls.map(relationsOf)).toEqual([
      [['owner'], []],
      [['owner'], ['blocked']],
      [['filed_in'], ['parent']],
      [['sensitive'], ['viewer']],
      [[], ['viewer']],
    ])
  })

  test('stops at the first part that fails: after a crash there is less access, never more', async () => {
    await using double = await startWriting((nth) => (nth === 1 ? { status: 500, body: {} } : undefined))
    await expect(double.fga.write({ writes: tuplesOf(101), deletes: tuplesOf(101, 'e') })).rejects.toEqual(
      unavailable,
    )
    expect(double.calls.filter(isWrite).map(writesOf)).toEqual([
      [100, 0],
      [1, 0],
    ])
  })

  test('takes as many at once as the server says that it takes, once it has said so', async () => {
    const tooMany = {
      status: 400,
      body: {
        code: 'exceeded_entity_limit',
        message: 'The number of write operations exceeds the allowed limit of 40',
      },
    }
    await using double = await startWriting((nth) => (nth === 0 ? tooMany : undefined))
    await double.fga.write({ writes: tuplesOf(60) })
    await double.fga.write({ writes: tuplesOf(41) })
    expect(double.calls.filter(isWrite).map(writesOf)).toEqual([
      [0, 60],
      [0, 40],
      [0, 20],
      [0, 40],
      [0, 1],
    ])
    expect(
      await double.fga.isOrderly(
        { writes: tuplesOf(40).map((tuple) => ({ ...tuple, relation: 'parent' })) },
        { fenced: true },
      ),
    ).toBe(false)
  })

  test('of many objects is as few transactions as hold them, and parts none that fits one', async () => {
    const changeOf = (nth: number, count: number) => ({
      writes: tuplesOf(count).map((tuple) => ({
        ...tuple,
        object: `document:of${nth}` as FgaObject,
        relation: 'parent',
      })),
    })
    const objectsOf = ({ body }: Call) => [
      ...new Set(body.writes?.tuple_keys.map((key) => (key as Tuple).object)),
    ]
    await using double = await startWriting(() => undefined)
    const turn = { user: 'turn:1', relation: 'turn', object: 'fence:h' as FgaObject }
    const changes = [40, 40, 40, 0, 99, 1].map((count, nth) => changeOf(nth, count))
    await double.fga.writeEach(changes)
    await double.fga.writeEach(changes, async () => turn)
    const packed = [['document:of0', 'document:of1'], ['document:of2'], ['document:of4', 'document:of5']]
    const fenced = [['document:of0', 'document:of1'], ['document:of2'], ['document:of4'], ['document:of5']]
    expect(double.calls.filter(isWrite).map(objectsOf)).toEqual([
      ...packed,
      ...fenced.map((objects) => [...objects, 'fence:h']),
    ])
  })

  test('of many objects, one too large, does that one’s in its order and none of the others in parts', async () => {
    const on = (relation: string, count: number, of = 'document:large') =>
      tuplesOf(count).map((tuple) => ({ ...tuple, relation, object: of as FgaObject }))
    await using double = await startWriting(() => undefined)
    await double.fga.writeEach([
      { writes: on('parent', 30, 'document:small') },
      { writes: [...on('viewer', 90), ...on('blocked', 2)], deletes: on('owner', 50) },
      { writes: on('parent', 30, 'document:last') },
    ])
    expect(double.calls.filter(isWrite).map(relationsOf)).toEqual([
      [['owner'], ['blocked']],
      [[], ['viewer']],
      [[], ['parent']],
    ])
  })

  test('of a turn brings it along with each part, where nothing may exist yet', async () => {
    const turns = ['turn:1', 'turn:2'].map((user) => ({
      user,
      relation: 'turn',
      object: 'fence:h' as FgaObject,
    }))
    await using double = await startWriting(() => undefined)
    let nth = 0
    await double.fga.write({ writes: tuplesOf(100) }, async () => turns[nth++]!)
    const writes = double.calls.filter(isWrite).map(({ body }) => body.writes)
    expect(writes.map((part) => part?.tuple_keys.length)).toEqual([100, 2])
    expect(writes.map((part) => part?.on_duplicate)).toEqual(['error', 'error'])
    expect(writes.map((part) => part?.tuple_keys.at(-1))).toEqual(turns)
  })

  test('of a turn tells a refusal, after which nothing was written, from no answer', async () => {
    const turn = { user: 'turn:1', relation: 'turn', object: 'fence:h' as FgaObject }
    const outcome = async (status: number, code: string) => {
      await using double = await startWriting(() => ({ status, body: { code, message: '' } }))
      return await outcomeOf(double.fga.write({ writes: tuplesOf(1) }, async () => turn))
    }
    expect(await outcome(400, 'write_failed_due_to_invalid_input')).toBeInstanceOf(WriteRefused)
    expect(await outcome(409, 'Aborted')).toBeInstanceOf(WriteRefused)
    expect(await outcome(500, 'internal_error')).toEqual(unavailable)
    expect(await outcome(400, 'validation_error')).toEqual(unavailable)
  })

  test('of nothing asks nobody', async () => {
    expect(await write({})).toEqual([])
  })

  test('sends of a condition its name and context only', async () => {
    const condition = { name: 'until', context: { expires_at: '2026-12-01T00:00:00Z' } } as const
    const [plain] = tuplesOf(1)
    const [call] = await write({
      writes: [{ ...plain!, condition }],
      deletes: [{ ...plain!, relation: 'owner', ...{ condition } }],
    })
    expect(call?.body.writes?.tuple_keys).toEqual([{ ...plain, condition }])
    expect(call?.body.deletes?.tuple_keys).toEqual([{ ...plain, relation: 'owner' }])
  })
})

describe('a streamed list', () => {
  const line = (id: string) => `${JSON.stringify({ result: { object: `document:${id}` } })}\n`
  const query = { user: 'user:anne', relation: 'can_read', type: 'document' }

  const listing =
    (...parts: readonly (string | Uint8Array | 'hang' | 'cut')[]): Answer =>
    (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      void send(parts, response)
    }

  async function send(
    parts: readonly (string | Uint8Array)[],
    response: import('node:http').ServerResponse,
  ): Promise<void> {
    for (const part of parts) {
      if (part === 'hang') return
      if (part === 'cut') {
        response.destroy()
        return
      }
      response.write(part)
      // Apart from each other on the wire.
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    response.end()
  }

  const list = async (answer: Answer, timeoutMs?: number): Promise<unknown> => {
    await using double = await startDouble(answer, timeoutMs)
    const outcome = await outcomeOf(collect(double.fga.listObjects(query, options)))
    expect(double.calls).toHaveLength(1)
    return outcome
  }

  test('gives every object, wherever the network cuts the lines and the letters', async () => {
    const bytes = new TextEncoder().encode(line('a') + line('größe') + line('c'))
    const middle = bytes.indexOf(0xb6)
    const objects = await list(listing(bytes.slice(0, 5), bytes.slice(5, middle), bytes.slice(middle)))
    expect(objects).toEqual(['document:a', 'document:größe', 'document:c'])
  })

  test('needs no newline after the last object', async () => {
    expect(await list(listing(line('a'), line('b').trimEnd()))).toEqual(['document:a', 'document:b'])
  })

  test('may be empty', async () => {
    expect(await list(listing())).toEqual([])
  })

  test.each<[string, Answer, number?]>([
    ['an error after some objects', listing(line('a'), '{"error":{"code":13,"message":"m"}}\n')],
    ['an error as its last line, without a newline', listing(line('a'), '{"error":{"code":13}}')],
    ['an error beside an object', listing('{"result":{"object":"document:a"},"error":{"code":13}}\n')],
    ['a line that is cut', listing(line('a'), '{"result":{"obj')],
    ['a line that is no JSON', listing(line('a'), '<html>\n', line('b'))],
    ['a line about nothing', listing(line('a'), '{}\n')],
    ['a null line', listing(line('a'), 'null\n')],
    ['a number for an object', listing('{"result":{"object":7}}\n')],
    ['a connection that breaks between lines', listing(line('a'), 'cut')],
    ['a connection that breaks within a line', listing(line('a'), '{"res', 'cut')],
    ['silence after some objects', listing(line('a'), 'hang'), 2_000],
    ['a status of 500', (_, response) => void response.writeHead(500).end('{"code":"internal_error"}')],
  ])('with %s is an error, never a short list passed off as the whole', async (_, answer, timeoutMs) => {
    const started = performance.now()
    expect(await list(answer, timeoutMs)).toEqual(unavailable)
    expect(performance.now() - started).toBeLessThan(8_000)
  })

  test('that takes as long as the server allows itself is known to be cut short, wherever the clock is set meanwhile', async () => {
    await using double = await startDouble(listing(line('a')))
    const took = (ms: number, wall: readonly [number, number]) => {
      const [ages, times] = [[0, ms], [...wall]]
      const nominator = createNominator({
        fga: double.fga,
        index: unready,
        now: () => times.shift() ?? 0,
        elapsed: () => ages.shift() ?? 0,
        serverDeadlineMs: 2_500,
      })
      return nominator.nominate(anne, {})
    }
    for (const backMs of [0, 2_500, 3_600_000])
      expect(await took(2_500, [3_600_000, 3_602_500 - backMs])).toEqual({
        documentIds: ['a'],
        complete: false,
      })
    expect(await took(2_499, [0, 2_499])).toEqual({ documentIds: ['a'], complete: true })
  })

  test('ends when the request is over', async () => {
    await using double = await startDouble(listing(line('a'), 'hang'), 20_000)
    const started = performance.now()
    const objects = collect(double.fga.listObjects(query, { ...options, signal: AbortSignal.timeout(150) }))
    expect(await outcomeOf(objects)).toEqual(unavailable)
    expect(performance.now() - started).toBeLessThan(8_000)
  })
})

describe('an error', () => {
  const check = (fga: Fga) =>
    fga.batchCheck([{ user: 'user:anne', relation: 'can_read', object: `document:${secret}` }], options)
  const list = (fga: Fga) =>
    collect(fga.listObjects({ user: `user:${secret}`, relation: 'can_read', type: 'document' }, options))
  const write = (fga: Fga) =>
    fga.write({ writes: [{ user: 'user:anne', relation: 'owner', object: `document:${secret}` }] })
  const read = (fga: Fga) => collect(fga.read({ object: `document:${secret}` }))

  const refuse: Answer = (_, response) => {
    response.statusCode = 400
    return { code: 'validation_error', message: `bad ${secret}` }
  }
  const hangUp: Answer = (_, response) => void response.destroy()
  const hang: Answer = () => undefined

  test.each<[string, Answer]>([
    ['a refusal', refuse],
    ['a broken connection', hangUp],
    ['silence', hang],
  ])(
    'from %s tells neither what was asked nor the key, in its message or anywhere in it',
    async (_, answer) => {
      await using double = await startDouble(answer, 200)
      for (const ask of [check, list, write, read]) {
        const error = await outcomeOf(ask(double.fga))
        expect(error).toEqual(unavailable)
        const told = inspect(error, { depth: 12, showHidden: true, maxStringLength: null })
        expect(told).not.toContain(secret)
        expect(told).not.toContain(apiToken)
      }
    },
  )

  test('is made at the first failure: the request has no time for retries', async () => {
    await using double = await startDouble((_, response) => {
      response.statusCode = 503
      return {}
    })
    await expect(check(double.fga)).rejects.toEqual(unavailable)
    expect(double.calls).toHaveLength(1)
  })
})

describe('health', () => {
  test('is the presence of the model, and a failure is a no', async () => {
    await using well = await startDouble(() => ({ authorization_model: { id: modelId } }))
    expect(await well.fga.isHealthy(modelId)).toBe(true)
    await using ill = await startDouble((_, response) => {
      response.statusCode = 404
      return {}
    })
    expect(await ill.fga.isHealthy(modelId)).toBe(false)
  })
})

describe('a question', () => {
  const asking: Answer = ({ path, body }) =>
    path === 'batch-check' ? { result: { [idOf(body)]: { allowed: true } } } : {}
  const idOf = (body: unknown): string =>
    (body as { checks: [{ correlation_id: string }] }).checks[0].correlation_id
  const check = { user: 'user:anne', relation: 'viewer', object: 'document:a' } as const

  test.each([
    ['goes past the caches unless somebody says otherwise', undefined, 'HIGHER_CONSISTENCY'],
    ['goes past the caches when it has to be fresh', 'fresh', 'HIGHER_CONSISTENCY'],
    ['may be answered from the caches only when asked so', 'cached', 'MINIMIZE_LATENCY'],
  ] as const)('%s', async (_, consistency, sent) => {
    await using double = await startDouble(asking)
    await double.fga.batchCheck([check], { ...options, ...(consistency && { consistency }) })
    expect(double.calls.map(({ body }) => body.consistency)).toEqual([sent])
  })

  test.each([429, 500, 503])('is sent once: status %d is not tried again', async (status) => {
    await using double = await startDouble((call, response, nth) => {
      response.statusCode = status
      response.setHeader('retry-after', '1')
      return asking(call, response, nth)
    })
    await expect(double.fga.batchCheck([check], options)).rejects.toEqual(unavailable)
    expect(double.calls).toHaveLength(1)
  })

  test.each([301, 307])(
    'is asked of no other server: a redirect of status %d is no answer',
    async (status) => {
      await using elsewhere = await startDouble(asking)
      await using double = await startDouble((_, response) => {
        response.statusCode = status
        response.setHeader('location', `${elsewhere.url}/stores/${storeId}/batch-check`)
        return {}
      })
      await expect(double.fga.batchCheck([check], options)).rejects.toEqual(unavailable)
      await expect(double.fga.write({ writes: [check] })).rejects.toEqual(unavailable)
      await expect(collect(double.fga.read({}))).rejects.toEqual(unavailable)
      expect([double.calls.length, elsewhere.calls.length]).toEqual([3, 0])
    },
  )

  /** Sends a letter at a time, for as long as it is let. */
  const trickle =
    (ended: () => void, begun?: () => void): Answer =>
    (_, response) => {
      begun?.()
      response.writeHead(200, { 'content-type': 'application/json' })
      const timer = setInterval(() => response.write(' '), 20)
      response.on('close', () => {
        clearInterval(timer)
        ended()
      })
    }

  test('has so long for its whole answer, however that comes, and is then let go of', async () => {
    const ended = Promise.withResolvers<void>()
    // Long enough that the question comes to the server before.
    await using double = await startDouble(trickle(ended.resolve), 2_000)
    await expect(double.fga.batchCheck([check], options)).rejects.toMatchObject({
      message: 'OpenFGA TimeoutError',
    })
    await ended.promise
  })

  test('ends with the request that it is for', async () => {
    const [begun, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    await using double = await startDouble(trickle(ended.resolve, begun.resolve))
    const request = new AbortController()
    const asked = outcomeOf(double.fga.batchCheck([check], { ...options, signal: request.signal }))
    await begun.promise
    request.abort()
    expect(await asked).toMatchObject({ message: 'OpenFGA AbortError' })
    await ended.promise
  })

  test('is not sent for a request that is over', async () => {
    await using double = await startDouble(asking)
    const over = double.fga.batchCheck([check], { ...options, signal: AbortSignal.abort() })
    expect(await outcomeOf(over)).toMatchObject({ message: 'OpenFGA AbortError' })
    await double.fga.batchCheck([check], options)
    expect(double.calls).toHaveLength(1)
  })

  test('takes an answer that comes in pieces', async () => {
    await using double = await startDouble(({ body }, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      const pieces = [`{"result":{"${idOf(body)}":{"allo`, 'wed":tr', 'ue}}}']
      const timer = setInterval(() => {
        const piece = pieces.shift()
        if (piece !== undefined) response.write(piece)
        else response.end()
      }, 20)
      response.on('close', () => clearInterval(timer))
    })
    expect(await double.fga.batchCheck([check], options)).toMatchObject({ verdicts: ['allowed'] })
  })

  test('is answered by nothing that was said to another one: not late, not once too often, not by its place', async () => {
    let before: unknown
    await using double = await startDouble(({ body }) => {
      const answer = { result: { [idOf(before ?? body)]: { allowed: true } } }
      before = body
      return answer
    })
    const ask = async () => (await double.fga.batchCheck([check], options)).verdicts
    expect([await ask(), await ask(), await ask()]).toEqual([['allowed'], ['error'], ['error']])
    await using listing = await startDouble(() => ({ result: [{ allowed: true }] }))
    expect((await listing.fga.batchCheck([check], options)).verdicts).toEqual(['error'])
  })

  test('takes no answer that is longer than any can be, and lets go of it', async () => {
    const ended = Promise.withResolvers<void>()
    await using double = await startDouble((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.on('close', ended.resolve)
      const more = (): void => {
        while (!response.destroyed && response.write(' '.repeat(65_536)));
        response.once('drain', more)
      }
      more()
    })
    await expect(double.fga.batchCheck([check], options)).rejects.toMatchObject({
      message: 'OpenFGA TooLargeError',
    })
    await ended.promise
  })

  test('that fails says by what code or status, for whoever looks for the cause', async () => {
    const double = await startDouble((_, response) => {
      response.statusCode = 503
      return {}
    })
    const fails = () => outcomeOf(double.fga.batchCheck([check], options))
    expect(await fails()).toMatchObject({ message: 'OpenFGA 503' })
    await double[Symbol.asyncDispose]()
    expect(await fails()).toMatchObject({ message: 'OpenFGA ECONNREFUSED' })
  })

  test.each([
    ['deadline_exceeded', 'OpenFGA 500 FgaApiInternalError: deadline_exceeded'],
    ['anne reads\n/secret', 'OpenFGA 500 FgaApiInternalError'],
  ])('that fails a Write with the code %j says %j', async (code, message) => {
    await using double = await startDouble((_, response) => {
      response.statusCode = 500
      return { code, message: 'anne reads document:secret' }
    })
    const writes = [{ user: 'user:anne', relation: 'viewer', object: 'document:1' }] as const
    expect(await outcomeOf(double.fga.write({ writes }))).toMatchObject({ message })
  })

  test('says which key it comes with, and under which model', async () => {
    await using double = await startDouble(asking)
    await double.fga.batchCheck([check], options)
    expect(double.calls).toMatchObject([
      { authorization: `Bearer ${apiToken}`, body: { authorization_model_id: modelId } },
    ])
  })
})
