import { FgaApiValidationError } from '@openfga/sdk'
import { compileModel, FgaError, type Model } from '@remit/engine'
import { operator, record } from '../../audit/record.ts'
import { AppError } from '../../kernel/errors.ts'
import { OperatorError } from '../../kernel/operator-error.ts'
import type { Database } from '../../store/sql.ts'
import { fitted, problemsOf, problemToText } from '../allow-list/problems.ts'
import { readAllowList } from '../allow-list/read.ts'
import type { FgaApi } from '../fga-api.ts'
import { TextError } from '../text-error.ts'
import { digestOf, digestOfVersion, type ModelJson, readDsl } from './dsl.ts'
import { refusalsOf } from './invariants.ts'
import {
  keepVersion,
  lastAllowList,
  type ModelVersion,
  type Pin,
  readPin,
  readVersion,
  writePin,
} from './pin.ts'
import { versioned, withMarks } from './with-marks.ts'

/** The store and the model that are in force after the start. */
export interface DeployedModel {
  readonly storeId: string
  readonly model: ModelVersion
}

/** Where the model comes from and where it is written. */
export interface DeployOptions {
  readonly api: FgaApi
  readonly database: Database
  /** Text of `model.fga`. */
  readonly dsl: string
  /**
   * Text of `model.allow-list.yaml`. Left out: there is none, and where none is in force nobody writes
   * tuples.
   */
  readonly allowList?: string
  /** Store to use. Left out: the one made at the first start. */
  readonly storeId?: string
  /** Deploys a differing file again. Only the demo does. */
  readonly redeploy: boolean
  readonly now: () => number
  readonly newTxn: () => string
}

/**
 * Deploys the model at the first start and pins its id by a row; later starts use the pinned one whatever
 * the file says, so that a stray file never changes who may read what.
 */
export async function deployModel(options: DeployOptions): Promise<DeployedModel> {
  const { api, database, dsl, storeId, redeploy, now } = options
  const pinned = await readPin(database)
  if (pinned !== undefined && storeId !== undefined && pinned.store_id !== storeId) {
    throw new Error(`OPENFGA_STORE_ID is ${storeId}, but this database belongs to store ${pinned.store_id}.`)
  }
  const pinnedVersion = pinned && (await readVersion(database, pinned.model_id))
  const isAsFile = pinned?.digest === digestOfVersion(dsl, options.allowList)
  // What people confirmed is not undone by a start.
  if (pinned !== undefined && (isAsFile || !redeploy || pinnedVersion?.plan !== undefined)) {
    const json = await readPresent(api, pinned)
    const model = await versionOf(options, pinned, json)
    return (await completeVersion(options, pinned, model)) ?? deployModel(options)
  }
  // Read before anything is made: files that are no model and no list leave no empty store behind.
  const source = withMarks({ dsl, json: readDsl(dsl) })
  const target = versioned(source, listFor(source.json, options.allowList, pinnedVersion?.allowList))
  const store = pinned?.store_id ?? storeId ?? (await api.createStore({ name: 'remit' })).id
  const id = await write(api, store, target.json)
  const model: ModelVersion = {
    ...target,
    id,
    plan: undefined,
    activatedBy: [],
    activatedAt: new Date(now()),
  }
  const isOurs = await database.transaction((sql) =>
    writePin(sql, store, model, { isFirst: pinned === undefined }),
  )
  // Another process started first: both must ask the same store. Ours stays empty.
  return isOurs ? { storeId: store, model } : await deployModel(options)
}

/** The file's list, which has to fit; without one what fits of the list in force. Throws OperatorError. */
function listFor(json: ModelJson, file: string | undefined, oldList: string | undefined): string | undefined {
  const model = compiled(json)
  if (file === undefined) return oldList && readable(() => fitted(oldList, model).text)
  assertNoProblem(file, model)
  return file
}

function assertNoProblem(list: string, model: Model): void {
  const problems = readable(() => problemsOf(readAllowList(list, listFile), model))
  if (problems.length > 0)
    throw new OperatorError(problems.map((problem) => problemToText(problem, listFile)).join('\n'))
}

const listFile = 'model.allow-list.yaml'

function readable<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof TextError) throw new OperatorError(error.message, error)
    throw error
  }
}

/**
 * Puts the types of the service's own marks, and an allow-list, beside a model that an older version put in
 * force, which knew of none: nobody is asked, since no verdict changes. Undefined: another process changed
 * the model meanwhile.
 */
