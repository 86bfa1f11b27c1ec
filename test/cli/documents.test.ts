import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Commands, noDemo, openCommands, remit, serving } from './world.ts'

interface Asked {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: object
}

let folder: string
let world: Commands
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  world = await openCommands()
  await world.deps.services.save({ name: 'loader', collections: ['handbook'], prefixes: [] })
})
afterAll(async () => {
  await world.database.close()
  await rm(folder, { recursive: true, force: true })
})
beforeEach(() => rm(join(folder, 'docs'), { recursive: true, force: true }))

/** A peer on the wire that answers as a test says: busy, refusing, failing. */
async function peer(answer: (asked: Asked, count: number) => Answer) {
  const asked: Asked[] = []
  const respond = async (request: IncomingMessage, response: ServerResponse) => {
    const { method = '', url = '', headers } = request
    const one = { method, url, headers, body: await text(request) }
    asked.push(one)
    const { status, headers: more, body = {} } = answer(one, asked.length)
    response.writeHead(status, { 'content-type': 'application/json', ...more }).end(JSON.stringify(body))
  }
  const server = createServer((request, response) => {
    respond(request, response).catch((error: Error) => response.destroy(error))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    asked,
    url: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

const done = { state: 'done', done: 1, failed: 0, total: 1, withdrawn: 0, errors: [], notes: [] }
const allWell = ({ method }: Asked): Answer =>
  method === 'GET' ? { status: 200, body: { id: 'j', ...done } } : { status: 202, body: { job: { id: 'j' } } }

async function put(files: Readonly<Record<string, string>>): Promise<string> {
  const root = join(folder, 'docs')
  await mkdir(root, { recursive: true })
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true })
    await writeFile(join(root, name), content)
  }
  return root
}

const ingestFor = (readers: readonly string[], root: string, url: string) =>
  remit(['ingest', root, '--collection', 'handbook', ...readers], world, { url, envToken: 'a.b.c' })
const ingest = (root: string, url: string) => ingestFor(['--viewer', 'user:anne'], root, url)

