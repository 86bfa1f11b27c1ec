import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml'
import type { z } from 'zod'
import { reasonOf } from '../kernel/reason.ts'
import { TextError } from './text-error.ts'

/** A file of YAML that fits its schema. `lineOf`: of a member, or of the nearest thing around it, from 1. */
export interface YamlFile<T> {
  readonly data: T
  readonly document: Document
  lineOf(path: readonly PropertyKey[]): number
}

/** Reads YAML by a schema. Throws TextError, with `file`, line and member of all that is wrong. */
export function readYaml<T extends z.ZodType>(
  content: string,
  schema: T,
  file: string,
): YamlFile<z.infer<T>> {
  const lines = new LineCounter()
  const document = parseDocument(content, { lineCounter: lines })
  const [broken] = document.errors
  if (broken !== undefined) throw new TextError(`${file}: ${broken.message}`)
  const lineOf = (path: readonly PropertyKey[]): number => lineIn(document, lines, path)
  const parsed = schema.safeParse(valueOf(document, file))
  if (parsed.success) return { data: parsed.data, document, lineOf }
  const problems = parsed.error.issues.map((issue) => {
    const [key] = issue.code === 'unrecognized_keys' ? issue.keys : []
    const path = key === undefined ? issue.path : [...issue.path, key]
    const message = key === undefined ? issue.message : 'this member is not known'
    return `${file}:${lineOf(path)}: ${path.join('.') || 'the file'}: ${message}`
  })
  throw new TextError(problems.join('\n'))
}

/** Aliases that lead nowhere, or to too much, are found only here. */
function valueOf(document: Document, file: string): unknown {
  try {
    return document.toJS()
  } catch (error) {
    throw new TextError(`${file}: ${reasonOf(error)}`)
  }
}

function lineIn(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length -= 1) {
    const around = document.getIn(path.slice(0, length - 1), true)
    const name = path[length - 1]
    const key = isMap(around)
      ? around.items.find(({ key: memberKey }) => isScalar(memberKey) && memberKey.value === name)?.key
      : document.getIn(path.slice(0, length), true)
    if (isNode(key) && key.range) return lines.linePos(key.range[0]).line
  }
  return 1
}
