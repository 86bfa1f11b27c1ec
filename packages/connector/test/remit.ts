import { type DocumentInput, type Job, NotFound, RemitError, type Writer } from '@remit/client'

/** Remit as a writer sees it, in memory; `before` stands before each call, and throws what it likes. */
export function openRemit() {
  const documents = new Map<string, DocumentInput>()
  const tuples = new Set<string>()
  const calls: string[] = []
  const remit = {
    documents,
    tuples,
    calls,
    before: (_call: string): void => undefined,
    /** Whether it takes a tuple neither to write nor to delete. */
    refuses: (tuple: string): boolean => tuple.startsWith('user:refused '),
    /** Why a document is refused. */
    refusal: (_document: DocumentInput): string | undefined => undefined,
    readable: () =>
      [...documents.values()].flatMap(({ id, text, access }) =>
        access?.viewers?.length ? [`${id}=${text}`] : [],
      ),
  }
  const called = (call: string) => {
    calls.push(call)
    remit.before(call)
  }
  const job = (facts: Partial<Job>): Job => ({
    ...{ id: 'j', state: 'done', done: 0, failed: 0, total: 0, withdrawn: 0, errors: [], notes: [] },
    ...facts,
  })
  const missing = () => new NotFound('not_found', { status: 404 }, {})
  const writer: Writer = {
    async put(document) {
      called(`put ${document.id}`)
      const detail = remit.refusal(document)
      if (detail !== undefined) throw new RemitError('invalid_request', { status: 422, message: detail }, {})
      documents.set(document.id, document)
      return job({ done: 1 })
    },
    async withdraw(id) {
      called(`withdraw ${id}`)
      if (!documents.delete(id)) throw missing()
      return job({ done: 1, withdrawn: 1 })
    },
    async setAccess(id, access) {
      called(`access ${id}`)
      const document = documents.get(id)
      if (document === undefined) throw missing()
      documents.set(id, { ...document, access })
      return { notes: [], txn: 't' }
    },
    async changeAccess({ writes = [], deletes = [] }) {
      called(`tuples +${writes.length} -${deletes.length}`)
      const bad = [...writes, ...deletes].some(({ user, relation, object }) =>
        remit.refuses(`${user} ${relation} ${object}`),
      )
      if (bad) throw new RemitError('forbidden', { status: 403 }, {})
      for (const { user, relation, object } of deletes) tuples.delete(`${user} ${relation} ${object}`)
      for (const { user, relation, object } of writes) tuples.add(`${user} ${relation} ${object}`)
      return { notes: [], txn: 't' }
    },
    async importAll(lines) {
      if (typeof lines === 'function') throw new Error('no stream')
      const all = [...lines]
      called(`import ${all.map(({ id }) => id).join(' ')}`)
      const errors = all.flatMap((document, at) => {
        const detail = remit.refusal(document)
        if (detail === undefined) documents.set(document.id, document)
        return detail === undefined ? [] : [{ line: at + 1, code: 'invalid_request', detail }]
      })
      return job({ done: all.length - errors.length, failed: errors.length, total: all.length, errors })
    },
    waitFor: async () => job({}),
  }
  return Object.assign(remit, { writer })
}
