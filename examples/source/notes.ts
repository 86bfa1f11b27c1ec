import { createServer } from 'node:http'

/** A page of the other system. A reader is a name, or `@` and the name of a group. */
interface Page {
  readonly title: string
  /** Of a drawing: none. */
  readonly text?: string
  readonly readers: readonly string[]
}

/**
 * Another system, with a list of readers for each page, to try the source of `kind.ts` against. It answers
 * `GET /pages`, `/pages/NAME` and `/groups` to whoever shows its key.
 */
export function openNotes(key: string) {
  const pages = new Map<string, Page & { readonly revision: number }>()
  const groups = new Map<string, readonly string[]>()
  let revision = 0

  function answer(path: string): unknown {
    const name = decodeURIComponent(path.slice('/pages/'.length))
    if (path === '/groups') return Object.fromEntries(groups)
    if (path.startsWith('/pages/')) return pages.get(name)
    return path === '/pages' ? [...pages].map(([id, { text: _, ...page }]) => ({ id, ...page })) : undefined
  }

  const server = createServer((request, response) => {
    const isAllowed = request.headers.authorization === `Bearer ${key}`
    const body = isAllowed ? answer(request.url ?? '') : undefined
    response.writeHead(isAllowed ? (body === undefined ? 404 : 200) : 401).end(JSON.stringify(body))
  })

  return {
    groups,
    put(name: string, page: Page): void {
      revision += 1
      pages.set(name, { ...page, revision })
    },
    remove: (name: string) => pages.delete(name),
    /** Its address, once it listens. */
    listen: () =>
      new Promise<string>((resolve) => {
        server.listen(0, '127.0.0.1', () => {
          const address = server.address()
          if (typeof address === 'object') resolve(`http://127.0.0.1:${address?.port}`)
        })
      }),
    close: () => server.close(),
  }
}
