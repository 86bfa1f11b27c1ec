import { describe, expect, test } from 'vitest'
import { readTokens } from '../../src/embed/tokens.ts'
import { type Chunk, type ChunkOptions, chunk } from '../../src/ingest/chunk.ts'
import { parseMarkdown } from '../../src/ingest/parse/document.ts'
import type { Block, Parsed } from '../../src/ingest/parse/parsed.ts'
import { parseJson, parsePlain } from '../../src/ingest/parse/text.ts'
import { localModel } from '../support/model.ts'
import fc from '../support/properties.ts'

/** One token a word, and two marks: sizes that a reader can check by eye. */
const countWords = (text: string): number => (text.match(/\S+/g)?.length ?? 0) + 2
const options: ChunkOptions = { countTokens: countWords, tokensMax: 42, overlapTokens: 8 }

/** As the estimate for remote models: white space counts too. */
const countBytes = (text: string): number => Math.ceil(Buffer.byteLength(text) / 3) + 2
/** More for a word than for its parts, which real tokenizers can do where a text is cut inside a word. */
const countSuperadditive = (text: string): number =>
  (text.match(/\S+/g) ?? []).reduce((sum, word) => sum + Math.ceil(word.length ** 1.3 / 4), 2)

const sentences = (count: number, words = 8): string =>
  Array.from({ length: count }, (_, index) => `${`S${index} ${'word '.repeat(words - 1)}`.trim()}.`).join(' ')
const texts = (chunks: readonly Chunk[]): string[] => chunks.map(({ text }) => text)

const markdownPiece = fc.oneof(
  fc.constantFrom(
    '# One\n',
    '## Two\n',
    '### Three\n',
    '\n',
    '\n\n',
    '- item\n',
    '```\n',
    '| a | b |\n|---|---|\n',
    '| x | y |\n',
    '---\n',
  ),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.lorem({ maxCount: 30 }),
  fc.constantFrom('x'.repeat(3000), '漢字'.repeat(300), '🙂'.repeat(200), ' '.repeat(500)),
)
const markdown = fc
  .array(markdownPiece, { maxLength: 40 })
  .map((pieces) => parseMarkdown(pieces.join('').toWellFormed()))

/** Blocks as no parser of ours would give them: with gaps, empty, out of the text. */
const anyBlocks = fc
  .record({
    text: fc.lorem({ mode: 'sentences', maxCount: 12 }),
    cuts: fc.array(
      fc.tuple(
        fc.nat(400),
        fc.nat(120),
        fc.constantFrom<Block['kind']>('heading', 'paragraph', 'code', 'table', 'list'),
      ),
    ),
  })
  .map(({ text, cuts }): Parsed => {
    const blocks = cuts.map(([start, length, kind]) => ({
      kind,
      start,
      end: start + length,
      title: 'T',
      level: 1 + (length % 3),
    }))
    return { text, blocks: blocks.sort((a, b) => a.start - b.start) }
  })

const anyOptions = fc.record({
  countTokens: fc.constantFrom(countWords, countBytes, countSuperadditive),
  tokensMax: fc.integer({ min: 24, max: 256 }),
  overlapTokens: fc.nat(40),
  title: fc.constantFrom('', 'Travel', 'a very long title '.repeat(30)),
})

describe('whatever the document and the size', () => {
  const check = (verify: (parsed: Parsed, chunks: readonly Chunk[], given: ChunkOptions) => void) =>
    fc.assert(
      fc.property(fc.oneof(markdown, anyBlocks), anyOptions, (parsed, given) =>
        verify(parsed, chunk(parsed, given), given),
      ),
      { numRuns: 300 },
    )

  test('no passage has more tokens than the model reads, and each says how many it has', () => {
    check((_, chunks, { countTokens, tokensMax }) => {
      for (const { embedText, tokens } of chunks) {
        expect(countTokens(embedText)).toBe(tokens)
        expect(tokens).toBeLessThanOrEqual(tokensMax)
      }
      expect(chunks.every(({ text }) => text.length <= tokensMax * 8)).toBe(true)
    })
  })

  test('a passage is a verbatim slice of the text, and its embedded text ends with it', () => {
    check((parsed, chunks) => {
      for (const { text, start, end, embedText } of chunks) {
        expect(text).toBe(parsed.text.slice(start, end))
        expect(embedText.endsWith(text)).toBe(true)
      }
      expect(chunks.map(({ ordinal }) => ordinal)).toEqual([...chunks.keys()])
    })
  })

  test('every character but white space is in a passage', () => {
    check((parsed, chunks) => {
      const rest = [...parsed.text.matchAll(/\S/g)].filter(
        ({ index }) => !chunks.some(({ start, end }) => start <= index && index < end),
      )
      expect(rest).toEqual([])
    })
  })

  test('no passage begins or ends inside a character, nor is one blank', () => {
    check((_, chunks) => {
      expect(chunks.every(({ text }) => text.isWellFormed() && text.trim() !== '')).toBe(true)
    })
  })

  test('passages go forward, and the same document gives the same ones', () => {
    check((parsed, chunks, given) => {
      for (const [index, { start, end }] of chunks.entries()) {
        expect(start).toBeGreaterThan(chunks[index - 1]?.start ?? -1)
        expect(end).toBeGreaterThan(chunks[index - 1]?.end ?? -1)
      }
      expect(chunk(parsed, given)).toEqual(chunks)
    })
  })
})

