import { readFile } from 'node:fs/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { parseDocument } from '../../src/ingest/parse/document.ts'
import {
  mimeTypes,
  type Parsed,
  ParseError,
  type ParseLimits,
  parseLimitsDefault,
  supportedMimeTypes,
} from '../../src/ingest/parse/parsed.ts'
import { createParser } from '../../src/ingest/parse/parser.ts'
import fc from '../support/properties.ts'

const parser = createParser()
afterAll(() => parser[Symbol.asyncDispose]())

const fixture = (name: string): Promise<Buffer> =>
  readFile(new URL(`../fixtures/documents/${name}`, import.meta.url))
const parse = (
  mimeType: string,
  content: string | Uint8Array,
  limits: Partial<ParseLimits> = {},
): Promise<Parsed> =>
  parseDocument({ mimeType, bytes: Buffer.from(content) }, { ...parseLimitsDefault, ...limits })
/** Kind and text of every block. */
const outline = ({ text, blocks }: Parsed) =>
  blocks.map(({ kind, start, end }) => [kind, text.slice(start, end)])

describe('every format', () => {
  test.each([
    [mimeTypes.markdown, (title: string) => `# ${title}\n\ntext`],
    [mimeTypes.html, (title: string) => `<h1>${title}</h1><p>text`],
  ])(
    'cuts a heading of a megabyte at a whole character, where blocks are made: %s',
    async (type, written) => {
      const { text, blocks } = await parse(type, written(`${'x'.repeat(199)}🙂${' word'.repeat(200_000)}`))
      expect(blocks[0]).toMatchObject({ kind: 'heading', title: 'x'.repeat(199) })
      expect(text.length).toBeGreaterThan(1_000_000)
    },
  )

  test('has blocks in order, inside the text, that do not overlap', async () => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom(
        '# A\n',
        '\n\n',
        '- b\n',
        '|a|b|\n|-|-|\n|1|2|\n',
        '---\nx: 1\n---\n',
        '<table><tr><td>1',
        '<p>',
        '<pre>\n',
        '<ul><li>',
        '</ul>',
        '<b>',
        '&#0;',
        '\0',
        '<h2>',
      ),
    )
    const document = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('').toWellFormed())
    await fc.assert(
      fc.asyncProperty(
        document,
        fc.constantFrom(mimeTypes.markdown, mimeTypes.plain, mimeTypes.html),
        async (content, mimeType) => {
          const { text, blocks } = await parse(mimeType, content)
          for (const [index, { start, end }] of blocks.entries()) {
            expect(start).toBeGreaterThanOrEqual(blocks[index - 1]?.end ?? 0)
            expect(end).toBeGreaterThan(start)
          }
          expect(blocks.at(-1)?.end ?? 0).toBeLessThanOrEqual(text.length)
          expect(text.isWellFormed() && !text.includes('\0')).toBe(true)
        },
      ),
    )
  })

  test('is named by its media type, with parameters and in any case, and no other is taken', async () => {
    expect(supportedMimeTypes).toHaveLength(6)
    expect((await parse('Text/Plain; charset=ISO-8859-1', Buffer.from([0x5a, 0xfc]))).text).toBe('Zü')
    for (const mimeType of ['image/png', 'text/html2', '', 'text/plain; charset=klingon']) {
      await expect(parse(mimeType, 'x')).rejects.toMatchObject({ code: 'unsupported_media_type' })
      await expect(parser.parse({ mimeType, bytes: Buffer.from('x') })).rejects.toBeInstanceOf(ParseError)
    }
  })

  test('refuses bytes that are not text rather than storing marks of replacement', async () => {
    await expect(parse(mimeTypes.plain, Buffer.from([0x61, 0xff]))).rejects.toMatchObject({
      code: 'unreadable',
    })
  })

  test('replaces NUL and lone surrogates one for one, so that offsets hold', async () => {
    expect(await parse(mimeTypes.plain, 'a\0b')).toEqual({
      text: 'a\uFFFDb',
      blocks: [{ kind: 'paragraph', start: 0, end: 3 }],
    })
    expect((await parse(mimeTypes.json, '{"a":"x\\ud800y\\u0000"}')).text).toBe(
      '{\n  "a": "x\\ud800y\\u0000"\n}',
    )
    expect((await parse(mimeTypes.html, '<p>a&#xD800;b')).text).toBe('a\uFFFDb')
  })

  test('refuses what is too large, before and after reading', async () => {
    await expect(parse(mimeTypes.plain, 'abcdef', { bytesMax: 5 })).rejects.toMatchObject({
      code: 'too_large',
    })
    for (const [mimeType, content] of [
      [mimeTypes.plain, 'abcdef'],
      [mimeTypes.html, '<p>abcdef'],
      [mimeTypes.markdown, 'abcdef'],
      [mimeTypes.json, '[1,2,3]'],
      [mimeTypes.docx, await fixture('onboarding.docx')],
      [mimeTypes.pdf, await fixture('travel.pdf')],
    ] as const) {
      await expect(parse(mimeType, content, { charactersMax: 5 })).rejects.toMatchObject({
        code: 'too_large',
      })
    }
  })
})

