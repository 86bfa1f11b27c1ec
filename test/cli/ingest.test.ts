import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Fetch } from '../../src/delegation/tokens/fetch-json.ts'
import { pdf } from '../support/pdf.ts'
import { type Ran, remit } from './world.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

interface Sent {
  readonly id: string
  readonly title: string
  readonly uri?: string
}

const job = { id: 'j', state: 'done', done: 1, failed: 0, total: 1, withdrawn: 0, errors: [], notes: [] }
const refused = () => new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') })

/** Runs `remit ingest` on these files, against a service that answers each PUT as `put` says. */
async function ingest(
  files: Readonly<Record<string, string>>,
  {
    put = () => undefined,
    notes = [],
    more = [],
    ...options
  }: {
    /** Throws what fetch would, as for a service that is down. */
    readonly put?: (nth: number) => void | Promise<void>
    readonly notes?: readonly object[]
    readonly more?: readonly string[]
    readonly now?: () => number
    readonly stopping?: AbortSignal
  } = {},
): Promise<Ran & { readonly sent: readonly Sent[]; readonly paths: readonly string[] }> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
  const sent: Sent[] = []
  const paths: string[] = []
  let nth = 0
  const fetch: Fetch = async (url, init) => {
    if (init?.method !== 'PUT') return Response.json({ ...job, notes })
    await put(++nth)
    paths.push(new URL(String(url)).pathname)
    sent.push(JSON.parse(String(init.body)) as Sent)
    return Response.json({ job: { id: 'j' } }, { status: 202 })
  }
  const argv = ['ingest', folder, '--collection', 'docs', '--viewer', 'user:anne', ...more]
  const ran = await remit(argv, { home: folder }, { envToken: 't', fetch, ...options })
  return { ...ran, paths, sent: sent.sort((a, b) => a.id.localeCompare(b.id)) }
}

const many = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`${at}.txt`, `${at}`]))