async function completeVersion(
  { api, database, allowList: file, now, newTxn }: DeployOptions,
  pin: Pin,
  version: ModelVersion,
): Promise<DeployedModel | undefined> {
  const { store_id: storeId } = pin
  const source = withMarks(version)
  const latestList = version.allowList ?? (await lastAllowList(database))
  if (source === version && (latestList ?? file) === version.allowList) return { storeId, model: version }
  const parsed = compileModel(source.json)
  const list = version.allowList ?? lackedList(parsed, file, latestList)
  if (source === version && list === version.allowList) return { storeId, model: version }
  const target = versioned(source, list)
  const [refusal] = refusalsOf(parsed).filter(({ rule }) => rule === 'own_marks_changed')
  if (refusal !== undefined)
    throw new OperatorError(`The model in force cannot be used: ${refusal.relation}: ${refusal.detail}`)
  const id = await write(api, storeId, target.json)
  // Its plan and who confirmed it stay with it: a demo's file does not undo that.
  const model: ModelVersion = { ...version, ...target, id, activatedAt: new Date(now()) }
  const isOurs = await database.transaction(async (sql) => {
    if ((await readPin(sql, { lock: 'update' }))?.model_id !== version.id) return false
    await writePin(sql, storeId, model)
    await record(sql, operator(newTxn()), {
      event: 'model_activated',
      digest: model.digest,
      base_model: version.id,
      model_id: id,
    })
    return true
  })
  return isOurs ? { storeId, model } : undefined
}

/**
 * What fits of the list that was last in force: a start never puts a wider file in its place. Undefined: the
 * model makes it one that is refused, and nobody writes until people confirm another. Where none ever was in
 * force, the file's.
 */
function lackedList(
  model: Model,
  file: string | undefined,
  latestList: string | undefined,
): string | undefined {
  const listText = latestList ?? file
  const text = listText && readable(() => fitted(listText, model).text)
  if (text === undefined) return undefined
  if (latestList === undefined) assertNoProblem(text, model)
  return problemsOf(readAllowList(text), model).length === 0 ? text : undefined
}

/** As OpenFGA would: its own words come only once it is asked. Throws OperatorError. */
function compiled(json: ModelJson): Model {
  try {
    return compileModel(json)
  } catch (error) {
    throw error instanceof FgaError ? refusedModel(error.message) : error
  }
}

async function write(api: FgaApi, storeId: string, json: ModelJson): Promise<string> {
  try {
    return (await api.writeAuthorizationModel(storeId, json)).authorization_model_id
  } catch (error) {
    throw error instanceof FgaApiValidationError
      ? refusedModel(error.apiErrorMessage ?? String(error.apiErrorCode))
      : error
  }
}

/**
 * Only what OpenFGA says of the model: the SDK's error has the whole request, and names nothing that could be
 * done.
 */
const refusedModel = (reason: string): OperatorError =>
  new OperatorError(
    `OpenFGA refuses the authorization model: ${reason}. Nothing was changed. ` +
      'Put the model.fga of this version back or mend yours, and use a version of OpenFGA that this one is tested with.',
  )

/** The model in force, kept for going back to it also where it was put in force before models were kept. */
async function versionOf(
  { database, dsl, now }: DeployOptions,
  pin: Pin,
  json: ModelJson,
): Promise<ModelVersion> {
  const storedVersion = await readVersion(database, pin.model_id)
  if (storedVersion !== undefined) return storedVersion
  const version: ModelVersion = {
    id: pin.model_id,
    digest: pin.digest,
    dsl: pin.digest === digestOf(dsl) ? dsl : undefined,
    json,
    allowList: undefined,
    plan: undefined,
    activatedBy: [],
    activatedAt: new Date(now()),
  }
  await keepVersion(database, version)
  return version
}

// A server that lost its store answers reads with nothing and 200; better not to start on it.
async function readPresent(api: FgaApi, { store_id, model_id }: Pin): Promise<ModelJson> {
  try {
    // Both: the server goes on serving the models of a deleted store.
    await api.getStore(store_id)
    const { authorization_model } = await api.readAuthorizationModel(store_id, model_id)
    if (authorization_model === undefined) throw new Error('no model in the answer')
    const { id: _, ...json } = authorization_model
    return json
  } catch (error) {
    throw new AppError('authorization_unavailable', {
      internal: `OpenFGA does not answer for store ${store_id}, model ${model_id}`,
      cause: error,
    })
  }
}
