import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBatchQueue, type Waiting } from '../../src/embed/batch-queue.ts'
import { type Embedder, EmbeddingError } from '../../src/embed/embedder.ts'
import { createLocalEmbedder, eachAloneAtWorst, takeAlike } from '../../src/embed/local.ts'
import { readTokens, type Tokens } from '../../src/embed/tokens.ts'
import { localModel } from '../support/model.ts'
import fc from '../support/properties.ts'

const cosine = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, value, index) => sum + value * (b[index] ?? Number.NaN), 0)

describe.skipIf(!localModel.available)('local embedder', () => {
  let embedder: Embedder
  let tokens: Tokens
  const folder = localModel.available ? localModel.folder : ''
  const model = localModel.available ? localModel.model : ''

  beforeAll(async () => {
    tokens = readTokens(folder)
    embedder = await createLocalEmbedder({ folder, model })
  })
  afterAll(() => embedder[Symbol.asyncDispose]())

  test('says its name, its size and what it reads', () => {
    expect(embedder).toMatchObject({ model, dimensions: 384, tokensMax: 256 })
    expect(model).toMatch(/^all-MiniLM-L6-v2-int8@[0-9a-f]{8}$/)
  })

  test('gives the similarities that the model card of all-MiniLM-L6-v2 publishes, within what int8 costs', async () => {
    const [lovely, sunny, stadium] = await embedder.embedPassages([
      'The weather is lovely today.',
      "It's so sunny outside!",
      'He drove to the stadium.',
    ])
    expect(cosine(lovely as Float32Array, sunny as Float32Array)).toBeCloseTo(0.666, 1)
    expect(cosine(lovely as Float32Array, stadium as Float32Array)).toBeCloseTo(0.1046, 1)
    expect(cosine(sunny as Float32Array, stadium as Float32Array)).toBeCloseTo(0.1411, 1)
    expect(cosine(lovely as Float32Array, lovely as Float32Array)).toBeCloseTo(1, 5)
  })

  test('gives a text the same vector alone and beside a longer one, in the order asked', async () => {
    const texts = ['short', `a much longer text ${'about travel costs and hotels '.repeat(5)}`, 'other', '']
    const together = await embedder.embedPassages(texts)
    expect(together).toHaveLength(4)
    for (const [index, text] of texts.entries()) {
      // Dynamic int8 scales by the whole batch, so that neighbours move a vector a little: never far.
      expect(cosine(together[index] as Float32Array, await embedder.embedQuery(text))).toBeGreaterThan(0.97)
    }
  })

  test('reads to 256 tokens, not to the 128 of the tokenizer file, and not further', async () => {
    const words = (count: number, word: string) => `${word} `.repeat(count)
    const [to100, to200, to254, to300] = await embedder.embedPassages([
      words(100, 'travel'),
      words(100, 'travel') + words(100, 'poison'),
      words(100, 'travel') + words(154, 'poison'),
      words(100, 'travel') + words(154, 'poison') + words(46, 'music'),
    ])
    expect(cosine(to100 as Float32Array, to200 as Float32Array)).toBeLessThan(0.95)
    expect(cosine(to254 as Float32Array, to300 as Float32Array)).toBeGreaterThan(0.999)
  })

  test('counts tokens as the tokenizer itself does, for any text', () => {
    const odd = fc.constantFrom(
      '[SEP]',
      '[MASK]x',
      'naïve',
      '漢字',
      '中x\u0301文é字かな漢',
      'a\u000bb',
      '\u00a0',
      'x'.repeat(120),
      'foo_bar',
      'ﬁ',
      '🙂',
    )
    const text = fc
      .array(fc.oneof(fc.string({ unit: 'binary' }), fc.string(), odd))
      .map((parts) => parts.join(' '))
    fc.assert(
      fc.property(text, (value) => {
        expect(embedder.countTokens(value)).toBe(tokens.encode(value, 1_000_000).length)
      }),
    )
  })

  test('counts no passage in the thread of the caller that has counted elsewhere', async () => {
    const texts = ['one', 'two', 'three', 'four']
    const done: number[] = []
    const counted: string[] = []
    const vectors = await embedder.embedPassages(texts, {
      onProgress: (count) => done.push(count),
      // As if each filled a batch.
      countTokens: (text) => counted.push(text) + 1_000,
    })
    expect(counted).toEqual(texts)
    expect(done).toEqual([1, 2, 3, 4])
    expect(vectors).toHaveLength(4)
  })

  test('answers a query ahead of the passages that wait', async () => {
    const passages = Array.from(
      { length: 40 },
      (_, index) => `Passage ${index} ${'is about roads '.repeat(50)}`,
    )
    const done: number[] = []
    const all = embedder.embedPassages(passages, { onProgress: (count) => done.push(count) })
    await embedder.embedQuery('roads')
    expect(done.length).toBeLessThan(5)
    expect(await all).toHaveLength(40)
    expect(done.at(-1)).toBe(40)
  })

  test('stops waiting passages when aborted, with the reason given, and goes on serving', async () => {
    const stop = new AbortController()
    const passages = Array.from({ length: 40 }, () => 'is about roads '.repeat(60))
    const all = embedder.embedPassages(passages, { signal: stop.signal })
    stop.abort(new Error('changed my mind'))
    await expect(all).rejects.toThrow('changed my mind')
    await expect(embedder.embedQuery('x', { signal: AbortSignal.abort(new Error('late')) })).rejects.toThrow(
      'late',
    )
    expect(await embedder.embedQuery('roads')).toHaveLength(384)
  })

  test('rejects what waits when it is closed, and everything after', async () => {
    const short = await createLocalEmbedder({ folder, model, threads: 2 })
    const waiting = short.embedPassages(Array.from({ length: 20 }, () => 'is about roads '.repeat(60)))
    const rejected = expect(waiting).rejects.toMatchObject({ code: 'closed' })
    await short[Symbol.asyncDispose]()
    await rejected
    await expect(short.embedQuery('x')).rejects.toMatchObject({ code: 'closed' })
    await short[Symbol.asyncDispose]()
  })

  test('lets the process end, closed or forgotten', async () => {
    const script = (close: boolean) => `
      const { createLocalEmbedder } = await import(${JSON.stringify(new URL('../../src/embed/local.ts', import.meta.url).href)})
      const embedder = await createLocalEmbedder(${JSON.stringify({ folder, model })})
      await embedder.embedPassages(['a', 'b'])
      ${close ? 'await embedder[Symbol.asyncDispose]()' : ''}
      console.log('ended')`
    for (const close of [true, false]) {
      const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script(close)], {
        timeout: 20_000,
      })
      expect(await run).toEqual({ stdout: 'ended\n', stderr: '' })
    }
  }, 40_000)
})

