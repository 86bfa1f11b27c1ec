import type { Adapter, Answer } from '../src/adapter.ts'
import type { Twin } from './twin.ts'

/** How somebody tells of an endpoint of their own. */
export function twinAdapter(twin: Twin): Adapter {
  const call = (method: string, path: string, token: string, body?: object) =>
    twin.answer(method, path, token === '' ? undefined : `Bearer ${token}`, body ? JSON.stringify(body) : '')
  const answerOf = ({ status, raw }: { status: number; raw: string }): Answer => {
    const { passages = [], complete, total } = JSON.parse(raw)
    const facts = total === undefined ? {} : { total }
    return { status, bytes: raw.length, raw, passages, facts, ...(complete !== undefined && { complete }) }
  }
  const write = async (method: string, id: string, body?: object) => {
    const { status } = await call(method, `/documents/${id}`, '', body)
    if (status !== 200) throw new Error(String(status))
  }
  return {
    name: 'twin',
    retrieve: async ({ token, query, k }) => answerOf(await call('POST', '/retrieve', token, { query, k })),
    read: async ({ token, document }) => answerOf(await call('GET', `/documents/${document}`, token)),
    canary: {
      put: ({ id, text, readers }) => write('PUT', id, { text, readers }),
      setReaders: (id, readers) => write('PUT', id, { readers }),
      remove: (id) => write('DELETE', id),
    },
  }
}