describe('markdown', () => {
  test('stays the text, with headings, code, lists and tables told apart', async () => {
    const content =
      '# Travel *policy* `v2`\n\nBy **train**.\n\n```sh\n# no heading\n```\n\n- a\n  - b\n\n| A | B |\n| - | - |\n| 1 | 2 |\n'
    const parsed = await parse(mimeTypes.markdown, content)
    expect(parsed.text).toBe(content)
    expect(outline(parsed)).toEqual([
      ['heading', '# Travel *policy* `v2`'],
      ['paragraph', 'By **train**.'],
      ['code', '```sh\n# no heading\n```'],
      ['list', '- a\n  - b'],
      ['table', '| A | B |\n| - | - |\n| 1 | 2 |'],
    ])
    expect(parsed.blocks[0]).toMatchObject({ level: 1, title: 'Travel policy v2' })
    const table = parsed.blocks.at(-1)
    expect(parsed.text.slice(table?.headerEnd, table?.end)).toBe('| 1 | 2 |')
  })

  test('leaves front matter out of the text, where there is any other', async () => {
    const parsed = await parse(mimeTypes.markdown, '---\ntitle: x\n---\n# Real\n')
    expect(parsed.text).toBe('\n# Real\n')
    expect(outline(parsed)).toEqual([['heading', '# Real']])
    expect(outline(await parse(mimeTypes.markdown, '---\ntitle: x\n---\n'))).toEqual([
      ['code', '---\ntitle: x\n---'],
    ])
    expect(outline(await parse(mimeTypes.markdown, 'Title\n---\nx'))[0]).toEqual(['heading', 'Title\n---'])
  })
})

test('the ways to other pages that a page repeats are not read, unless it has nothing else', async () => {
  const ways = [
    '<nav><a>Home</a></nav>',
    '<div role="navigation"><ul><li>Prev</li></ul></div>',
    '<div class="x navheader"><table><tr><td>Prev</td><td>Up</td></tr></table></div>',
    '<div class="navfooter">Next</div>',
  ]
  const page = `<header><h1>LDAP</h1></header>${ways.join('')}<p>text</p><p class="navy">blue</p>`
  expect((await parse(mimeTypes.html, page)).text).toBe('LDAP\n\ntext\n\nblue')
  expect((await parse(mimeTypes.html, ways.join(''))).text).toContain('Home')
})

describe('plain text and JSON', () => {
  test('plain text is cut at empty lines', async () => {
    expect(outline(await parse(mimeTypes.plain, '  one\ntwo  \n \t\nthree\r\n\r\nfour'))).toEqual([
      ['paragraph', 'one\ntwo'],
      ['paragraph', 'three'],
      ['paragraph', 'four'],
    ])
  })

  test('plain text of nine megabytes without an empty line is one paragraph', async () => {
    const text = `${'word '.repeat(1_800_000)}end`
    expect((await parse(mimeTypes.plain, text)).blocks).toEqual([
      { kind: 'paragraph', start: 0, end: text.length },
    ])
  })

  test('JSON is one indented block; what is no JSON is refused', async () => {
    expect(outline(await parse(mimeTypes.json, '{"a":[1]}'))).toEqual([
      ['code', '{\n  "a": [\n    1\n  ]\n}'],
    ])
    await expect(parse(mimeTypes.json, '{"a":')).rejects.toMatchObject({ code: 'unreadable' })
  })

  test('JSON is indented as usual, however odd, but for what lies deeper than sixteen levels', async () => {
    await fc.assert(
      fc.asyncProperty(fc.json({ maxDepth: 8 }), async (json) => {
        const { text } = await parse(mimeTypes.json, json)
        expect(text).toBe(JSON.stringify(JSON.parse(json), null, 2))
      }),
    )
    const deep = `${'[1,'.repeat(17)}{"a":1}${']'.repeat(17)}`
    const { text } = await parse(mimeTypes.json, deep)
    expect(text).toContain(`\n${' '.repeat(32)}[1,{"a":1}]\n`)
    expect(JSON.parse(text)).toEqual(JSON.parse(deep))
  })

  test.each([
    ['nested 2,000 deep', `${'['.repeat(2_000)}${']'.repeat(2_000)}`],
    ['of many numbers, sixteen levels deep', `${'['.repeat(16)}${'0,'.repeat(5_000)}0${']'.repeat(16)}`],
    ['of names, nested 500 deep', `${'{"a":'.repeat(500)}1${'}'.repeat(500)}`],
  ])('white space of JSON comes to no more than 17 times its size: %s', async (_, json) => {
    const { text } = await parse(mimeTypes.json, json)
    expect(JSON.parse(text)).toEqual(JSON.parse(json))
    expect(text.length).toBeLessThan(18 * json.length)
  })
})

