import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { mimeTypes, type ParseLimits } from '../../src/ingest/parse/parsed.ts'
import { createParser, type Parser } from '../../src/ingest/parse/parser.ts'
import type { ParseReply } from '../../src/ingest/parse/worker.ts'
import { writeZip } from '../../src/kernel/zip.ts'
import { pdf, pdfPage } from '../support/pdf.ts'
import { deflated, wordDocument } from '../support/zip.ts'

const MIB = 1024 * 1024

async function withParser(
  limits: Partial<ParseLimits>,
  use: (parser: Parser) => Promise<void>,
): Promise<void> {
  await using parser = createParser(limits)
  await use(parser)
}

/** The thread that a hostile document cost is replaced: the next document is read. */
const stillReads = async (parser: Parser): Promise<void> => {
  expect((await parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('fine') })).text).toBe('fine')
}

test('reads a page made here, so that the hostile ones below differ in one thing only', async () => {
  await withParser({}, async (parser) => {
    const bytes = pdfPage(Buffer.from('BT /F1 12 Tf 50 700 Td (Hello there) Tj ET'))
    expect((await parser.parse({ mimeType: mimeTypes.pdf, bytes })).text).toBe('Hello there')
  })
})

test('refuses a PDF whose stream unpacks to more memory than a document may take, and reads on', async () => {
  await withParser({ memoryBytesMax: 96 * MIB }, async (parser) => {
    const bytes = pdfPage(Buffer.alloc(600 * MIB, ' '))
    expect(bytes.length).toBeLessThan(MIB)
    await expect(parser.parse({ mimeType: mimeTypes.pdf, bytes })).rejects.toMatchObject({
      code: 'too_large',
    })
    await stillReads(parser)
  })
})

test('refuses a PDF of a hundred thousand pages', async () => {
  await withParser({}, async (parser) => {
    const bytes = pdf([
      '<< /Type /Catalog /Pages 2 0 R >>',
      `<< /Type /Pages /Kids [${'3 0 R '.repeat(100_000)}] /Count 100000 >>`,
      '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] >>',
    ])
    await expect(parser.parse({ mimeType: mimeTypes.pdf, bytes })).rejects.toMatchObject({
      code: 'too_large',
      detail: 'The PDF has more than 5000 pages.',
    })
  })
})

test('reads a Word document made here', async () => {
  await withParser({}, async (parser) => {
    const bytes = writeZip(wordDocument('<w:p><w:r><w:t>Hello there</w:t></w:r></w:p>'))
    expect((await parser.parse({ mimeType: mimeTypes.docx, bytes })).text).toBe('Hello there')
  })
})

test('refuses a Word document that unpacks to more than it may, even where it lies about its size', async () => {
  await withParser({ unpackedBytesMax: MIB }, async (parser) => {
    const bomb = Buffer.alloc(50 * MIB, ' ')
    for (const declared of [bomb.length, 10]) {
      const bytes = deflated('word/document.xml', bomb, declared)
      expect(bytes.length).toBeLessThan(MIB / 10)
      await expect(parser.parse({ mimeType: mimeTypes.docx, bytes })).rejects.toMatchObject({
        code: 'too_large',
        detail: `The document unpacks to more than ${MIB} bytes.`,
      })
    }
    await stillReads(parser)
  })
})

test('counts all parts of a Word document together', async () => {
  await withParser({ unpackedBytesMax: MIB }, async (parser) => {
    const parts = Array.from({ length: 4 }, (_, index) => ({
      name: `word/part${index}.xml`,
      bytes: Buffer.alloc(MIB / 3),
    }))
    await expect(parser.parse({ mimeType: mimeTypes.docx, bytes: writeZip(parts) })).rejects.toMatchObject({
      code: 'too_large',
    })
  })
})

const slow = { mimeType: mimeTypes.markdown, bytes: Buffer.from('a *b [c](d) '.repeat(500_000)) }

test.each([
  [{ cpuMsMax: 300 }, 'Reading took more than 0.3 s of processor time.'],
  [{ timeoutMs: 300 }, 'Reading took longer than 0.3 s.'],
])(
  'gives up on a document that takes too long, and reads the ones that waited behind it: %o',
  async (limits, detail) => {
    await withParser(limits, async (parser) => {
      await stillReads(parser)
      const late = parser.parse(slow)
      const behind = parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('behind') })
      await expect(late).rejects.toMatchObject({ code: 'timed_out', detail })
      expect((await behind).text).toBe('behind')
    })
  },
)

test('takes a document that takes long by the clock alone, as any does on a busy machine', async () => {
  await withParser({ cpuMsMax: 1_000 }, async (parser) => {
    await stillReads(parser)
    const read = parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('slowly') })
    await new Promise((resolve) => setImmediate(resolve))
    // This thread stands still as if others had the processor: what it looks at the clock by is over, and the
    // answer is not read.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500)
    expect((await read).text).toBe('slowly')
  })
})

test('a thread is left for others by the slow documents of one service, and the time of one is not the time of another', async () => {
  await using parser = createParser({
    threads: 2,
    cpuMsMax: 1_000,
    cutting: { counting: { kind: 'estimate', of: 'characters', perToken: 4, marks: 0 }, tokensMax: 256 },
  })
  const ended: string[] = []
  const read = (source: string, input: { mimeType: string; bytes: Buffer }) =>
    parser.prepare({ ...input, title: source, source }).then(
      () => ended.push(source),
      () => ended.push(`no ${source}`),
    )
  const quick = { mimeType: mimeTypes.plain, bytes: Buffer.from('quick') }
  // Both threads are up.
  await Promise.all([read('d', quick), read('e', quick)])
  ended.length = 0
  await Promise.all([read('a', slow), read('a', quick), read('b', quick), read('c', quick)])
  expect(ended).toEqual(['b', 'c', 'no a', 'a'])
})

