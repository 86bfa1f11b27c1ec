import { readFile, realpath } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path'
import { parseDocument } from 'yaml'
import { z } from 'zod'
import { reasonOf } from '../../kernel/reason.ts'
import { TextError } from '../text-error.ts'
import { readYaml } from '../yaml-lines.ts'
import { type ModelJson, readDsl, readModules } from './dsl.ts'
import { readTupleFile } from './tuple-file.ts'

/** A store file of OpenFGA's own tool (`.fga.yaml`): a model and what it must answer about tuples. */
export interface StoreFile {
  readonly name: string
  readonly model: ModelJson
  readonly tests: readonly StoreTest[]
}

/** One test of a store file. */
export interface StoreTest {
  readonly name: string
  /** Those of the file and its own. */
  readonly tuples: readonly StoreTuple[]
  readonly questions: readonly Question[]
}

/** A tuple as the file spells it. */
export type StoreTuple = z.infer<typeof tuple>
type Context = Readonly<z.infer<typeof contextOf>>

/** One assertion. Lists are expected in any order. */
export type Question = { readonly relation: string; readonly context?: Context | undefined } & (
  | {
      readonly kind: 'check'
      readonly user: string
      readonly object: string
      readonly expected: boolean
    }
  | {
      readonly kind: 'list_objects'
      readonly user: string
      readonly type: string
      readonly expected: readonly string[]
    }
  | {
      readonly kind: 'list_users'
      readonly object: string
      readonly filter: { readonly type: string; readonly relation?: string }
      readonly expected: readonly string[]
    }
)

/**
 * Reads a store file and the files it names, none of which may lie outside its folder: it may come from
 * anybody's change request. Unknown members are refused, so that an assertion that nothing runs cannot hide
 * behind a slip of the pen. Throws TextError.
 */
export async function readStoreFile(path: string): Promise<StoreFile> {
  if (/\.fga$/i.test(path))
    throw new TextError(
      `${basename(path)} is a model: name a store file (.fga.yaml), which says what the model must answer`,
    )
  const content = parseStore(await readFile(path, 'utf8'), basename(path))
  const files = inFolderOf(path)
  const common = [...content.tuples, ...(await tuplesIn(files, content.tuple_file, content.tuple_files))]
  const tests = await Promise.all(
    content.tests.map(async (test, index) =>
      testOf(test, index, [...common, ...test.tuples, ...(await tuplesIn(files, test.tuple_file))]),
    ),
  )
  const { model, model_file } = content
  return {
    name: content.name || basename(path),
    model: model === undefined ? await readModelFile(files, model_file ?? '') : readDsl(model),
    tests,
  }
}

/**
 * The same from text, about a model of one's own in place of the one that it names. There is no folder:
 * tuples that it would take from other files are refused. Throws TextError.
 */
export function readStoreText(content: string, model: ModelJson, name: string): StoreFile {
  const { tests, tuples: common, ...storeFields } = parseStore(content, name)
  if ([storeFields, ...tests].some((section) => 'tuple_file' in section || 'tuple_files' in section))
    throw new TextError(`${name}: tuples have to stand in the text itself`)
  return {
    name: storeFields.name || name,
    model,
    tests: tests.map((test, index) => testOf(test, index, [...common, ...test.tuples])),
  }
}

const testOf = (
  { name, check, list_objects, list_users }: z.infer<typeof store>['tests'][number],
  index: number,
  tuples: readonly StoreTuple[],
): StoreTest => ({
  // The tool takes tests without a name, and shows none; by its place a failing one can be found.
  name: name || `test ${index + 1}`,
  tuples,
  questions: [
    ...check.flatMap(checks),
    ...list_objects.flatMap(objectLists),
    ...list_users.flatMap(userLists),
  ],
})

const text = z.string().min(1)
// What decides nothing may be empty, as for the tool.
const label = z.string().nullish()
const contextOf = z.record(text, z.unknown())
const tuple = z.strictObject({
  user: text,
  relation: text,
  object: text,
  condition: z.strictObject({ name: text, context: contextOf.default({}) }).optional(),
})
const tuples = z.array(tuple)
const check = z
  .strictObject({
    user: text.optional(),
    users: z.array(text).min(1).optional(),
    object: text.optional(),
    objects: z.array(text).min(1).optional(),
    context: contextOf.optional(),
    assertions: z.record(text, z.boolean()),
  })
  .refine(({ user, users }) => (user === undefined) !== (users === undefined), 'name either user or users')
  .refine(
    ({ object, objects }) => (object === undefined) !== (objects === undefined),
    'name either object or objects',
  )
