import { readFile } from 'node:fs/promises'
import { errorCodes } from '@remit/contract/errors'
import { AppError } from '../../../kernel/errors.ts'
import { type OpenApi, renderDocs } from '../../docs.ts'
import { type App, createRouter } from '../../env.ts'

export interface DocsRouteDeps {
  /** The contract; asked for once every route is mounted. */
  readonly openApi: () => object
  /** Folder with one Markdown page an error code. */
  readonly errorPages: URL
}

const policy =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** `/openapi.json`, `/docs` and a page for each error code; for anyone, and about nobody. */
export function docsRoutes({ openApi, errorPages }: DocsRouteDeps): App {
  const router = createRouter()
  router.get('/openapi.json', (c) => c.json(openApi(), 200))
  // What a start prints first is this address without a path.
  router.get('/', (c) => c.redirect('/docs'))
  router.get('/docs', (c) => {
    c.header('content-security-policy', policy)
    return c.html(renderDocs(openApi() as OpenApi))
  })
  router.get('/docs/errors/:code', async (c) => {
    const code = c.req.param('code')
    if (!Object.hasOwn(errorCodes, code)) throw new AppError('not_found')
    const page = await readFile(new URL(`${code}.md`, errorPages), 'utf8')
    return c.body(page, 200, { 'content-type': 'text/markdown; charset=utf-8' })
  })
  return router
}