describe('html', () => {
  test('gives what a reader sees, and its structure', async () => {
    const content = `<!doctype html><head><title>T</title><style>p{}</style></head><body>
      <h1>Travel <em>policy</em></h1><script>alert(1)</script>
      <p>By   train.<br>Second
      class.</p>loose <b>words</b><div><div>deep</div></div>
      <pre>a
  b</pre><ul><li>one<ul><li>inner</li></ul></li><li><p>two</p></li></ul><ol><li>x</li></ol>
      <table><thead><tr><th>City</th><th>Price</th></tr></thead><tbody><tr><td>Bern</td><td>1&nbsp;€</td></tr></tbody></table>
      <img alt="a map"></body>`
    const parsed = await parse(mimeTypes.html, content)
    expect(outline(parsed)).toEqual([
      ['heading', 'Travel policy'],
      ['paragraph', 'By train.\nSecond class.'],
      ['paragraph', 'loose words'],
      ['paragraph', 'deep'],
      ['code', 'a\n  b'],
      ['list', '- one\n  - inner\n- two'],
      ['list', '1. x'],
      ['table', 'City | Price\nBern | 1 €'],
      ['paragraph', 'a map'],
    ])
    const table = parsed.blocks.find(({ kind }) => kind === 'table')
    expect(parsed.text.slice(table?.start, table?.headerEnd)).toBe('City | Price\n')
  })

  test('drops what the page hides', async () => {
    const hidden =
      '<p hidden>h1</p><div style="color:red; display : none">h2</div><template>h3</template><!-- h4 --><noscript>h5</noscript><span style="visibility:hidden">h6</span>'
    expect((await parse(mimeTypes.html, `${hidden}<p>seen</p>`)).text).toBe('seen')
  })

  test('reads the page that a table lays out', async () => {
    expect(
      outline(await parse(mimeTypes.html, '<table><tr><td><h2>A</h2><p>b</p></td></tr></table>')),
    ).toEqual([
      ['heading', 'A'],
      ['paragraph', 'b'],
    ])
  })

  test.each(['<div>', '<ul><li>', '<b>', '<table><tr><td>'])(
    'refuses a hundred thousand %s in each other',
    async (tag) => {
      await expect(
        parser.parse({ mimeType: mimeTypes.html, bytes: Buffer.from(tag.repeat(100_000)) }),
      ).rejects.toMatchObject({
        code: expect.stringMatching(/^(?:unreadable|timed_out)$/),
      })
    },
  )
})

describe('pdf', () => {
  test('gives text, headings by larger letters, and pages', async () => {
    const parsed = await parser.parse({ mimeType: mimeTypes.pdf, bytes: await fixture('travel.pdf') })
    expect(outline(parsed).map(([kind, text]) => [kind, text?.slice(0, 20)])).toEqual([
      ['heading', 'Travel policy'],
      ['heading', 'Booking a train'],
      ['paragraph', 'Journeys under five '],
      ['paragraph', 'Whoever misses a con'],
      ['heading', 'Hotels'],
      ['paragraph', 'A night may cost up '],
    ])
    expect(parsed.blocks.map(({ page, level }) => [page, level])).toEqual([
      [1, 1],
      [1, 2],
      [1, undefined],
      [1, undefined],
      [2, 2],
      [2, undefined],
    ])
    expect(parsed.text).toContain('in Zürich up to 190')
  })

  test('says why it is not taken: a password, damage, no text, too many pages', async () => {
    const bytes = await fixture('travel.pdf')
    const pdf = (content: Uint8Array, limits?: Partial<ParseLimits>) => parse(mimeTypes.pdf, content, limits)
    await expect(pdf(await fixture('locked.pdf'))).rejects.toMatchObject({
      detail: 'The PDF needs a password.',
    })
    await expect(pdf(Buffer.from('%PDF-1.4 nothing'))).rejects.toMatchObject({ code: 'unreadable' })
    await expect(pdf(Buffer.from('<html>'))).rejects.toMatchObject({ code: 'unreadable' })
    await expect(pdf(await fixture('blank.pdf'))).rejects.toMatchObject({
      detail: expect.stringContaining('no text'),
    })
    await expect(pdf(bytes, { pagesMax: 1 })).rejects.toMatchObject({ code: 'too_large' })
    expect(bytes.length).toBeGreaterThan(0)
  })
})

describe('docx', () => {
  test('gives headings by style, lists and tables', async () => {
    const parsed = await parser.parse({ mimeType: mimeTypes.docx, bytes: await fixture('onboarding.docx') })
    expect(outline(parsed)).toEqual([
      ['heading', 'Onboarding'],
      ['paragraph', 'Welcome. Your first week has three parts.'],
      ['heading', 'Before you start'],
      ['list', '- Sign the contract\n- Choose a laptop'],
      ['heading', 'Who helps'],
      ['table', 'Topic | Person\nLaptop | Ines\nPayroll | Tom & Zoë'],
      ['paragraph', 'Ask early, ask often.'],
    ])
    expect(parsed.blocks.map(({ level }) => level).filter((level) => level !== undefined)).toEqual([1, 2, 2])
  })

  test('refuses what is no Word document', async () => {
    for (const content of ['', 'PK', 'not a zip'.repeat(100)]) {
      await expect(parse(mimeTypes.docx, content)).rejects.toMatchObject({ code: 'unreadable' })
    }
  })
})