describe('ingesting a folder', () => {
  test('gives each document the address under which a citation finds it, if there is one', async () => {
    const files = { 'a.md': 'x', 'sub dir/b%1.txt': 'y' }
    const at = { more: ['--base-url', 'https://docs.example/v1/', '--prefix', 'p/'] }
    const { sent } = await ingest({ ...files, 'sub/b@1.txt': 'y' }, at)
    expect(sent.map(({ uri }) => uri)).toEqual([
      'https://docs.example/v1/a.md',
      'https://docs.example/v1/sub/b%401.txt',
      'https://docs.example/v1/sub%20dir/b%251.txt',
    ])
    expect((await ingest(files)).sent[0]).not.toHaveProperty('uri')
    expect(await ingest(files, { more: ['--base-url', 'ftp://x'] })).toMatchObject({ code: 1, sent: [] })
  })

  test('encodes in an id what ids do not take, leaves valid names as they were, and keeps the title readable', async () => {
    const names = {
      'R&D (2026)/Größe, neu.txt': 'R%26D%20%282026%29/Gr%C3%B6%C3%9Fe%2C%20neu.txt',
      "it's~new!*.txt": 'it%27s%7Enew%21%2A.txt',
      '100%.txt': '100%25.txt',
      'a%20b c.txt': 'a%2520b%20c.txt',
      // What an earlier run took has the id that it had, in a folder that has to be encoded, too.
      'kept%20as@it=is.txt': 'kept%20as@it=is.txt',
      'two words/kept%20+1.txt': 'two%20words/kept%20+1.txt',
      '🦦.txt': '%F0%9F%A6%A6.txt',
    }
    const more = ['--base-url', 'https://docs.example']
    const ran = await ingest(Object.fromEntries(Object.keys(names).map((name) => [name, 'x'])), { more })
    expect(ran).toMatchObject({ code: 0, stderr: '7 of 7 files are in docs, 0 failed, 0 skipped.\n' })
    const byId = new Map(ran.sent.map((one) => [one.id, one]))
    for (const [name, id] of Object.entries(names)) {
      const { uri = '', title } = byId.get(`docs/${id}`) ?? {}
      expect(decodeURIComponent(new URL(uri).pathname)).toBe(`/${name}`)
      expect(`${title}.txt`).toBe(basename(name))
    }
    expect(ran.paths).toContain(
      '/documents/docs%2FR%2526D%2520%25282026%2529%2FGr%25C3%25B6%25C3%259Fe%252C%2520neu.txt',
    )
  })

  test('puts no two files into one document: the name that stands for itself wins, the other is named', async () => {
    for (const files of [
      { 'a b.txt': '1', 'a%20b.txt': '2' },
      { 'x%20y/1 2.txt': '2', 'x y/1 2.txt': '1' },
    ]) {
      const ran = await ingest(files)
      expect(ran).toMatchObject({ code: 1, sent: [expect.anything()] })
      expect(ran.stderr).toMatch(/^failed: (a b|x%20y\/1 2)\.txt: its id \(docs\/\S+\) is that of \S/)
      await rm(folder, { recursive: true })
    }
  })

  test('names a file whose id would be too long, and refuses a prefix that no id begins with at once', async () => {
    const ran = await ingest({ [`${'ü'.repeat(40)}.txt`]: 'x', 'b.txt': 'y' })
    expect(ran).toMatchObject({ code: 1, sent: [{ id: 'docs/b.txt' }] })
    expect(ran.stderr).toContain('its id would have 249 characters, more than 200')
    const prefixed = await ingest({}, { more: ['--prefix', 'my docs/'] })
    expect(prefixed).toMatchObject({ code: 1, sent: [], stderr: expect.stringContaining('--prefix') })
    expect(prefixed.stderr).not.toContain('b.txt')
  })

  test('goes on where the service is restarted under it, and says so once', async () => {
    const down = new Set([5, 6, 7, 8, 9])
    const ran = await ingest(many(12), {
      put: (nth) => {
        if (down.has(nth)) throw refused()
      },
    })
    expect(ran).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('12 of 12 files are in docs, 0 failed, 0 skipped.'),
    })
    expect(ran.stderr.match(/Trying again/g)).toHaveLength(1)
    expect(new Set(ran.sent.map(({ id }) => id)).size).toBe(12)
  })

  test('gives up after two minutes, with the count of what is in and why', async () => {
    let now = 0
    const ran = await ingest(many(9), {
      now: () => now,
      put: (nth) => {
        if (nth <= 4) return
        now += 50_000
        throw refused()
      },
    })
    expect(ran).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('4 of 9 files are in docs, 0 failed, 5 not sent, 0 skipped.'),
    })
    expect(ran.stderr).toContain('ECONNREFUSED')
  })

  test('does not wait for a service that never answered', async () => {
    const ran = await ingest(many(9), {
      put: () => {
        throw refused()
      },
    })
    expect(ran).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^The service does not answer \(connect ECONNREFUSED\).*\n$/),
    })
  })

  test('says at Ctrl-C how many are in, and waits for none of the others', async () => {
    const stop = new AbortController()
    const ran = await ingest(many(9), {
      stopping: stop.signal,
      put: (nth) => {
        if (nth <= 4) return
        stop.abort()
        return new Promise(() => undefined)
      },
    })
    expect(ran.code).toBe(1)
    expect(ran.stderr).toMatch(
      /^\d of 9 files are in docs, 0 failed, \d not sent, 0 skipped\.\nStopped\. Run it again to go on/,
    )
  })

  test('tells how far it is where stderr is no terminal, every five seconds', async () => {
    let now = 0
    const ran = await ingest(many(10), {
      now: () => now,
      put: () => {
        now += 2_000
      },
    })
    const lines = ran.stderr.match(/^\d+ of 10: \d\.txt$/gm) ?? []
    expect(lines.length).toBeGreaterThan(1)
    expect(lines.length).toBeLessThan(6)
  })

  test('gives a PDF the title that it says, and the file’s name where it cannot be read', async () => {
    const catalog = ['<< /Type /Catalog /Pages 2 0 R >>', '<< /Type /Pages /Kids [] /Count 0 >>']
    const policy = pdf([...catalog, '<< /Title (Travel policy) >>'], '/Info 3 0 R').toString('latin1')
    const { sent } = await ingest({ 'a.pdf': policy, 'b.pdf': 'no' })
    expect(sent.map(({ title }) => title)).toEqual(['Travel policy', 'b'])
  })

  test('names a file of more than 50 MB, which it does not send, and sends the others', async () => {
    await writeFile(join(folder, 'huge.md'), '')
    await truncate(join(folder, 'huge.md'), 50_000_001)
    const { sent, stderr } = await ingest({ 'a.md': 'A' })
    expect(sent.map(({ id }) => id)).toEqual(['docs/a.md'])
    expect(stderr).toContain('failed: huge.md: it cannot be read (it has more than 50000000 bytes).')
  })

  test('counts what was unchanged, and does not name it', async () => {
    const ran = await ingest(many(3), { notes: [{ code: 'unchanged', detail: 'Nothing was done.' }] })
    expect(ran.stderr).toBe('3 of 3 files are in docs (3 unchanged), 0 failed, 0 skipped.\n')
  })

  test('counts what changed in title, address or access alone: an option may have been forgotten', async () => {
    const ran = await ingest(many(3), { notes: [{ code: 'same_content', detail: 'Only its address.' }] })
    expect(ran.stderr).toBe(
      '3 of 3 files are in docs, 0 failed, 0 skipped.\nOf 3 documents only title, address or access changed. Each run sets readers and --base-url anew: it takes away what it does not name.\n',
    )
  })
})
