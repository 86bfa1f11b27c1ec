import { transformer } from '@openfga/syntax-transformer'
import type { Json, JsonObject } from '../../src/core/condition-values.ts'
import { createEngine } from '../../src/index.ts'

export interface Answer {
  readonly status: number
  readonly body: JsonObject
  readonly text: string
}

/** Something that speaks OpenFGA's HTTP API: the engine, or a real server. */
export interface Target {
  readonly name: string
  call(method: string, path: string, body?: JsonObject): Promise<Answer>
}

export function engineTarget(): Target {
  const engine = createEngine({
    onError: (error) => {
      throw error
    },
  })
  return {
    name: 'engine',
    call: (method, path, body) =>
      send((request) => engine.fetch(request), 'http://engine', method, path, body),
  }
}

/** The real server named by `OPENFGA_TEST_URL`, with `OPENFGA_TEST_TOKEN` as its preshared key. */
export const serverTarget = (): Target | undefined => targetAt(process.env['OPENFGA_TEST_URL'])

/**
 * The same version with its weighted-graph engine on, named by `OPENFGA_WEIGHTED_TEST_URL`; it has the same
 * key.
 */
export const weightedTarget = (): Target | undefined => targetAt(process.env['OPENFGA_WEIGHTED_TEST_URL'])

function targetAt(url: string | undefined): Target | undefined {
  const token = process.env['OPENFGA_TEST_TOKEN']
  if (url === undefined || url === '') return undefined
  const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` }
  return {
    name: 'server',
    call: (method, path, body) => send(fetch, url.replace(/\/$/, ''), method, path, body, headers),
  }
}

async function send(
  fetcher: (request: Request) => Promise<Response>,
  base: string,
  method: string,
  path: string,
  body?: JsonObject,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetcher(
    new Request(base + path, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  )
  const text = await response.text()
  const isOneObject = text !== '' && !path.endsWith('/streamed-list-objects')
  return { status: response.status, text, body: isOneObject ? JSON.parse(text) : {} }
}

/** What a query says, without the order of lists: a boolean, a sorted list, or `code:…`. */
export type Verdict = boolean | string | readonly string[]

/**
 * The server gave up on its own deadline, of the call or of one item: that says nothing of what it would have
 * said.
 */
export const isOverdue = (verdict: Verdict | undefined): boolean =>
  verdict === 'code:deadline_exceeded' || verdict === 'error:deadline_exceeded'

export const same = (a: Verdict, b: Verdict): boolean => JSON.stringify(a) === JSON.stringify(b)

export async function createStore(target: Target): Promise<string> {
  const { body } = await target.call('POST', '/stores', { name: 'matrix' })
  return `/stores/${String(body['id'])}`
}

export async function writeModel(target: Target, store: string, model: JsonObject): Promise<string> {
  const answer = await target.call('POST', `${store}/authorization-models`, model)
  if (answer.status !== 201) throw new Error(`model refused by ${target.name}: ${answer.text}`)
  return String(answer.body['authorization_model_id'])
}

export const parseDsl = (dsl: string): JsonObject =>
  JSON.parse(JSON.stringify(transformer.transformDSLToJSONObject(dsl)))

const codeOf = (answer: Answer): string => `code:${String(answer.body['code'])}`

export async function askCheck(target: Target, store: string, body: JsonObject): Promise<Verdict> {
  const answer = await target.call('POST', `${store}/check`, body)
  return answer.status === 200 ? answer.body['allowed'] === true : codeOf(answer)
}

/**
 * One verdict an item, in the order given; 50 go in one call. Items err alone, and with more detail than
 * checks.
 */
export async function askBatch(
  target: Target,
  store: string,
  items: readonly JsonObject[],
): Promise<Verdict[]> {
  const verdicts: Verdict[] = []
  for (let at = 0; at < items.length; at += 50) {
    const page = items.slice(at, at + 50)
    const checks = page.map((item, index) => ({ ...item, correlation_id: String(index) }))
    const answer = await target.call('POST', `${store}/batch-check`, { checks })
    const result = objectOf(answer.body['result'])
    for (const index of page.keys()) {
      const { allowed, error } = objectOf(result[String(index)])
      const { input_error, internal_error } = objectOf(error)
      if (answer.status !== 200) verdicts.push(codeOf(answer))
      else
        verdicts.push(
          typeof allowed === 'boolean' ? allowed : `error:${String(input_error ?? internal_error)}`,
        )
    }
  }
  return verdicts
}

export async function askObjects(target: Target, store: string, body: JsonObject): Promise<Verdict> {
  const answer = await target.call('POST', `${store}/list-objects`, body)
  return answer.status === 200 ? strings(answer.body['objects']).sort() : codeOf(answer)
}

/** Objects of the stream; a stream that ends with an error is `failed`. */
export async function askStream(target: Target, store: string, body: JsonObject): Promise<Verdict> {
  const answer = await target.call('POST', `${store}/streamed-list-objects`, body)
  const lines = answer.text
    .split('\n')
    .filter((line) => line !== '')
    .map((line): JsonObject => JSON.parse(line))
  if (lines.some((line) => line['error'] !== undefined)) return 'failed'
  return lines.map((line) => String(objectOf(line['result'])['object'])).sort()
}

export async function askUsers(target: Target, store: string, body: JsonObject): Promise<Verdict> {
  const answer = await target.call('POST', `${store}/list-users`, body)
  if (answer.status !== 200) return codeOf(answer)
  const users = answer.body['users']
  return (Array.isArray(users) ? users : []).map((user: Json) => showUser(objectOf(user))).sort()
}

function showUser(user: JsonObject): string {
  const of = (kind: string): JsonObject => objectOf(user[kind])
  if (user['wildcard'] !== undefined) return `${String(of('wildcard')['type'])}:*`
  if (user['userset'] !== undefined)
    return `${String(of('userset')['type'])}:${String(of('userset')['id'])}#${String(of('userset')['relation'])}`
  return `${String(of('object')['type'])}:${String(of('object')['id'])}`
}

const objectOf = (value: Json | undefined): JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {}

const strings = (value: Json | undefined): string[] => (Array.isArray(value) ? value.map(String) : [])
