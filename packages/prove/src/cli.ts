#!/usr/bin/env node
import { randomBytes } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import type { Adapter } from './adapter.ts'
import { remitAdapter } from './adapters/remit.ts'
import { createDigest } from './digest.ts'
import { probes, prove } from './prove.ts'
import { toJunit } from './reports/junit.ts'
import { toSarif } from './reports/sarif.ts'
import { toText } from './reports/text.ts'
import { Inconclusive, messageOf, type Sizes } from './session.ts'
import { commandTokens } from './tokens.ts'
import type { Truth } from './truth.ts'
import { openFgaTruth } from './truths/openfga.ts'
import { openFgaProxy } from './truths/openfga-proxy.ts'
import { tableTruth } from './truths/table.ts'

const usage = `remit-prove [options]               Ends with 0: nothing found; 1: something found; 2: it could not tell.
remit-prove openfga-proxy [options] Passes Read, Check and ReadChanges of one store only, on loopback, for
                                    the token that it writes to --proxy-token-file.
remit-prove digest NAME…            Prints a name as a report holds it.

The endpoint
  --remit URL               Remit, at this address
  --adapter FILE            or a module of yours: retrieve, and if you like read and canary
  --token-command COMMAND   prints a token of the person in PROVE_PERSON; PROVE_AGAIN=1: a new one
Who may read what
  --table FILE              lines person,document or JSON lines
  --openfga URL --store ID  [--model ID] [--openfga-token-file FILE] [--relation can_read]
                            [--person-prefix user:] [--document-prefix document:]
  --truth FILE              or a module of yours: mayRead, and knows
What is asked
  --people FILE, --questions FILE   one a line
Invented documents (left out: only real ones are looked at, and nothing is written)
  --canary-people NAME,NAME two who are invented: one asks, one owns
  --collection ID           of Remit, for nothing else; --writer-token-command COMMAND
Reports
  --json FILE, --junit FILE, --sarif FILE; text goes to standard output
  --key-file FILE           of the digests; a run makes it if it is not there (remit-prove.key)
Sizes
  --seed N, --answers 2000, --k 100, --concurrency 8, --words 16, --repeats 5, --crowd 300,
  --revocations 30, --bound-ms 0, --watch-ms 5000, --patience-ms 60000, --timeout-ms 30000,
  --only CHECK,CHECK

Checks: ${probes.map(({ id }) => id).join(', ')}, hidden-words
`

const sizeOptions = {
  answers: 'answers',
  k: 'k',
  concurrency: 'concurrency',
  words: 'words',
  repeats: 'repeats',
  crowd: 'crowd',
  revocations: 'revocations',
  'bound-ms': 'boundMs',
  'watch-ms': 'watchMs',
  'patience-ms': 'patienceMs',
} as const satisfies Readonly<Record<string, keyof Sizes>>

/** What this was called with is wrong. */
class UsageError extends Error {}

const text = { type: 'string' } as const
const { values, positionals } = parse()
type Option = keyof typeof values

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        help: { type: 'boolean', short: 'h' },
        remit: text,
        adapter: text,
        'token-command': text,
        table: text,
        openfga: text,
        store: text,
        model: text,
        'openfga-token-file': text,
        relation: { ...text, default: 'can_read' },
        'person-prefix': { ...text, default: 'user:' },
        'document-prefix': { ...text, default: 'document:' },
        truth: text,
        people: text,
        questions: text,
        'canary-people': text,
        collection: text,
        'writer-token-command': text,
        json: text,
        junit: text,
        sarif: text,
        'key-file': { ...text, default: 'remit-prove.key' },
        port: { ...text, default: '8081' },
        'proxy-token-file': { ...text, default: 'remit-prove-proxy.token' },
        seed: text,
        answers: text,
        k: text,
        concurrency: text,
        words: text,
        repeats: text,
        crowd: text,
        revocations: text,
        'bound-ms': text,
        'watch-ms': text,
        'patience-ms': text,
        'timeout-ms': text,
        only: text,
      },
    })
  } catch (error) {
    console.error(`${messageOf(error)}\n\n${usage}`)
    process.exit(2)
  }
}