test('refuses a folder whose model cannot be loaded, and leaves no thread behind', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'remit-model-'))
  const vocab = { '[PAD]': 0, '[UNK]': 1, '[CLS]': 2, '[SEP]': 3 }
  await writeFile(
    join(folder, 'tokenizer.json'),
    JSON.stringify({
      model: { type: 'WordPiece', vocab, unk_token: '[UNK]', continuing_subword_prefix: '##' },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      normalizer: null,
      post_processor: null,
      decoder: null,
      added_tokens: [],
    }),
  )
  await writeFile(join(folder, 'model.onnx'), 'not a model')
  await expect(createLocalEmbedder({ folder, model: 'm' })).rejects.toMatchObject({ code: 'unavailable' })
  await rm(folder, { recursive: true })
})

const waiting = (tokens: number): Waiting => ({ text: '', tokens, bytes: 0 })

test('batches of several callers hold every text once, of like length, in few tokens, unless one alone has more', () => {
  const lengths = fc.array(fc.array(fc.integer({ min: 2, max: 256 })), { maxLength: 8 })
  fc.assert(
    fc.property(lengths, (callers) => {
      let lines = callers.map((line) => line.map(waiting).sort((a, b) => b.tokens - a.tokens))
      lines = lines.filter((line) => line.length > 0)
      const all = new Set(lines.flat())
      while (lines.length > 0) {
        const [next] = lines[0] as [Waiting]
        const { items } = takeAlike(lines)
        // Whoever is next in turn gets on: nobody waits for ever behind shorter ones.
        expect(items).toContain(next)
        for (const { tokens } of items) expect(2 * tokens).toBeGreaterThanOrEqual(next.tokens)
        const width = Math.max(...items.map(({ tokens }) => tokens))
        expect(items.length === 1 || (width * items.length <= 256 && items.length <= 16)).toBe(true)
        for (const item of items) expect(all.delete(item)).toBe(true)
        const [first = [], ...others] = lines
        lines = [...others, first].map((line) => line.filter((item) => !items.includes(item)))
        lines = lines.filter((line) => line.length > 0)
      }
      expect(all.size).toBe(0)
    }),
  )
})

test('one long passage does not wait behind another caller’s many short ones', async () => {
  const ended: string[] = []
  const queue = createBatchQueue({
    atOnce: 1,
    take: takeAlike,
    isLongestFirst: true,
    tokensMax: 256,
    run: async (texts) => texts.map(() => new Float32Array([1])),
  })
  const ask = async (name: string, texts: readonly string[], tokens: number): Promise<void> => {
    await queue.embed(texts, { countTokens: () => tokens })
    ended.push(name)
  }
  const many = Array.from({ length: 100 }, (_, index) => `short ${index}`)
  await Promise.all([ask('many', many, 20), ask('long', ['long'], 200)])
  expect(ended).toEqual(['long', 'many'])
})

test('a text that the model fails at costs no other its vector', async () => {
  const asked: string[][] = []
  const run = eachAloneAtWorst(async (texts) => {
    asked.push([...texts])
    if (texts.includes('bad')) throw new EmbeddingError('unavailable', 'failed')
    return texts.map(() => new Float32Array([1]))
  })
  const vector = new Float32Array([1])
  const outcomes = await run(['a', 'bad', 'c'], AbortSignal.timeout(60_000))
  expect(outcomes).toEqual([vector, expect.any(EmbeddingError), vector])
  expect(asked).toEqual([['a', 'bad', 'c'], ['a'], ['bad'], ['c']])
  await expect(run(['bad'], AbortSignal.timeout(60_000))).rejects.toMatchObject({ code: 'unavailable' })
})
