import { randomBytes } from 'node:crypto'
import type { Adapter, Answer } from '../../packages/prove/src/adapter.ts'
import { administer } from '../support/administer.ts'
import { native } from '../support/native.ts'
import { startWardowl } from '../support/wardowl.ts'
import type { Readers } from './readers.ts'
import { people } from './small.ts'

export interface WardowlOptions {
  readonly readers: Readers
  /** Of its OpenFGAAuthorizer, by their names in Python. */
  readonly authorizer?: Readonly<Record<string, unknown>>
  /** Of its PermissionedRetriever, likewise. */
  readonly retriever?: Readonly<Record<string, unknown>>
  /** Its CachingAuthorizer stands before OpenFGA, and remembers for so many seconds. */
  readonly cached?: number
  /** Hits that an answer has at most: it refuses a question for more. Default: 50, as its service. */
  readonly most?: number
}

/** wardowl's own HTTP service, as a process of its own, on a database of its own. */
export async function openWardowl(options: WardowlOptions): Promise<Adapter & AsyncDisposable> {
  const { readers, most = 50, ...settings } = options
  const url = native.databaseUrl ?? ''
  await using stack = new AsyncDisposableStack()
  const name = `remit_test_${randomBytes(6).toString('hex')}`
  await administer(url, `create database ${name}`)
  stack.defer(() => administer(url, `drop database if exists ${name} with (force)`))
  const { at } = stack.use(
    await startWardowl({
      ...settings,
      database: Object.assign(new URL(url), { pathname: `/${name}` }).href,
      openfga: readers.url,
      store: readers.store,
      people: Object.fromEntries(people.map(({ token, person }) => [token, person])),
    }),
  )
  const owned = stack.move()

  const must = async (method: string, id: string, body?: object): Promise<void> => {
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(`${at}/documents/${id}`, {
      method,
      ...(body && { headers, body: JSON.stringify(body) }),
    })
    if (!response.ok) throw new Error(`wardowl's writer answered ${response.status}.`)
  }
  return {
    name: 'wardowl',
    async retrieve({ token, query, k, signal, traceparent }): Promise<Answer> {
      const response = await fetch(`${at}/v1/retrieve`, {
        method: 'POST',
        signal,
        headers: {
          traceparent,
          'content-type': 'application/json',
          ...(token !== '' && { authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify({ query, k: Math.min(k, most) }),
      })
      const raw = await response.text()
      const { hits = [], complete } = JSON.parse(raw) as {
        readonly hits?: readonly { readonly id: string; readonly text: string; readonly score: number }[]
        readonly complete?: boolean
      }
      return {
        status: response.status,
        bytes: raw.length,
        raw,
        passages: hits.map(({ id, text, score }) => ({ id, document: id, text, score })),
        ...(complete !== undefined && { complete }),
      }
    },
    canary: readers.canaryOf({
      put: (id, text) => must('PUT', id, { text }),
      remove: (id) => must('DELETE', id),
    }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