function optional(name: Option): string | undefined {
  const value = values[name]
  return typeof value === 'string' ? value : undefined
}

function needed(name: Option): string {
  const value = optional(name)
  if (value === undefined) throw new UsageError(`--${name} is missing.`)
  return value
}

function numberOf(name: Option, least = 0): number | undefined {
  const value = optional(name)
  if (value === undefined) return undefined
  if (!/^\d{1,10}$/.test(value)) throw new UsageError(`--${name} ${value} is no number.`)
  if (Number(value) < least) throw new UsageError(`--${name} has to be ${least} or more.`)
  return Number(value)
}

async function linesOf(name: Option): Promise<string[]> {
  const path = needed(name)
  const lines = (await readFile(path, 'utf8')).split('\n').map((line) => line.trim())
  const said = lines.filter(Boolean)
  if (said.length === 0) throw new UsageError(`--${name} ${path} is empty.`)
  return said
}

const moduleOf = async (path: string): Promise<object> => {
  const loaded = (await import(pathToFileURL(resolve(path)).href)) as { readonly default?: object }
  return loaded.default ?? loaded
}

async function adapterOf(): Promise<Adapter> {
  const own = optional('adapter')
  if (own !== undefined) {
    const made = { name: basename(own), ...(await moduleOf(own)) } as Adapter
    if (typeof made.retrieve !== 'function') throw new UsageError(`${own} has no function retrieve.`)
    if (optional('canary-people') !== undefined && made.canary === undefined)
      throw new UsageError(`${own} has no canary, where the invented people could own something.`)
    return made
  }
  const planting = ['canary-people', 'collection', 'writer-token-command'] as const
  // Some of them alone would leave half of the checks out, and nobody would notice.
  if (planting.some((name) => optional(name) !== undefined)) planting.forEach(needed)
  if ((numberOf('k') ?? 1) > 100) throw new UsageError('Remit gives 100 passages at most: --k.')
  const [collection, command] = [optional('collection'), optional('writer-token-command')]
  const writer = command === undefined ? undefined : commandTokens(command, process.env)
  return remitAdapter({
    url: needed('remit'),
    ...(collection !== undefined && { collection }),
    ...(writer !== undefined && { writerToken: (isAgain) => writer('', isAgain) }),
  })
}

const secretOf = async (name: Option): Promise<string | undefined> => {
  const path = optional(name)
  return path === undefined ? undefined : (await readFile(path, 'utf8')).trim()
}

async function truthOf(): Promise<Truth> {
  const [table, own, url, model] = (['table', 'truth', 'openfga', 'model'] as const).map(optional)
  if (table !== undefined) return tableTruth(await readFile(table, 'utf8'))
  if (own !== undefined) {
    const made = (await moduleOf(own)) as Truth
    if (typeof made.mayRead !== 'function') throw new UsageError(`${own} has no function mayRead.`)
    return made
  }
  if (url === undefined) throw new UsageError('Who may read what? --table, --openfga or --truth.')
  const token = await secretOf('openfga-token-file')
  return openFgaTruth({
    url,
    store: needed('store'),
    relation: needed('relation'),
    personPrefix: needed('person-prefix'),
    documentPrefix: needed('document-prefix'),
    ...(model !== undefined && { model }),
    ...(token !== undefined && { token }),
  })
}

