import { z } from 'zod'
import { OperatorError } from '../../../kernel/operator-error.ts'
import { type Engine, EngineRefused } from './engine.ts'

/**
 * What an index is made with. All of it is Remit's to say: a wrong mapping loses answers or ends the node.
 */
export interface IndexForm {
  /** Numbers in a vector. */
  readonly dimensions: number
  /** How length dampens repetition in the engine's own scores. */
  readonly perWord: number
}

/** Where the index is new: how many parts it has, and after how many milliseconds it finds what was put. */
export interface NewIndex extends IndexForm {
  readonly shards: number
  readonly refreshMs: number
}

/** A lexeme's frequency in the engine is `times × lengthEnd + words`, words being less than this. */
export const lengthEnd = 4_096

/** As `dampeningOf` in `ranking/weigh.ts` has it: only the part of length changes with the corpus. */
export const engineBase = 0.3

// Float32 holds whole numbers up to 2²⁴, which is lengthEnd². Nothing that the engine counts is in it.
const similarityOf = (perWord: number): string =>
  `double f = doc.freq; double n = Math.floor(f / ${lengthEnd}.0); return query.boost * n / (n + ${engineBase} + ${perWord} * (f - ${lengthEnd}.0 * n));`

/** What puts name. It goes with the index. */
export const putAlias = (index: string): string => `${index}-put`

/**
 * The body that makes an index. Float HNSW of Lucene: the encoder of one bit ends the node that has no
 * natives.
 */
const indexBody = (index: string, { dimensions, perWord, shards, refreshMs }: NewIndex): object => ({
  aliases: { [putAlias(index)]: {} },
  settings: {
    index: {
      knn: true,
      number_of_shards: shards,
      auto_expand_replicas: '0-1',
      // With SEGMENT a copy finds what was put later than it was said to be found.
      'replication.type': 'DOCUMENT',
      refresh_interval: `${refreshMs}ms`,
      analysis: {
        filter: { counted: { type: 'delimited_term_freq', delimiter: '|' } },
        analyzer: { lexemes: { type: 'custom', tokenizer: 'whitespace', filter: ['counted'] } },
      },
      similarity: { remit: { type: 'scripted', script: { source: similarityOf(perWord) } } },
    },
  },
  mappings: {
    dynamic: 'strict',
    _source: { enabled: false },
    properties: {
      n: { type: 'integer' },
      ordinal: { type: 'integer' },
      lexemes: {
        type: 'text',
        analyzer: 'lexemes',
        index_options: 'freqs',
        norms: false,
        similarity: 'remit',
      },
      vector: {
        type: 'knn_vector',
        dimension: dimensions,
        space_type: 'innerproduct',
        method: { name: 'hnsw', engine: 'lucene', parameters: { m: 32, ef_construction: 128 } },
      },
    },
  },
})

/** Makes the index, or leaves the one that is there. Throws {@link EngineRefused}. */
export async function makeIndex(engine: Engine, index: string, form: NewIndex): Promise<void> {
  await engine
    .ask(
      { method: 'PUT', path: `/${index}`, body: indexBody(index, form), timeoutMs: 30_000 },
      () => undefined,
    )
    .catch((error: unknown) => {
      // Made before, by an earlier try too: whether it is ours is looked at before it is used.
      if (!(error instanceof EngineRefused && error.status === 400)) throw error
    })
}

const versionAnswer = z.object({ version: z.object({ distribution: z.string(), number: z.string() }) })
const settingsAnswer = z.object({
  persistent: z.record(z.string(), z.unknown()),
  transient: z.record(z.string(), z.unknown()),
})

/**
 * Throws {@link OperatorError} where the engine is not one that was tried (OpenSearch 3.6 or a later 3), or
 * logs what it is asked: bodies hold digests of lexemes and vectors. What the security plugin audits is NOT
 * checked, since no request shows it.
 */
export async function assertEngine(engine: Engine): Promise<void> {
  const { version } = await engine.ask({ method: 'GET', path: '/' }, (answer) => versionAnswer.parse(answer))
  const [major = 0, minor = 0] = version.number.split('.').map(Number)
  if (version.distribution !== 'opensearch' || major !== 3 || minor < 6)
    throw new OperatorError(
      `The search engine is ${version.distribution} ${version.number}. It has to be OpenSearch 3.6 or a later 3.`,
    )
  const settings = await engine.ask(
    { method: 'GET', path: '/_cluster/settings?flat_settings=true' },
    (answer) => settingsAnswer.parse(answer),
  )
  for (const [name, value] of Object.entries({ ...settings.persistent, ...settings.transient }))
    if (isLogOfRequests(name, value))
      throw new OperatorError(`The search engine logs requests. Take the setting ${name} away.`)
}

const isLogOfRequests = (name: string, value: unknown): boolean =>
  name.includes('slowlog.threshold') && String(value) !== '-1'

const known = <T extends string | number | boolean>(value: T) =>
  z.unknown().refine((given) => String(given) === String(value))

const oursAnswer = ({ dimensions, perWord }: IndexForm) =>
  z.object({
    mappings: z.strictObject({
      dynamic: known('strict'),
      _source: z.strictObject({ enabled: known(false) }),
      properties: z.strictObject({
        n: z.strictObject({ type: known('integer') }),
        ordinal: z.strictObject({ type: known('integer') }),
        lexemes: z.strictObject({
          type: known('text'),
          analyzer: known('lexemes'),
          index_options: known('freqs'),
          norms: known(false),
          similarity: known('remit'),
        }),
        vector: z.strictObject({
          type: known('knn_vector'),
          dimension: known(dimensions),
          space_type: known('innerproduct').optional(),
          method: z.strictObject({
            name: known('hnsw'),
            engine: known('lucene'),
            space_type: known('innerproduct').optional(),
            parameters: z.strictObject({ m: known(32), ef_construction: known(128) }),
          }),
        }),
      }),
    }),
    settings: z
      .record(z.string(), z.unknown())
      .refine((settings) => settings['index.knn'] === 'true')
      .refine((settings) => settings['index.replication.type'] === 'DOCUMENT')
      .refine((settings) => settings['index.similarity.remit.script.source'] === similarityOf(perWord))
      .refine((settings) => settings['index.analysis.filter.counted.type'] === 'delimited_term_freq')
      .refine((settings) => !Object.entries(settings).some(([name, value]) => isLogOfRequests(name, value))),
  })

/**
 * Whether the index is as `indexBody` makes it: mapping, similarity, replication, no log of what is
 * asked. Undefined: there is none. Throws {@link EngineRefused} where the engine does not say.
 */
export async function isOurs(engine: Engine, index: string, form: IndexForm): Promise<boolean | undefined> {
  try {
    return await engine.ask({ method: 'GET', path: `/${index}?flat_settings=true` }, (answer) => {
      const one = z.record(z.string(), z.unknown()).parse(answer)[index]
      return oursAnswer(form).safeParse(one).success
    })
  } catch (error) {
    if (error instanceof EngineRefused && error.status === 404) return undefined
    throw error
  }
}
