import { AppError, invalid } from '../../kernel/errors.ts'
import type { Sql } from '../../store/sql.ts'
import { reading } from '../text-error.ts'
import { type ModelVersion, readVersion } from './pin.ts'
import type { Texts } from './texts.ts'
import { type Candidate, type ModelSource, versioned, withMarks } from './with-marks.ts'

/** A changed model, a changed allow-list or both as texts, or an earlier version by OpenFGA's id. */
export type WantedModel =
  | { readonly dsl?: string; readonly allowList?: string }
  | { readonly modelId: string }

/**
 * A text without an allow-list keeps of today's what fits, and a list without a text keeps today's model.
 * Throws `invalid_request` for a text that is no model or no list, and for a list that names what the model
 * lacks; `not_found` for one that was never in force.
 */
export async function candidateOf(
  sql: Sql,
  request: WantedModel,
  current: ModelVersion,
  texts: Pick<Texts, 'readSource' | 'readAllowList'>,
): Promise<Candidate> {
  if ('modelId' in request) {
    const version = await readVersion(sql, request.modelId)
    if (version === undefined) throw new AppError('not_found', { public: 'No such model was ever in force.' })
    return listed(version, version.allowList ?? current.allowList, texts)
  }
  const { dsl, allowList } = request
  const source = dsl === undefined ? current : await reading('model', () => texts.readSource(dsl))
  if (allowList === undefined) return listed(source, current.allowList, texts)
  const marked = withMarks(source)
  const { lacking } = await reading('allow_list', () => texts.readAllowList(allowList, marked.json))
  if (lacking.length > 0) throw invalid('allow_list', lacking.join('\n'))
  return versioned(marked, allowList)
}

async function listed(
  source: ModelSource,
  allowList: string | undefined,
  texts: Pick<Texts, 'readAllowList'>,
): Promise<Candidate> {
  const marked = withMarks(source)
  if (allowList === undefined) return versioned(marked, undefined)
  const { fitting } = await reading('model', () => texts.readAllowList(allowList, marked.json))
  return versioned(marked, fitting)
}
