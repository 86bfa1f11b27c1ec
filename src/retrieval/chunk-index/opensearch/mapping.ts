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
      // By an earlier try, perhaps: whether it is ours is looked at before it is used.
      if (!(error instanceof EngineRefused && error.isIndexThere)) throw error
    })
}

const nodeAnswer = z.object({
  // `_na_` until a node knows its cluster.
  cluster_uuid: z.string().min(10),
  version: z.object({ distribution: z.string(), number: z.string() }),
})
const settingsAnswer = z.object({
  defaults: z.record(z.string(), z.unknown()),
  persistent: z.record(z.string(), z.unknown()),
  transient: z.record(z.string(), z.unknown()),
})

/**
 * Throws {@link OperatorError} where the engine is not one that was tried (OpenSearch 3.6 or a later 3), or
 * logs what it is asked: bodies hold digests of lexemes and vectors. What the security plugin audits is NOT
 * checked, since no request shows it.
 */
export async function assertEngine(engine: Engine): Promise<void> {
  const nodes = await engine.askEach({ method: 'GET', path: '/' }, (answer) => nodeAnswer.parse(answer))
  const answers = nodes.flatMap((node) => (node.status === 'fulfilled' ? [node.value] : []))
  for (const { version } of answers) assertVersion(version)
  if (new Set(answers.map((answer) => answer.cluster_uuid)).size > 1)
    throw new OperatorError('The nodes of the search engine belong to more than one cluster.')
  const settings = await engine.ask(
    { method: 'GET', path: '/_cluster/settings?include_defaults=true&flat_settings=true' },
    (answer) => settingsAnswer.parse(answer),
  )
  const inForce = { ...settings.defaults, ...settings.persistent, ...settings.transient }
  for (const [name, value] of Object.entries(inForce))
    if (isLogOfRequests(name, value))
      throw new OperatorError(`The search engine logs requests. Take the setting ${name} away.`)
}

function assertVersion({ distribution, number }: { distribution: string; number: string }): void {
  const [major = 0, minor = 0] = number.split('.').map(Number)
  if (distribution !== 'opensearch' || major !== 3 || minor < 6)
    throw new OperatorError(
      `The search engine is ${distribution} ${number}. It has to be OpenSearch 3.6 or a later 3.`,
    )
}

/** The slow log has bodies, and so has what Query Insights keeps of the slowest searches. */
const isLogOfRequests = (name: string, value: unknown): boolean =>
  (name.includes('slowlog.threshold') && String(value) !== '-1') ||
  (insights.test(name) && String(value) !== 'false')

const insights = /^search\.insights\.top_queries\.\w+\.enabled$/

/**
 * Which cluster all nodes belong to. Throws {@link EngineRefused} where one does not say so, or another one:
 * what a stray node has not is not gone.
 */
export async function clusterOf(engine: Engine): Promise<string> {
  const nodes = await engine.askEach({ method: 'GET', path: '/' }, (answer) => nodeAnswer.parse(answer))
  const clusters = new Set(
    nodes.map((node) => {
      if (node.status === 'rejected') throw node.reason
      return node.value.cluster_uuid
    }),
  )
  const [cluster] = clusters
  if (cluster === undefined || clusters.size > 1) throw new EngineRefused('nodes of more than one cluster')
  return cluster
}

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
      .refine((settings) => typeof settings['index.uuid'] === 'string')
      .refine((settings) => settings['index.knn'] === 'true')
      .refine((settings) => settings['index.replication.type'] === 'DOCUMENT')
      // What is found has to be on the disk.
      .refine((settings) => (settings['index.translog.durability'] ?? 'request') === 'request')
      .refine((settings) => settings['index.similarity.remit.script.source'] === similarityOf(perWord))
      .refine((settings) => settings['index.analysis.filter.counted.type'] === 'delimited_term_freq')
      .refine((settings) => !Object.entries(settings).some(([name, value]) => isLogOfRequests(name, value))),
  })

/** By name what the indices are, of which `names` is one, or a pattern. Throws {@link EngineRefused}. */
export const readIndices = (engine: Engine, names: string): Promise<Readonly<Record<string, unknown>>> =>
  engine.ask({ method: 'GET', path: `/${names}?flat_settings=true` }, (answer) =>
    z.record(z.string(), z.unknown()).parse(answer),
  )

/** Whether an index that is there is as Remit makes one. */
export function assess(index: unknown, form: IndexForm): Looked {
  const ours = oursAnswer(form).safeParse(index)
  return ours.success ? { is: 'ours', uuid: String(ours.data.settings['index.uuid']) } : { is: 'changed' }
}

/** The index as it is: the engine's own name for it, where it is as Remit makes one. */
export type Looked = { readonly is: 'ours'; readonly uuid: string } | { readonly is: 'changed' | 'gone' }

/**
 * Whether the index is as `indexBody` makes it: mapping, similarity, replication, no log of what is asked,
 * puts that are on the disk. `gone` only where every node says so, and all are of one cluster. Throws
 * {@link EngineRefused} where the engine does not say.
 */
export async function lookAtIndex(engine: Engine, index: string, form: IndexForm): Promise<Looked> {
  try {
    const indices = await readIndices(engine, index)
    return assess(indices[index], form)
  } catch (error) {
    if (!(error instanceof EngineRefused && error.status === 404)) throw error
    await clusterOf(engine)
    const nodes = await engine.askEach({ method: 'GET', path: `/${index}` }, () => undefined)
    const isGone = nodes.every(
      (node) => node.status === 'rejected' && node.reason instanceof EngineRefused && node.reason.isNoIndex,
    )
    if (isGone) return { is: 'gone' }
    throw new EngineRefused('nodes of which some have the index', { cause: error })
  }
}

const countAnswer = z.object({
  count: z.int(),
  _shards: z
    .object({ total: z.int(), successful: z.int(), failed: z.literal(0) })
    .refine(({ total, successful }) => total === successful),
})

/**
 * How many passages all indices have whose names begin so. Throws {@link EngineRefused}, also where a shard
 * does not say.
 */
export const countPassages = (engine: Engine, name: string): Promise<number> =>
  engine.ask({ method: 'GET', path: `/${name}-*/_count` }, (answer) => countAnswer.parse(answer).count)
