import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { sharedData } from '../support/shared.ts'
import type { BenchOptions } from './bench.ts'
import { topics } from './cells.ts'
import type { Corpus } from './corpus.ts'
import { type Peer, peers } from './ways/way.ts'
import { levelsAll, type Policy, policies } from './worlds/world.ts'

/** What one run is to do: every flag, with what stands for it where it is not named. */
export interface Settings
  extends Pick<
    BenchOptions,
    | 'policies'
    | 'levels'
    | 'topics'
    | 'questions'
    | 'people'
    | 'seed'
    | 'budgetMs'
    | 'rounds'
    | 'seconds'
    | 'releases'
  > {
  readonly quick: boolean
  readonly json: boolean
  readonly corpus: Corpus['kind']
  readonly chunks: number
  readonly only: readonly Peer[]
  readonly vectors: string
  readonly before: string | undefined
  readonly keep: string | undefined
  readonly out: string | undefined
  readonly name: string | undefined
}

interface Streams {
  out(text: string): void
  say(text: string): void
}

const corpora = ['seeded', 'real', 'grown'] as const satisfies readonly Corpus['kind'][]

/**
 * Reads the command line, before anything is opened: a run takes minutes, and one that measured something
 * else than was meant looks like any other. Throws a CommanderError that has been said, for `--help` too.
 */
export function readArguments(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  { out, say }: Streams,
): Settings {
  const program = createProgram()
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureOutput({ writeOut: out, writeErr: say })
  const given = program.parse(argv, { from: 'user' }).opts<Given>()
  const corpus = given.corpus ?? (given.quick ? 'seeded' : 'real')
  const refuse = (flag: keyof Given, why: string): never => program.error(`error: option '--${flag}': ${why}`)

  const possible = policies.filter((policy) => policy !== 'kubernetes' || corpus !== 'seeded')
  const wanted = given.policies ?? (given.quick ? (['tree', 'drive'] as const) : possible)
  const strange = wanted.find((policy) => !possible.includes(policy))
  if (strange !== undefined)
    refuse(
      'policies',
      `${strange} needs --corpus real or grown, since seeded passages are of no document of it.`,
    )
  const chunks = given.chunks ?? (given.quick ? 3_000 : 100_000)
  if (corpus !== 'seeded') {
    try {
      sharedData('kubernetes', env)
    } catch {
      refuse(
        'corpus',
        `${corpus} needs the data set kubernetes, which REMIT_SHARED leads to; seeded needs nothing.`,
      )
    }
    if (!existsSync(join(given.vectors, 'vectors.f32')))
      refuse(
        'vectors',
        `${given.vectors} holds no vectors.f32, which node benchmarks/search/vectors.ts makes; --corpus seeded needs none.`,
      )
  }
  if (given.before !== undefined && !existsSync(given.before))
    refuse('before', `there is no file ${given.before}. It takes the .json that a run with --out wrote.`)
  if (given.keep !== undefined && !env.TEST_DATABASE_URL)
    refuse('keep', 'only native Postgres keeps a database, and TEST_DATABASE_URL names none.')
  return {
    quick: given.quick,
    json: given.json,
    corpus,
    chunks,
    policies: wanted,
    levels: given.levels ?? (given.quick ? [1, 0.1, 0.01] : levelsAll),
    topics: given.topics ?? topics,
    questions: given.questions ?? (given.quick ? 8 : 60),
    people: given.people ?? (given.quick ? 3 : 20),
    seed: given.seed,
    only: given.only ?? peers,
    budgetMs: given.budget ?? (given.quick ? 1_000 : 10_000),
    rounds: given.rounds,
    seconds: given.seconds ?? (given.quick ? 1 : 5),
    releases: given.releases ?? (given.quick ? 1_000 : 1_000_000),
    vectors: given.vectors,
    before: given.before,
    keep: given.keep,
    out: given.out,
    name: given.name,
  }
}

interface Given {
  readonly quick: boolean
  readonly json: boolean
  readonly corpus?: Corpus['kind']
  readonly chunks?: number
  readonly policies?: readonly Policy[]
  readonly levels?: readonly number[]
  readonly topics?: Settings['topics']
  readonly questions?: number
  readonly people?: number
  readonly seed: number
  readonly only?: readonly Peer[]
  readonly budget?: number
  readonly rounds: number
  readonly seconds?: number
  readonly releases?: number
  readonly vectors: string
  readonly before?: string
  readonly keep?: string
  readonly out?: string
  readonly name?: string
}