describe('ingest', () => {
  test('puts every document with its access, title and path, and waits for each job', async () => {
    await using to = await peer(allWell)
    const root = await put({ 'a.md': 'intro\n# Travel rules #\ntext', 'sub/b.txt': 'plain' })
    const ran = await ingestFor(
      ['--owner', 'user:anne', '--viewer', 'group:eng#member', '--viewer', 'user:bob'],
      root,
      to.url,
    )
    expect(ran).toMatchObject({
      code: 0,
      stdout: '',
      stderr: '2 of 2 files are in handbook, 0 failed, 0 skipped.\n',
    })
    const puts = to.asked.filter(({ method }) => method === 'PUT').sort((a, b) => a.url.localeCompare(b.url))
    expect(puts.map(({ url }) => url)).toEqual([
      '/documents/handbook%2Fa.md',
      '/documents/handbook%2Fsub%2Fb.txt',
    ])
    expect(puts[0]?.headers).toMatchObject({ authorization: 'Bearer a.b.c', prefer: 'wait' })
    expect(JSON.parse(puts[0]?.body ?? '')).toMatchObject({
      id: 'handbook/a.md',
      collection: 'handbook',
      title: 'Travel rules',
      mime_type: 'text/markdown',
      content_base64: Buffer.from('intro\n# Travel rules #\ntext').toString('base64'),
      access: { owner: 'user:anne', viewers: ['group:eng#member', 'user:bob'], parents: [] },
    })
    expect(JSON.parse(puts[1]?.body ?? '')).toMatchObject({ title: 'b', mime_type: 'text/plain' })
    expect(to.asked.filter(({ url }) => url === '/jobs/j')).toHaveLength(2)
  })

  test('reports a name that makes too long an id, sends the rest, and fails', async () => {
    await using to = await peer(allWell)
    const ran = await ingest(await put({ [`${'a'.repeat(199)}.md`]: 'x', 'with space.md': 'x' }), to.url)
    expect(ran.code).toBe(1)
    expect(ran.stderr).toContain('.md: its id would have 211 characters, more than 200')
    expect(to.asked.filter(({ method }) => method === 'PUT').map(({ url }) => url)).toEqual([
      '/documents/handbook%2Fwith%2520space.md',
    ])
  })

  test('takes documents from nobody by saying nothing: readers are named, or that there are none', async () => {
    await using to = await peer(allWell)
    const root = await put({ 'a.md': 'x' })
    for (const readers of [[], ['--no-readers', '--viewer', 'user:anne']]) {
      expect(await ingestFor(readers, root, to.url)).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('--no-readers'),
      })
    }
    expect(to.asked).toEqual([])
    expect((await ingestFor(['--no-readers'], root, to.url)).code).toBe(0)
    expect(JSON.parse(to.asked[0]?.body ?? '')).toMatchObject({ access: { viewers: [], parents: [] } })
  })

  test('says what it leaves out: other kinds of files; and looks at no hidden ones', async () => {
    await using to = await peer(allWell)
    const ran = await ingest(await put({ 'photo.png': 'x', '.git/config.md': 'x', '.env': 'x' }), to.url)
    expect(ran).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('skipped, not a kind of document that is read: photo.png'),
    })
    expect(to.asked).toEqual([])
  })

  test('says what the service kept or left as it was, beside what it took in', async () => {
    const notes = [
      { id: 'handbook/a.md', code: 'sensitivity_kept', detail: 'It was marked sensitive itself.' },
    ]
    await using to = await peer((asked) =>
      asked.method === 'GET' ? { status: 200, body: { id: 'j', ...done, notes } } : allWell(asked),
    )
    expect(await ingest(await put({ 'a.md': 'x' }), to.url)).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('note: a.md: sensitivity_kept It was marked sensitive itself.\n'),
    })
  })

  test('waits as Retry-After says and goes on', async () => {
    await using to = await peer((asked, count) =>
      count === 1
        ? { status: 429, headers: { 'retry-after': '0' } }
        : count === 2
          ? { status: 503, headers: { 'retry-after': '0' } }
          : allWell(asked),
    )
    expect(await ingest(await put({ 'a.md': 'x' }), to.url)).toMatchObject({ code: 0 })
    expect(to.asked.filter(({ method }) => method === 'PUT')).toHaveLength(3)
  })

  test.each([
    ['a collection that it may not write to', 403, 'collection'],
    ['a parent in another collection', 403, 'access.parents.0'],
    ['a reader who is none', 422, 'access.viewers.0'],
    ['a token that counts no more', 401, undefined],
  ])('tells %s once, and sends nothing more', async (_, status, field) => {
    const detail = 'This service may not write to this collection.'
    await using to = await peer(() => ({ status, body: { detail, field } }))
    const names = Array.from({ length: 30 }, (_, at) => [`${at}.md`, 'x'])
    const ran = await ingest(await put(Object.fromEntries(names)), to.url)
    expect(ran.code).toBe(1)
    expect(ran.stderr.split(detail)).toHaveLength(2)
    expect(to.asked.length).toBeLessThanOrEqual(4)
    const sent = to.asked.length
    expect(ran.stderr).toContain(
      `0 of 30 files are in handbook, ${sent} failed, ${30 - sent} not sent, 0 skipped.\n`,
    )
  })

  test('sends the others where one document is refused for itself: in another collection, by its name or text', async () => {
    for (const [status, field] of [
      [409, 'collection'],
      [403, 'id'],
      [422, 'content_base64'],
    ] as const) {
      await using to = await peer((asked) =>
        asked.url.endsWith('a.md') ? { status, body: { detail: 'No.', field } } : allWell(asked),
      )
      expect((await ingest(await put({ 'a.md': 'x', 'b.md': 'x' }), to.url)).stderr).toContain(
        '1 of 2 files are in handbook, 1 failed, 0 skipped.\n',
      )
    }
  })

  test('fails with the service’s reason for a refused document and for a failed job', async () => {
    await using refusing = await peer(() => ({
      status: 403,
      body: { title: 'The caller may not do this.', detail: 'No right to write.', field: 'id' },
    }))
    const root = await put({ 'a.md': 'x' })
    expect(await ingest(root, refusing.url)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('a.md: 403 No right to write.'),
    })
    await using failing = await peer((asked) =>
      asked.method === 'GET'
        ? {
            status: 200,
            body: {
              id: 'j',
              ...done,
              state: 'failed',
              failed: 1,
              errors: [{ code: 'unreadable', detail: 'not a PDF' }],
            },
          }
        : allWell(asked),
    )
    expect(await ingest(root, failing.url)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('unreadable not a PDF'),
    })
  })

  test('fails, without a stack, when nobody answers or the folder is not there', async () => {
    const closed = await peer(allWell)
    await closed[Symbol.asyncDispose]()
    const ran = await ingest(await put({ 'a.md': 'x' }), closed.url)
    expect(ran.code).toBe(1)
    expect(ran.stderr).toContain('ECONNREFUSED')
    const nowhere = await ingest(join(folder, 'nowhere'), closed.url)
    expect(nowhere).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/The folder .* cannot be read \(ENOENT\)/),
    })
    expect(nowhere.stderr).not.toContain('    at ')
  })

  test('never follows a redirect with its token', async () => {
    await using elsewhere = await peer(allWell)
    await using to = await peer(() => ({ status: 307, headers: { location: elsewhere.url } }))
    expect((await ingest(await put({ 'a.md': 'x' }), to.url)).code).toBe(1)
    expect(elsewhere.asked).toEqual([])
  })

  test('in the demo writes as the one service that may, and asks which where several may', async () => {
    await using _server = await serving(world)
    await using to = await peer(allWell)
    const argv = [
      'ingest',
      await put({ 'a.md': 'x' }),
      '--collection',
      'handbook',
      '--viewer',
      'user:anne',
      '--url',
      `${to.url}/`,
    ]
    const demoTokens = { ...noDemo, service: world.tokens.mint }
    expect((await remit(argv, world, { url: to.url, demoTokens })).code).toBe(0)
    const token = to.asked[0]?.headers.authorization?.slice('Bearer '.length) ?? ''
    expect(decodeJwt(token)).toMatchObject({ client_id: 'demo-service-loader', scope: 'docs.write' })

    await world.deps.services.save({ name: 'other', collections: ['handbook'], prefixes: [] })
    expect(await remit(argv, world, { url: to.url, demoTokens })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('loader, other'),
    })
    expect((await remit([...argv, '--service', 'other'], world, { url: to.url, demoTokens })).code).toBe(0)
    await world.database.query(`delete from clients where service = 'other'`)
    await world.database.query(`delete from services where name = 'other'`)
  })

  test.each([
    ['ingest', ['--collection', 'handbook', '--viewer', 'user:anne']],
    ['import', []],
  ] as const)(
    '%s outside the demo says that it takes a service’s token, and nothing of signing in',
    async (command, flags) => {
      await using _server = await serving({ ...world, deps: world.withoutDemo })
      const root = await put({ 'a.md': 'x' })
      const at = command === 'ingest' ? root : join(root, 'a.md')
      const ran = await remit([command, at, ...flags], world)
      expect(ran).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('A service writes here, and REMIT_TOKEN needs'),
      })
      expect(ran.stderr).not.toContain('login')
    },
  )
})

