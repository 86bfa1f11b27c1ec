import { ownMarks } from '../own-marks.ts'
import { digestOfVersion, type ModelJson, readDsl, textOf } from './dsl.ts'

/** A model as text, where that is kept, and in OpenFGA's JSON form. */
export interface ModelSource {
  /** Undefined: it is of before texts were kept. */
  readonly dsl: string | undefined
  readonly json: ModelJson
}

/** A model with who may write its tuples. */
export interface Candidate extends ModelSource {
  /** Of both: see {@link digestOfVersion}. */
  readonly digest: string
  /** Text of who may write which tuples. Undefined: it is of before that was kept. */
  readonly allowList: string | undefined
}

/** Puts an allow-list beside a model. */
export const versioned = ({ dsl, json }: ModelSource, allowList: string | undefined): Candidate => ({
  dsl,
  json,
  digest: digestOfVersion(textOf({ dsl, json }), allowList),
  allowList,
})

const header = /^[ \t]*schema[ \t]+\S+.*$/m
const texts = new Map(
  [...ownMarks].map(([type, relations]) => [
    type,
    [
      `type ${type}`,
      ...(relations.length > 0 ? ['  relations'] : []),
      ...relations.map((name) => `    define ${name}: [turn]`),
    ].join('\n'),
  ]),
)

/**
 * The same model with the types of the service's own marks, where it lacks them: one that was written before
 * there were any. No verdict changes by it, since nothing leads to them. Types of these names that mean
 * something else stay, and {@link refusalsOf} names them.
 */
export function withMarks(source: ModelSource): ModelSource {
  const has = new Set(source.json.type_definitions.map(({ type }) => type))
  const lacking = [...texts].filter(([type]) => !has.has(type))
  if (lacking.length === 0) return source
  const text = lacking.map(([, definition]) => definition).join('\n\n')
  const dsl = source.dsl?.replace(
    header,
    (line) => `${line}\n\n# Remit's own marks: they decide nothing.\n${text}\n`,
  )
  if (dsl !== undefined && dsl !== source.dsl) return { dsl, json: readDsl(dsl) }
  const { type_definitions } = readDsl(`model\n  schema 1.1\n\n${[...texts.values()].join('\n\n')}\n`)
  const added = type_definitions.filter(({ type }) => !has.has(type))
  return {
    ...source,
    json: { ...source.json, type_definitions: [...source.json.type_definitions, ...added] },
  }
}
