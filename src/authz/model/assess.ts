import { setImmediate } from 'node:timers/promises'
import { compileModel, type Model, type TupleStore } from '@remit/engine'
import { AppError } from '../../kernel/errors.ts'
import { writingOf } from '../allow-list/findings.ts'
import {
  changedRights,
  holdersUnder,
  serviceName,
  type WriterGain,
  writerGains,
} from '../allow-list/holders.ts'
import { type Row, readAllowList } from '../allow-list/read.ts'
import type { LiveDelegation } from '../compare/askers.ts'
import { contextAt } from '../fga.ts'
import type { FgaApi } from '../fga-api.ts'
import { reading, TextError } from '../text-error.ts'
import type { ModelJson } from './dsl.ts'
import {
  compareModels,
  type Gains,
  type Impact,
  type ImpactLimits,
  invalidTuples,
  notCompared,
  type Side,
} from './impact.ts'
import { type Finding, refusalsOf, warningsOf } from './invariants.ts'
import type { Report } from './plan-store.ts'
import { notTried, openTrial, RefusedError } from './store-test.ts'
import type { Texts } from './texts.ts'
import type { Candidate } from './with-marks.ts'

/** What {@link assess} reads. */
export interface AssessDeps {
  readonly api: FgaApi
  readonly index: TupleSource
  readonly texts: Pick<Texts, 'readAllowList'>
  readonly listLiveDelegations: () => Promise<readonly LiveDelegation[]>
  readonly now: () => number
  readonly limits?: Partial<ImpactLimits>
}

/** A model with who may write its tuples. */
export type Listed = Pick<Candidate, 'json' | 'allowList'>

/** What a candidate model would change: the report, and every gain of whoever reads. */
export interface Assessment extends Confirmable {
  readonly report: Report
}

/**
 * What a model would do in place of another, on the tuples that OpenFGA holds at this moment. Throws
 * `invalid_request` for one that does not compile, `authorization_unavailable` while there is no replica.
 */
export async function assess(base: Listed, candidate: Listed, dependencies: AssessDeps): Promise<Assessment> {
  const { api, index, now } = dependencies
  const model = await reading('model', () => compileModel(candidate.json))
  await index.catchUp()
  const tuples = index.view()?.tuples
  const { tailReadAt } = index.status()
  if (tuples === undefined || tailReadAt === undefined) {
    throw new AppError('authorization_unavailable', {
      public: 'The replica of the permissions is not ready yet.',
    })
  }
  const watermark = { read_to: new Date(tailReadAt).toISOString(), tuples: tuples.size }
  const baseModel = compileModel(base.json)
  const wrong = [
    ...refusalsOf(model),
    ...(await refusedRowsOf(candidate, dependencies.texts)),
    ...(await refusedBy(api, candidate.json)),
  ]
  const impact =
    wrong.length > 0
      ? notCompared()
      : await compareModels({
          base: baseModel,
          candidate: model,
          tuples,
          delegations: await dependencies.listLiveDelegations(),
          context: contextAt(now()),
          now,
          pause: () => setImmediate(),
          ...(dependencies.limits && { limits: dependencies.limits }),
        })
  const { gains, ...counts } = impact
  const writing = await writingUnder({ ...base, model: baseModel }, { ...candidate, model }, tuples, now)
  return {
    gains,
    report: {
      ...counts,
      watermark,
      invalidTuples: invalidTuples(baseModel, model, tuples),
      refusals: [...wrong, ...refusedByTuples(impact)],
      warnings: [...writing.findings, ...warningsOf(model)],
      writerGains: writing.gains,
    },
  }
}

/** Every gain that has to be confirmed. */
interface Confirmable {
  readonly gains: Gains
  readonly report: Pick<Report, 'writerGains'>
}

/** Who reads or writes more by a later look than by the one that was confirmed. */
export function beyondConfirmed(later: Confirmable, confirmed: Confirmable): readonly string[] {
  const confirmedKeys = new Set(gainsOf(confirmed).map(({ key }) => key))
  return gainsOf(later)
    .filter(({ key }) => !confirmedKeys.has(key))
    .map(({ inWords }) => inWords)
}