test('small documents of a service go before its large one that waits, and others keep their turn', async () => {
  await using parser = createParser({
    cutting: { counting: { kind: 'estimate', of: 'characters', perToken: 4, marks: 0 }, tokensMax: 256 },
  })
  const ended: string[] = []
  const read = (title: string, source: string, bytes: number) =>
    parser
      .prepare({ mimeType: mimeTypes.plain, bytes: Buffer.alloc(bytes, 'word '), title, source })
      .then(() => ended.push(title))
  await Promise.all([
    read('being read', 'a', 10),
    read('large', 'a', 500_000),
    read('of another', 'b', 1_000),
    read('small', 'a', 10),
    read('smaller', 'a', 5),
  ])
  expect(ended).toEqual(['being read', 'smaller', 'of another', 'small', 'large'])
})

test('reads no further what nobody waits for any more, and begins nothing of it', async () => {
  const replies: unknown[] = []
  await using parser = createParser({
    cutting: { counting: { kind: 'estimate', of: 'characters', perToken: 4, marks: 0 }, tokensMax: 256 },
    startWorker: (script, options) => {
      // The first gets ready, and reads for ever.
      const thread =
        replies.length === 0
          ? new Worker(`${ready}; parentPort.on('message', () => undefined)`, { ...options, eval: true })
          : new Worker(script, options)
      thread.on('message', (reply: ParseReply) => replies.push('id' in reply ? reply.id : 'ready'))
      return thread
    },
  })
  const content = { mimeType: mimeTypes.plain, bytes: Buffer.from('x'), title: '', source: 'a' }
  const [reading, waiting] = [new AbortController(), new AbortController()]
  const read = parser.prepare(content, reading.signal)
  const waits = parser.prepare(content, waiting.signal)
  const behind = parser.prepare(content)
  await expect.poll(() => replies).toEqual(['ready'])
  waiting.abort(new Error('taken up elsewhere'))
  await expect(waits).rejects.toThrow('taken up elsewhere')
  reading.abort(new Error('taken up elsewhere'))
  await expect(read).rejects.toThrow('taken up elsewhere')
  expect((await behind).text).toBe('x')
  expect(replies).toEqual(['ready', 'ready', 3])
})
const ready = `const { parentPort } = require('node:worker_threads'); parentPort.postMessage({ ready: true })`

test('refuses a document that fills the heap, and reads on', async () => {
  await withParser({ memoryBytesMax: 48 * MIB }, async (parser) => {
    const bytes = Buffer.from(`[${'{},'.repeat(4_000_000)}{}]`)
    await expect(parser.parse({ mimeType: mimeTypes.json, bytes })).rejects.toMatchObject({
      code: 'too_large',
    })
    await stillReads(parser)
  })
})

test('calls no document bad for a thread that ends before it could be given one', async () => {
  await using parser = createParser({
    startWorker: (_, options) => new Worker('throw Error("ENOMEM")', { ...options, eval: true }),
  })
  const read = parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('fine') })
  await expect(read).rejects.toThrow('No thread that reads documents can start: ENOMEM')
})

test('calls no document bad for a thread that never could be given one, and reads with the next', async () => {
  let started = 0
  const due: (() => void)[] = []
  await using parser = createParser({
    startWorker: (script, options) =>
      started++ === 0
        ? new Worker('setInterval(() => undefined, 1000)', { ...options, eval: true })
        : new Worker(script, options),
    timer: (_, then) => {
      due.push(then)
      return () => undefined
    },
  })
  const read = parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('fine') })
  due[0]?.()
  await expect(read).rejects.toThrow('No thread that reads documents can start: it took longer than 60 s')
  await stillReads(parser)
})

test('calls no document bad for a thread that the system does not give, and reads once it does', async () => {
  let refused = 0
  await using parser = createParser({
    startWorker: (script, options) => {
      if (refused++ === 0) throw Object.assign(new Error('EAGAIN'), { code: 'ERR_WORKER_INIT_FAILED' })
      return new Worker(script, options)
    },
  })
  const read = parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('fine') })
  await expect(read).rejects.toThrow('No thread that reads documents can start: EAGAIN')
  await stillReads(parser)
})

test('rejects what it still has when it is closed', async () => {
  const parser = createParser()
  const waiting = [1, 2].map(() =>
    expect(parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('x') })).rejects.toThrow('closed'),
  )
  await parser[Symbol.asyncDispose]()
  await Promise.all(waiting)
  await expect(parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('x') })).rejects.toThrow('closed')
})

test('keeps no thread in which a document was given up: a library may still be at other parts of it', async () => {
  let started = 0
  const count = (): void => {
    started += 1
  }
  process.on('worker', count)
  try {
    await withParser({}, async (parser) => {
      await stillReads(parser)
      await stillReads(parser)
      expect(started).toBe(1)
      const broken = { mimeType: mimeTypes.docx, bytes: Buffer.from('no archive') }
      await expect(parser.parse(broken)).rejects.toMatchObject({ code: 'unreadable' })
      await stillReads(parser)
      expect(started).toBe(2)
    })
  } finally {
    process.off('worker', count)
  }
})