const createProgram = (): Command =>
  new Command('npm run bench --')
    .description(
      'Authorized search beside the search that asks nobody and beside what others do, in one run.',
    )
    .option('--quick', 'small, seeded: some minutes', false)
    .option('--json', 'prints one line of JSON at the end', false)
    .addOption(
      new Option('--corpus <kind>', 'what is searched (default: real; --quick: seeded)').choices(corpora),
    )
    .option('--chunks <passages>', 'how many passages (default: 100000; --quick: 3000)', whole(100))
    .option(
      '--policies <list>',
      `who may read what: ${policies.join(',')} (default: all; --quick: tree,drive)`,
      list(policies),
    )
    .option(
      '--levels <list>',
      `shares of all passages that a person may read: ${levelsAll.join(',')} (default: all; --quick: 1,0.1,0.01)`,
      (value) => list(levelsAll.map(String))(value).map(Number),
    )
    .option(
      '--topics <list>',
      `how questions lie to what may be read: ${topics.join(',')} (default: all)`,
      list(topics),
    )
    .option('--questions <count>', 'of each cell (default: 60; --quick: 8)', whole(1))
    .option('--people <count>', 'who ask them, of each level (default: 20; --quick: 3)', whole(1))
    .option('--seed <number>', 'of all that is drawn', whole(0), 1)
    .option(
      '--only <list>',
      `beginnings of the names of other ways, such as FGAFilter,row-level, or none: ${peers.map((name) => `“${name}”`).join(', ')} (default: all)`,
      peersNamed,
    )
    .option(
      '--budget <ms>',
      'milliseconds after which a way is asked no more in a cell, once at least (default: 10000; --quick: 1000)',
      whole(0),
    )
    .option('--rounds <count>', 'how often the raw search and ours are asked each question', whole(1), 3)
    .option('--seconds <s>', 'seconds of each measure of many clients (default: 5; --quick: 1)', seconds)
    .option(
      '--releases <passages>',
      'passages to be released while access comes and goes (default: 1000000; --quick: 1000)',
      whole(1),
    )
    .option('--vectors <folder>', 'of node benchmarks/search/vectors.ts', join(tmpdir(), 'remit-vectors'))
    .option('--before <file>', 'the .json of a run over fewer passages, to compare with')
    .option('--keep <name>', 'leaves the loaded database for the next run (native Postgres only)', keepName)
    .option('--out <folder>', 'writes a report there')
    .option('--name <name>', 'of the report’s files (default: corpus and passages)')

const whole =
  (least: number) =>
  (value: string): number => {
    if (!/^\d{1,9}$/.test(value) || Number(value) < least)
      throw new InvalidArgumentError(`It takes a whole number from ${least}.`)
    return Number(value)
  }

function seconds(value: string): number {
  if (!/^\d{1,5}(\.\d+)?$/.test(value) || Number(value) === 0)
    throw new InvalidArgumentError('It takes a number of seconds above 0, such as 0.5.')
  return Number(value)
}

const list =
  <T extends string>(all: readonly T[]) =>
  (value: string): readonly T[] => {
    const isOne = (one: string): one is T => all.some((known) => known === one)
    const named = value.split(',')
    const wrong = named.find((one) => !isOne(one))
    if (wrong !== undefined)
      throw new InvalidArgumentError(`“${wrong}” is none of ${all.join(', ')}. Several: with commas between.`)
    // In the order named: many clients are asked in the first policy.
    return [...new Set(named.filter(isOne))]
  }

function peersNamed(value: string): readonly Peer[] {
  if (value === 'none') return []
  const named = value.split(',')
  const wrong = named.find((one) => one === '' || !peers.some((name) => name.startsWith(one)))
  if (wrong !== undefined)
    throw new InvalidArgumentError(
      `No way’s name begins with “${wrong}”. It takes none, or beginnings of: ${peers.map((name) => `“${name}”`).join(', ')}.`,
    )
  return peers.filter((name) => named.some((one) => name.startsWith(one)))
}

function keepName(value: string): string {
  if (!/^[a-z0-9_]{1,40}$/.test(value))
    throw new InvalidArgumentError('It takes a-z, 0-9 and _, at most 40 of them.')
  return value
}
