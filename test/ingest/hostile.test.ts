import { monitorEventLoopDelay } from 'node:perf_hooks'
import { afterAll, describe, expect, test } from 'vitest'
import { mimeTypes, ParseError, type ParseLimits } from '../../src/ingest/parse/parsed.ts'
import { createParser } from '../../src/ingest/parse/parser.ts'
import { localModel } from '../support/model.ts'
import { hostileDocuments } from './hostile-documents.ts'

// `npm run full`: ten times as large, under the limits that a service has.
const scale = Number(process.env['HOSTILE_SCALE'] ?? 1)
const MIB = 1024 * 1024
const small: Partial<ParseLimits> = {
  bytesMax: 5 * MIB,
  charactersMax: 1_000_000,
  unpackedBytesMax: 20 * MIB,
  cpuMsMax: 3_000,
  memoryBytesMax: 160 * MIB,
}
const counting = localModel.available
  ? ({ kind: 'model', folder: localModel.folder } as const)
  : ({ kind: 'estimate', of: 'characters', perToken: 4, marks: 2 } as const)
const cutting = { counting, tokensMax: 256 }

interface Cost {
  /** Of the main thread: bounds how long it can have stood still, however busy the machine is. */
  readonly cpuMs: number
  /** The longest that it did stand still, others on the machine included. */
  readonly stoodMs: number
  readonly seconds: number
  /** Of the whole process, and how much of that came with this work. */
  readonly peakMiB: number
  readonly grownMiB: number
}

async function costOf<T>(work: () => Promise<T>): Promise<Cost & { readonly result: T }> {
  const delay = monitorEventLoopDelay({ resolution: 20 })
  delay.enable()
  const idle = process.memoryUsage.rss()
  let peak = idle
  const sampling = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss())
  }, 50)
  const since = performance.now()
  const before = process.threadCpuUsage()
  try {
    const result = await work()
    const { user, system } = process.threadCpuUsage(before)
    return {
      result,
      cpuMs: (user + system) / 1_000,
      stoodMs: delay.max / 1e6,
      seconds: (performance.now() - since) / 1_000,
      peakMiB: peak / MIB,
      grownMiB: (peak - idle) / MIB,
    }
  } finally {
    clearInterval(sampling)
    delay.disable()
  }
}

const outcomeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'taken',
    (error: unknown) => (error instanceof ParseError ? error.code : String(error)),
  )

describe('a hostile document costs its own reading alone, and the next one is read', () => {
  const parser = createParser({ ...(scale === 1 && small), cutting })
  const read = (mimeType: string, bytes: Uint8Array) =>
    parser.prepare({ mimeType, bytes, title: 'Hostile', source: 's' })
  const lines: string[] = []
  afterAll(async () => {
    await parser[Symbol.asyncDispose]()
    console.log(
      [
        'outcome     seconds  main thread: work, longest stop (ms)  process: peak, grown (MiB)',
        ...lines,
      ].join('\n'),
    )
  })

  test.each(hostileDocuments(scale))(
    '$name',
    async ({ name, mimeType, outcome, bytes }) => {
      const document = bytes()
      const { result, ...cost } = await costOf(() => outcomeOf(read(mimeType, document)))
      const figures = [cost.seconds.toFixed(1), cost.cpuMs, cost.stoodMs, cost.peakMiB, cost.grownMiB].map(
        (figure) => String(typeof figure === 'number' ? Math.round(figure) : figure).padStart(7),
      )
      lines.push(
        `${result.padEnd(12)}${figures.join('')}  ${name}, ${(document.length / 1_000).toFixed(0)} kB`,
      )
      expect(outcome).toContain(result)
      // What is measured here, and the looks at what a document uses, take some milliseconds of each second.
      expect(cost.cpuMs - cost.seconds * 15).toBeLessThan(250)
      expect((await read(mimeTypes.plain, Buffer.from('fine'))).text).toBe('fine')
    },
    300_000,
  )
})

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
    await using parser = createParser({ cutting })
    await parser.prepare({
      mimeType: mimeTypes.plain,
      bytes: Buffer.from('warm'),
      title: 'Warm',
      source: 's',
    })
    const bytes = Buffer.from(text)
    const { result, cpuMs } = await costOf(() =>
      parser.prepare({ mimeType: mimeTypes.markdown, bytes, title: 'Hostile', source: 's' }),
    )
    expect(result.chunks.length).toBeGreaterThan(1_000)
    expect(cpuMs).toBeLessThan(250)
  },
  120_000,
)

test('a tokenizer that cannot be read is no fault of the document', async () => {
  const broken = { kind: 'model', folder: '/there/is/none' } as const
  await using parser = createParser({ cutting: { counting: broken, tokensMax: 256 } })
  const failure = parser.prepare({
    mimeType: mimeTypes.plain,
    bytes: Buffer.from('text'),
    title: 'T',
    source: 's',
  })
  await expect(failure).rejects.toThrow('No thread that reads documents can start')
  await expect(failure).rejects.not.toMatchObject({ name: 'ParseError' })
})