describe('structure', () => {
  test('a document without words has no passage', () => {
    expect(chunk(parsePlain(' \n\n\t '), options)).toEqual([])
    expect(chunk(parsePlain(''), options)).toEqual([])
  })

  test('a large part begins a passage with its heading and keeps the path to it', () => {
    const text = `# Handbook\n\n${sentences(4)}\n\n## Travel\n\n${sentences(7)}\n\n# Other\n\n${sentences(3)}`
    const chunks = chunk(parseMarkdown(text), { ...options, title: 'Doc' })
    expect(texts(chunks).map((part) => part.split(' ').slice(0, 3).join(' '))).toEqual([
      '# Handbook\n\nS0 word',
      '## Travel\n\nS0 word',
      'S3 word word',
      '# Other\n\nS0 word',
    ])
    expect(chunks.map(({ headings }) => headings)).toEqual([
      ['Handbook'],
      ['Handbook', 'Travel'],
      ['Handbook', 'Travel'],
      ['Other'],
    ])
    expect(chunks.map(({ embedText }) => embedText.split('\n')[0])).toEqual([
      'Doc',
      'Doc > Handbook',
      'Doc > Handbook > Travel',
      'Doc',
    ])
  })

  test('small parts share a passage, under the headings that all of it has', () => {
    const text = `# Words\n\n${Array.from({ length: 20 }, (_, index) => `## W${index}\n\nmeans ${index}\n`).join('\n')}`
    const chunks = chunk(parseMarkdown(text), options)
    expect(chunks.length).toBeLessThanOrEqual(5)
    expect(chunks.map(({ headings }) => headings)).toEqual(chunks.map(() => ['Words']))
  })

  test('a heading never ends a passage while its part begins the next', () => {
    const text = Array.from(
      { length: 12 },
      (_, index) => `## H${index}\n\n${sentences(1 + (index % 4))}`,
    ).join('\n\n')
    for (const { text: part } of chunk(parseMarkdown(text), options)) expect(part).not.toMatch(/## H\d+$/)
  })

  test('code that fits stays whole, code that does not is split between lines', () => {
    const code = (lines: number) =>
      `\`\`\`\n${Array.from({ length: lines }, (_, index) => `line ${index} of code`).join('\n')}\n\`\`\``
    const short = chunk(parseMarkdown(`${sentences(3)}\n\n${code(7)}\n\n${sentences(2)}`), options)
    expect(texts(short).some((part) => part.includes(code(7)))).toBe(true)
    const long = chunk(parseMarkdown(code(30)), options)
    expect(long.length).toBeGreaterThan(2)
    expect(texts(long).join('\n')).toBe(code(30))
  })

  test('a split table repeats its head for the model, not in the text', () => {
    const rows = Array.from({ length: 30 }, (_, index) => `| city ${index} | ${index} euros |`)
    const chunks = chunk(parseMarkdown(`| City | Price |\n| --- | --- |\n${rows.join('\n')}`), options)
    expect(chunks.length).toBeGreaterThan(3)
    for (const { text, embedText } of chunks.slice(1)) {
      expect(text).toMatch(/^\| city/)
      expect(embedText.startsWith('| City | Price |\n| --- | --- |\n| city')).toBe(true)
    }
    expect(texts(chunks).join('\n').split('\n')).toHaveLength(32)
  })

  test('prose repeats the end of one passage at the start of the next, within the same part only', () => {
    const text = `${sentences(12)}\n\n# Next\n\n${sentences(12)}`
    const chunks = chunk(parseMarkdown(text), options)
    const repeated = chunks.slice(1).map(({ start }, index) => Math.max(0, (chunks[index]?.end ?? 0) - start))
    const next = chunks.findIndex((part) => part.text.startsWith('# Next'))
    expect(repeated[next - 1]).toBe(0)
    expect(repeated.filter((_, index) => index !== next - 1).every((length) => length > 0)).toBe(true)
    const none = chunk(parseMarkdown(text), { ...options, overlapTokens: 0 })
    expect(none.slice(1).every(({ start }, index) => start >= (none[index]?.end ?? 0))).toBe(true)
  })

  test('a passage names the page on which it starts', () => {
    const [one, two] = [sentences(4), sentences(4)]
    const parsed: Parsed = {
      text: `${one}\n\n${two}`,
      blocks: [
        { kind: 'paragraph', start: 0, end: one.length, page: 1 },
        { kind: 'paragraph', start: one.length + 2, end: one.length + 2 + two.length, page: 2 },
      ],
    }
    expect(chunk(parsed, options).map(({ page, text }) => [page, text])).toEqual([
      [1, one],
      [2, two],
    ])
  })
})

describe('headings, which each passage carries', () => {
  /** Six headings of 200 characters above so many paragraphs. */
  const under = (paragraphs: number): Parsed => {
    const heads = Array.from({ length: 6 }, (_, level) => `${'#'.repeat(level + 1)} ${'h'.repeat(200)}\n\n`)
    return parseMarkdown(`${heads.join('')}${`${'word '.repeat(40)}\n\n`.repeat(paragraphs)}`)
  }

  test('are refused where their copies come to more than twice the text and a million characters', () => {
    expect(() => chunk(under(1_000), options)).toThrow(
      expect.objectContaining({ name: 'ParseError', code: 'too_large' }),
    )
  })

  test('are kept whole in a document of a few hundred passages', () => {
    const chunks = chunk(under(500), options)
    expect(chunks.at(-1)?.headings).toEqual(Array.from({ length: 6 }, () => 'h'.repeat(200)))
  })
})

describe('text without white space', () => {
  /** How often each character is counted on average. */
  const countedOf = (text: string): number => {
    let counted = 0
    const countTokens = (part: string): number => {
      counted += part.length
      return Math.ceil(part.length / 4) + 2
    }
    chunk({ text, blocks: [] }, { countTokens, tokensMax: 256, overlapTokens: 32 })
    return counted / text.length
  }

  test.each([
    ['a word', 'x'.repeat(1_000_000)],
    ['a code block of one line', `\`\`\`\n${'x=1;'.repeat(250_000)}\n\`\`\``],
    ['ideographs', '漢字'.repeat(500_000)],
    ['emoji', '🙂'.repeat(500_000)],
    ['one word after a sentence', `Here it is. ${'x'.repeat(1_000_000)}`],
  ])('is counted a few times, however long it is: %s', (_, text) => {
    expect(countedOf(text)).toBeLessThan(8)
  })
})

test.skipIf(!localModel.available)(
  'with the tokens of the real model, passages fit and are well filled',
  () => {
    const tokens = readTokens(localModel.available ? localModel.folder : '')
    const part = (index: number) =>
      `## Part ${index}\n\nReceipts, per diem rates and visa-free travel (v1.${index}): ${sentences(20)}`
    const text = Array.from({ length: 30 }, (_, index) => part(index)).join('\n\n')
    const chunks = chunk(parseMarkdown(text), {
      countTokens: tokens.count,
      tokensMax: 256,
      overlapTokens: 32,
      title: 'Travel',
    })
    const sizes = chunks.map(({ embedText }) => tokens.encode(embedText, 10_000).length)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(256)
    expect(sizes.reduce((sum, size) => sum + size, 0) / sizes.length).toBeGreaterThan(128)
  },
)

describe('cutting JSON', () => {
  const list = (count: number, of: (index: number) => string): string =>
    `[${Array.from({ length: count }, (_, index) => of(index)).join()}]`
  /** How many characters are counted for each that the document has. */
  function workOf(parsed: Parsed): number {
    let characters = 0
    const countTokens = (part: string): number => {
      characters += part.length
      return countBytes(part)
    }
    chunk(parsed, { ...options, tokensMax: 256, countTokens })
    return characters / parsed.text.length
  }
  const prose = (length: number): Parsed => parsePlain(sentences(Math.ceil(length / 40)).slice(0, length))

  test.each<[string, (index: number) => string]>([
    ['numbers', (index) => String(index)],
    ['nothings', () => '{}'],
    ['records', (index) => `{"id":${index},"name":"n${index}","tags":["a","b"]}`],
    ['long strings', (index) => `"${`word ${index} `.repeat(200)}"`],
    ['one without a space', (index) => `"${String(index).repeat(2_000)}"`],
  ])(
    'takes no more than two and a half times the counting of prose of its length, and no more a letter where it is long: %s',
    (_, of) => {
      const [small, large] = [5_000, 40_000].map((length) =>
        parseJson(list(Math.ceil(length / of(100).length), of)),
      ) as [Parsed, Parsed]
      expect(workOf(large)).toBeLessThan(2.5 * workOf(prose(large.text.length)))
      expect(workOf(large)).toBeLessThan(1.2 * workOf(small))
    },
  )

  test('that says the same again and again leaves few texts to embed', () => {
    const parsed = parseJson(list(50_000, () => '0'))
    const chunks = chunk(parsed, { ...options, tokensMax: 256, countTokens: countBytes })
    expect(chunks.length).toBeGreaterThan(300)
    expect(new Set(chunks.map(({ embedText }) => embedText)).size).toBeLessThan(6)
  })
})