function gainsOf({ gains, report: { writerGains = [] } }: Confirmable) {
  const readers = Object.entries(gains).flatMap(([relation, byWho]) =>
    Object.entries(byWho).flatMap(([who, documents]) =>
      documents.map((document) => ({
        key: `${relation} ${who} ${document}`,
        inWords: `${who} and document:${document}`,
      })),
    ),
  )
  const writers = writerGains.map(({ right, service, collection }) => ({
    key: `${right} ${service} ${collection}`,
    inWords: `${serviceName(service)} as ${right} of ${collection}`,
  }))
  return [...readers, ...writers]
}

/** One that cannot be read lets nobody write, and does not come into force. */
async function refusedRowsOf(
  { json, allowList }: Listed,
  texts: Pick<Texts, 'readAllowList'>,
): Promise<readonly Finding[]> {
  try {
    return allowList === undefined ? [] : (await texts.readAllowList(allowList, json)).refused
  } catch (error) {
    if (!(error instanceof TextError)) throw error
    return [{ rule: 'allow_list_refused', relation: '', detail: error.message }]
  }
}

type Compiled = Pick<Listed, 'allowList'> & { readonly model: Model }

async function writingUnder(
  base: Compiled,
  candidate: Compiled,
  tuples: TupleStore,
  now: () => number,
): Promise<{ readonly findings: readonly Finding[]; readonly gains: readonly WriterGain[] }> {
  const input = { tuples, context: contextAt(now()), pause: () => setImmediate() }
  const holders = await holdersUnder(base.model, input)
  const isSame = changedRights(base.model, candidate.model).length === 0
  const holdersAfter = isSame ? holders : await holdersUnder(candidate.model, input)
  return {
    findings: writingOf(
      { rows: rowsOf(base), model: base.model, holders },
      { rows: rowsOf(candidate), model: candidate.model, holders: holdersAfter },
    ),
    gains: writerGains(holders, holdersAfter),
  }
}

function rowsOf({ allowList }: Pick<Listed, 'allowList'>): readonly Row[] {
  try {
    return allowList === undefined ? [] : readAllowList(allowList)
  } catch {
    return []
  }
}

/** Asked in a store of its own: a model in ours would be the latest one for whoever does not pin. */
async function refusedBy(api: FgaApi, json: ModelJson): Promise<Finding[]> {
  try {
    await using _trial = await openTrial(api, json, [])
    return []
  } catch (error) {
    if (error instanceof RefusedError)
      return [{ rule: 'server_refuses', relation: '', detail: error.message }]
    throw notTried('OpenFGA did not try the model', error)
  }
}

function refusedByTuples({ beyondOwn, byRequest, unknown }: Impact): Finding[] {
  const findingOf = (
    rule: Finding['rule'],
    relation: string,
    { count, samples: [sample] }: Side,
    what: string,
  ): Finding[] => {
    const example = `${count} cases, for example ${sample?.who ?? ''} and document:${sample?.document ?? ''}`
    return count === 0 ? [] : [{ rule, relation, detail: `${what}: ${example}.` }]
  }
  return [
    ...findingOf(
      'delegated_beyond_own',
      'document#can_read_delegated',
      beyondOwn,
      'An agent would be told what its person may not read',
    ),
    ...findingOf(
      'request_only_grants',
      'document#can_read_delegated',
      byRequest,
      'What a request brings would be enough, with nothing stored for the person',
    ),
    ...findingOf(
      'gains_unknown',
      'document#can_read',
      unknown,
      'What today is denied could not be evaluated under it, so that nobody can say who gains',
    ),
  ]
}

/** The tuples to try a model on. */
interface TupleSource {
  /** Resolves when everything that OpenFGA held when this was called is in. */
  catchUp(): Promise<void>
  /** undefined while there is nothing to try on. */
  view(): { readonly tuples: TupleStore } | undefined
  /** When the last read that reached the end began, in milliseconds. */
  status(): { readonly tailReadAt: number | undefined }
}