const listObjects = z.strictObject({
  user: text,
  type: text,
  context: contextOf.optional(),
  assertions: z.record(text, z.array(text)),
})
const listUsers = z.strictObject({
  object: text,
  // The format has a list; the tool uses its first entry and says nothing of the others.
  user_filter: z.array(z.strictObject({ type: text, relation: text.optional() })).length(1),
  context: contextOf.optional(),
  assertions: z.record(text, z.strictObject({ users: z.array(text) })),
})
const store = z
  .strictObject({
    name: label,
    model: text.optional(),
    model_file: text.optional(),
    tuples: tuples.default([]),
    tuple_file: text.optional(),
    tuple_files: z.array(text).optional(),
    tests: z
      .array(
        z.strictObject({
          name: label,
          description: label,
          tuples: tuples.default([]),
          tuple_file: text.optional(),
          check: z.array(check).default([]),
          list_objects: z.array(listObjects).default([]),
          list_users: z.array(listUsers).default([]),
        }),
      )
      .min(1),
  })
  .refine(
    ({ model, model_file }) => (model === undefined) !== (model_file === undefined),
    'name either model or model_file',
  )

const parseStore = (content: string, file: string): z.infer<typeof store> =>
  readYaml(content, store, file).data

type ReadInFolder = (name: string) => Promise<string>

function inFolderOf(path: string): ReadInFolder {
  const folder = dirname(path)
  return async (name) => {
    const outside = new TextError(`${basename(path)}: ${name} lies outside the folder of the file`)
    const isInside = (folder: string, path: string): boolean => {
      const relativePath = relative(folder, path)
      return relativePath !== '..' && !relativePath.startsWith(`..${sep}`) && !isAbsolute(relativePath)
    }
    if (isAbsolute(name) || !isInside(folder, join(folder, name))) throw outside
    try {
      // What it really is: a link inside the folder may lead anywhere.
      const real = await realpath(join(folder, name))
      if (!isInside(await realpath(folder), real)) throw outside
      return await readFile(real, 'utf8')
    } catch (error) {
      if (error instanceof TextError) throw error
      throw new TextError(`${basename(path)}: ${name} cannot be read: ${reasonOf(error)}`)
    }
  }
}

async function readModelFile(read: ReadInFolder, name: string): Promise<ModelJson> {
  const content = await read(name)
  if (name.endsWith('.json')) {
    return parsing(name, () => JSON.parse(content) as ModelJson)
  }
  if (basename(name) !== 'fga.mod') return readDsl(content)
  const { schema, contents } = parsing(name, () => modules.parse(parseDocument(content).toJS()))
  const files = await Promise.all(
    contents.map(async (file) => ({ name: file, contents: await read(join(dirname(name), file)) })),
  )
  return readModules(files, schema)
}

const modules = z.strictObject({ schema: text, contents: z.array(text).min(1) })

async function tuplesIn(
  read: ReadInFolder,
  file: string | undefined,
  files: readonly string[] = [],
): Promise<readonly StoreTuple[]> {
  const names = file === undefined ? files : [file, ...files]
  const lists = await Promise.all(
    names.map(async (name) => {
      const content = await read(name)
      return parsing(name, () => tuples.parse(readTupleFile(name, content)))
    }),
  )
  return lists.flat()
}

function parsing<T>(file: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw new TextError(`${file}: ${problemsOf(error)}`)
  }
}

function problemsOf(error: unknown): string {
  if (error instanceof z.ZodError) {
    return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')
  }
  return reasonOf(error)
}

function checks({ context, assertions, ...question }: z.infer<typeof check>): readonly Question[] {
  const { users = [question.user ?? ''], objects = [question.object ?? ''] } = question
  return users.flatMap((user) =>
    objects.flatMap((object) =>
      Object.entries(assertions).map(
        ([relation, expected]): Question => ({ kind: 'check', user, relation, object, context, expected }),
      ),
    ),
  )
}

const objectLists = ({ user, type, context, assertions }: z.infer<typeof listObjects>): Question[] =>
  Object.entries(assertions).map(([relation, expected]) => ({
    kind: 'list_objects',
    user,
    relation,
    type,
    context,
    expected,
  }))

function userLists({ object, user_filter, context, assertions }: z.infer<typeof listUsers>): Question[] {
  const [{ type, relation: userRelation } = { type: '' }] = user_filter
  const filter = { type, ...(userRelation !== undefined && { relation: userRelation }) }
  return Object.entries(assertions).map(([relation, { users }]) => ({
    kind: 'list_users',
    object,
    relation,
    filter,
    context,
    expected: users,
  }))
}