describe('import', () => {
  async function importing(answer: (asked: Asked, count: number) => Answer, ...more: readonly string[]) {
    const root = await put({ 'all.ndjson': '{"id":"a"}\n{"id":"b"}\n' })
    await using to = await peer(answer)
    const ran = await remit(['import', join(root, 'all.ndjson'), ...more], world, {
      url: to.url,
      envToken: 'a.b.c',
    })
    return { ran, asked: to.asked }
  }

  test('sends the file as it is, with an idempotency key, and succeeds when its job does', async () => {
    const { ran, asked } = await importing(allWell)
    expect(ran).toMatchObject({
      code: 0,
      stdout: '',
      stderr: expect.stringContaining('1 of 1 in, 0 failed.'),
    })
    expect(asked[0]).toMatchObject({ method: 'POST', url: '/imports', body: '{"id":"a"}\n{"id":"b"}\n' })
    expect(asked[0]?.headers).toMatchObject({
      'content-type': 'application/x-ndjson',
      'idempotency-key': expect.stringMatching(/^[\w-]{36}$/),
    })
  })

  test('sent again after a 503 it is the same import, whole', async () => {
    const { ran, asked } = await importing((one, count) =>
      count === 1 ? { status: 503, headers: { 'retry-after': '0' } } : allWell(one),
    )
    expect(ran.code).toBe(0)
    const [first, second] = asked
    expect(second?.body).toBe(first?.body)
    expect(second?.headers['idempotency-key']).toBe(first?.headers['idempotency-key'])
  })

  test('prints errors by line and fails, although the good lines went in', async () => {
    const errors = [{ line: 7, id: 'x', code: 'invalid_request', field: 'title', detail: 'is missing' }]
    const { ran } = await importing((asked) =>
      asked.method === 'GET'
        ? { status: 200, body: { id: 'j', ...done, done: 9, failed: 1, total: 10, errors } }
        : allWell(asked),
    )
    expect(ran.code).toBe(1)
    expect(ran.stderr).toContain('line 7, x, title: invalid_request: is missing')
    expect(ran.stderr).toContain('9 of 10 in, 1 failed.')
  })

  const snapshot = ['--mode', 'snapshot', '--collection', 'handbook']

  test('says why a snapshot withdrew nothing and fails, although all its lines went in', async () => {
    const detail = 'Nothing was withdrawn. The last line is not {"end": <count>}: the list may be cut short.'
    const notes = [{ code: 'snapshot_not_applied', detail }]
    const { ran } = await importing(
      (asked) =>
        asked.method === 'GET' ? { status: 200, body: { id: 'j', ...done, notes } } : allWell(asked),
      ...snapshot,
    )
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toContain(`job: snapshot_not_applied: ${detail}\n1 of 1 in, 0 withdrawn, 0 failed.\n`)
  })

  test('counts what a snapshot withdrew apart from what it took in', async () => {
    const body = { id: 'j', ...done, done: 8, total: 8, withdrawn: 7 }
    const { ran } = await importing(
      (asked) => (asked.method === 'GET' ? { status: 200, body } : allWell(asked)),
      ...snapshot,
    )
    expect(ran).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('1 of 1 in, 7 withdrawn, 0 failed.\n'),
    })
  })

  test('names the snapshot’s collection and what may go', async () => {
    const { asked } = await importing(
      allWell,
      '--mode',
      'snapshot',
      '--collection',
      'handbook',
      '--allow-empty',
      '--allow-withdraw',
      '12',
    )
    expect(asked[0]?.url).toBe(
      '/imports?mode=snapshot&collection=handbook&allow_empty=true&allow_withdraw=12',
    )
  })

  test.each([
    [['--mode', 'snapshot'], 'belong together'],
    [['--collection', 'handbook'], 'belong together'],
    [['--mode', 'snapshot', '--collection', 'handbook', '--allow-withdraw', 'all'], 'number'],
  ])('%j is refused before anything is sent', async (flags, says) => {
    const { ran, asked } = await importing(allWell, ...flags)
    expect(ran.code).toBe(1)
    expect(ran.stderr).toContain(says)
    expect(asked).toEqual([])
  })
})