/** Made once, for its owner alone: by it the operator finds out what a digest was. */
async function keyOf(isRun: boolean): Promise<string> {
  const path = needed('key-file')
  try {
    if (isRun) await writeFile(path, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const key = (await readFile(path, 'utf8').catch(noKey)).trim()
  if (key.length < 32) throw new UsageError(`${path} is no key: it is too short.`)
  return key
}

/** By a new key every digest would be another than that of the report. */
function noKey(cause: unknown): never {
  throw new Error(
    `There is no key to read at ${needed('key-file')}: name the key of the run by --key-file.`,
    { cause },
  )
}

function canaryPeopleOf(): readonly [string, string] | undefined {
  const names = optional('canary-people')
  if (names === undefined) return undefined
  const [asker, owner, ...more] = names.split(',').map((name) => name.trim())
  if (!asker || !owner || asker === owner || more.length > 0)
    throw new UsageError('--canary-people needs two names with a comma between them.')
  return [asker, owner]
}

async function main(): Promise<number> {
  if (values.help === true) {
    process.stdout.write(usage)
    return 0
  }
  const [command, ...names] = positionals
  if (command === 'digest') {
    const digest = createDigest(await keyOf(false))
    for (const name of names) console.log(`${digest(name)}  ${name}`)
    return 0
  }
  if (command === 'openfga-proxy') {
    const path = needed('proxy-token-file')
    const askedToken = randomBytes(32).toString('base64url')
    // Another one each time, for its owner alone.
    await rm(path, { force: true })
    await writeFile(path, `${askedToken}\n`, { mode: 0o600, flag: 'wx' })
    const server = openFgaProxy({
      url: needed('openfga'),
      store: needed('store'),
      token: await secretOf('openfga-token-file'),
      askedToken,
    })
    await new Promise<void>((listening, failed) =>
      server.once('error', failed).listen(numberOf('port'), '127.0.0.1', listening),
    )
    console.log(
      `Read, Check and ReadChanges alone on http://127.0.0.1:${needed('port')}, for the token in ${path}. Ctrl-C stops.`,
    )
    await new Promise<void>((ended) => server.once('close', ended))
    return 0
  }
  if (command !== undefined) throw new UsageError(`There is no command ${command}.`)

  const stop = new AbortController()
  // What was planted is removed first; a second one ends it as it stands.
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => stop.abort(new Inconclusive(`Ended by ${signal}.`)))
  const [canaryPeople, seed, timeoutMs, only] = [
    canaryPeopleOf(),
    numberOf('seed'),
    numberOf('timeout-ms'),
    optional('only')?.split(','),
  ]
  const unknown = only?.find((id) => id !== 'hidden-words' && !probes.some((probe) => probe.id === id))
  if (unknown !== undefined) throw new UsageError(`There is no check ${unknown}.`)
  const sizes = Object.fromEntries(
    Object.entries(sizeOptions).flatMap(([name, size]) => {
      const value = numberOf(name as keyof typeof sizeOptions, size === 'boundMs' ? 0 : 1)
      return value === undefined ? [] : [[size, value]]
    }),
  )
  const adapter = await adapterOf()
  try {
    const report = await prove(
      {
        adapter,
        token: commandTokens(needed('token-command'), process.env),
        truth: await truthOf(),
        people: await linesOf('people'),
        questions: await linesOf('questions'),
        ...(canaryPeople !== undefined && { canaryPeople }),
      },
      {
        key: await keyOf(true),
        sizes,
        signal: stop.signal,
        tell: (line) => console.error(`… ${line}`),
        ...(seed !== undefined && { seed }),
        ...(timeoutMs !== undefined && { timeoutMs }),
        ...(only !== undefined && { only }),
      },
    )
    const files = {
      json: `${JSON.stringify(report, null, 2)}\n`,
      junit: toJunit(report),
      sarif: toSarif(report),
    }
    for (const [name, content] of Object.entries(files)) {
      const path = optional(name as Option)
      if (path !== undefined) await writeFile(path, content)
    }
    process.stdout.write(toText(report))
    if (report.findings.length > 0) return 1
    return report.left.length > 0 || report.checks.some(({ state }) => state === 'inconclusive') ? 2 : 0
  } finally {
    await adapter.close?.()
  }
}

process.exitCode = await main().catch((error: unknown) => {
  console.error(error instanceof UsageError ? `${error.message}\n\n${usage}` : messageOf(error))
  return 2
})
