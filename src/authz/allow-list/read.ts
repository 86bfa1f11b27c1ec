import { isMap, isSeq, visit } from 'yaml'
import { z } from 'zod'
import { TextError } from '../text-error.ts'
import { readYaml, type YamlFile } from '../yaml-lines.ts'

/** Who a row lets write: see the head of `model.allow-list.yaml`. */
export type Holder = 'writer' | 'tagger' | 'directory' | 'administrator'

/** A kind of subject: `user`, `user:*`, `group#member`, each also with an end (`with until`). */
export interface SubjectKind {
  /** As in the file. */
  readonly text: string
  /** Without the end. */
  readonly label: string
  readonly type: string
  readonly relation: string | undefined
  readonly isWildcard: boolean
  readonly ends: boolean
}

/** One row: who may write and who may delete which tuples of a relation. */
export interface Row {
  readonly type: string
  readonly relation: string
  /** `type#relation`. */
  readonly key: string
  readonly subjects: readonly SubjectKind[]
  readonly write: Holder
  /** Undefined: add only, nobody deletes. */
  readonly delete: Holder | undefined
  /** From 1. */
  readonly line: number
}

const name = z.string().regex(/^[a-z_][a-z0-9_]{0,59}$/i, 'must be a name of the model')
const subjectForm = /^([a-z_]\w*)(?:(:\*)|#([a-z_]\w*))?( with until)?$/i
const subject = z
  .string()
  .regex(subjectForm, 'must be TYPE, TYPE:* or TYPE#RELATION; the only condition is "with until"')
const holder = z.enum(['writer', 'tagger', 'directory', 'administrator'])
const row = z.strictObject({
  subjects: z.array(subject).min(1).max(50),
  write: holder,
  delete: holder.optional(),
})
const file = z.strictObject({
  schema: z.literal(1),
  types: z.record(name, z.record(name, row)),
})

/** Most characters of an allow-list. */
export const allowListMax = 64 * 1024

/**
 * Reads the text of an allow-list. Throws TextError. Does not compare it with a model: {@link problemsOf}
 * does.
 */
export function readAllowList(content: string, fileName = 'allow_list'): readonly Row[] {
  return rowsOf(parse(content, fileName))
}

/** The same text without these rows and kinds of subject, comments and order kept. */
export function withoutRows(
  content: string,
  dropped: readonly { readonly key: string; readonly subject?: string }[],
): string {
  const { document } = parse(content, 'allow_list')
  for (const { key, subject: droppedSubject } of dropped) {
    const path = ['types', ...key.split('#')]
    const subjects = document.getIn([...path, 'subjects'])
    const index = isSeq(subjects) ? subjects.toJSON().indexOf(droppedSubject) : -1
    if (droppedSubject === undefined || (isSeq(subjects) && subjects.items.length === 1))
      document.deleteIn(path)
    else if (index >= 0) document.deleteIn([...path, 'subjects', index])
    const type = document.getIn(path.slice(0, 2))
    if (isMap(type) && type.items.length === 0) document.deleteIn(path.slice(0, 2))
  }
  return document.toString()
}

function parse(content: string, fileName: string): YamlFile<z.infer<typeof file>> {
  if (content.length > allowListMax) throw new TextError(`${fileName}: at most ${allowListMax} characters`)
  const read = readYaml(content, file, fileName)
  visit(read.document, {
    Alias(_, { range, source }) {
      const line = content.slice(0, range?.[0]).split('\n').length
      // A row that is left out would take the anchor of another with it.
      throw new TextError(`${fileName}:${line}: *${source}: an alias is not taken, write it out`)
    },
  })
  return read
}

const rowsOf = ({ data: parsed, lineOf }: YamlFile<z.infer<typeof file>>): readonly Row[] =>
  Object.entries(parsed.types).flatMap(([type, relations]) =>
    Object.entries(relations).map(([relation, { subjects, write, delete: deletes }]) => ({
      type,
      relation,
      key: `${type}#${relation}`,
      subjects: subjects.map(kindOf),
      write,
      delete: deletes,
      line: lineOf(['types', type, relation]),
    })),
  )

function kindOf(text: string): SubjectKind {
  const [, type = '', wildcard, relation, endMark] = subjectForm.exec(text) ?? []
  return {
    text,
    label: endMark === undefined ? text : text.slice(0, -endMark.length),
    type,
    relation,
    isWildcard: wildcard !== undefined,
    ends: endMark !== undefined,
  }
}
