import { AppError, invalid } from '../../kernel/errors.ts'
import type { Sql } from '../../store/sql.ts'
import { ModelSyntaxError } from './dsl.ts'
import { readVersion } from './pin.ts'
import type { Texts } from './texts.ts'
import { type ModelSource, withMarks } from './with-marks.ts'

/** A changed model as its text, or an earlier one by OpenFGA's id. */
export type Wanted = { readonly dsl: string } | { readonly modelId: string }

/** Throws `invalid_request` for a text that is no model, `not_found` for one that was never in force. */
export async function candidateOf(
  sql: Sql,
  wanted: Wanted,
  texts: Pick<Texts, 'readSource'>,
): Promise<ModelSource> {
  if ('dsl' in wanted) {
    try {
      return await texts.readSource(wanted.dsl)
    } catch (error) {
      if (error instanceof ModelSyntaxError) throw invalid('model', error.message)
      throw error
    }
  }
  const version = await readVersion(sql, wanted.modelId)
  if (version === undefined) throw new AppError('not_found', { public: 'No such model was ever in force.' })
  const { digest, dsl, json } = version
  return withMarks({ digest, dsl, json })
}
