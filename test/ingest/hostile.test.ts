import { expect, test } from 'vitest'
import { mimeTypes } from '../../src/ingest/parse/parsed.ts'
import { createParser } from '../../src/ingest/parse/parser.ts'
import { createPrepare } from '../../src/ingest/prepare.ts'
import { localModel } from '../support/model.ts'

const heading = Array.from({ length: 60_000 }, (_, index) => `w${index}`).join(' ')

test.skipIf(!localModel.available).each([
  ['a word of 3 MB', 'x7'.repeat(1_500_000)],
  ['a million ideographs', '漢字文章'.repeat(250_000)],
  [
    'a heading of 60,000 words above 2 MB',
    `# ${heading}\n\n${'All of this stands under it. '.repeat(70_000)}`,
  ],
])(
  'the main thread stands still for 250 ms at most while this is read and cut: %s',
  async (_, text) => {
    const folder = localModel.available ? localModel.folder : ''
    await using parser = createParser({ cutting: { counting: { kind: 'model', folder }, tokensMax: 256 } })
    const prepare = createPrepare(parser)
    const bytes = Buffer.from(text)
    await prepare({ mimeType: mimeTypes.plain, bytes: Buffer.from('warm'), title: 'Warm', source: 's' })
    // Its processor time bounds how long it can have stood still, however busy the machine is.
    const before = process.threadCpuUsage()
    const { chunks } = await prepare({ mimeType: mimeTypes.markdown, bytes, title: 'Hostile', source: 's' })
    const { user, system } = process.threadCpuUsage(before)
    expect(chunks.length).toBeGreaterThan(1_000)
    expect((user + system) / 1_000).toBeLessThan(250)
  },
  120_000,
)

test('a tokenizer that cannot be read is no fault of the document', async () => {
  const counting = { kind: 'model', folder: '/there/is/none' } as const
  await using parser = createParser({ cutting: { counting, tokensMax: 256 } })
  const prepare = createPrepare(parser)
  const failure = prepare({ mimeType: mimeTypes.plain, bytes: Buffer.from('text'), title: 'T', source: 's' })
  await expect(failure).rejects.toThrow('The thread that reads cannot')
  await expect(failure).rejects.not.toMatchObject({ name: 'UnreadableError' })
})
