import { readFileSync } from 'node:fs'
import { compileModel } from '@remit/engine'
import { expect } from 'vitest'
import { problemsOf } from '../../src/authz/allow-list/problems.ts'
import { readAllowList } from '../../src/authz/allow-list/read.ts'
import type { Tuple } from '../../src/authz/fga.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'

const fileOf = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')
export const dsl = fileOf('model.fga')
export const text = fileOf('model.allow-list.yaml')

export const parse = (line: string): Tuple => {
  const [user = '', relation = '', object = ''] = line.split(' ')
  return { user, relation, object: object as FgaObject }
}

/** The default list with rows more, beside model.fga with other lines. */
export function problems(
  rows: string,
  edit: (model: string) => string = (model) => model,
): readonly string[] {
  const model = compileModel(readDsl(edit(dsl)))
  return problemsOf(readAllowList(withRows(rows)), model).map(
    ({ kind, row, detail }) => `${kind} ${row.key}: ${detail}`,
  )
}

/** `folder#label user, group#member: tagger, administrator` is one row. */
export function withRows(rows: string): string {
  return rows
    .trim()
    .split('\n')
    .reduce((content, row) => {
      const [, type, relation, subjects, write, deletes] =
        /^(\w+)#(\w+) (.+): (\w+)(?:, (\w+))?$/.exec(row.trim()) ?? []
      const line = `    ${relation}: { subjects: [${subjects}], write: ${write}${deletes === undefined ? '' : `, delete: ${deletes}`} }\n`
      return content.includes(`\n  ${type}:\n`)
        ? content.replace(`\n  ${type}:\n`, (found) => found + line)
        : `${content}  ${type}:\n${line}`
    }, text)
}

export const define =
  (type: string, line: string) =>
  (model: string): string =>
    model.replace(new RegExp(`(type ${type}\n  relations\n)`), `$1    define ${line}\n`)
export const newType =
  (type: string, line: string) =>
  (model: string): string =>
    model.replace('\ncondition until', `\ntype ${type}\n  relations\n    define ${line}\n\ncondition until`)
export const change =
  (from: string, to: string) =>
  (model: string): string => {
    expect(model).toContain(from)
    return model.replaceAll(from, to)
  }
export const all =
  (...edits: ((model: string) => string)[]) =>
  (model: string): string =>
    edits.reduce((changed, edit) => edit(changed), model)
