import { readFile } from 'node:fs/promises'
import { html } from 'hono/html'
import { type App, type AppContext, createRouter } from '../../env.ts'
import { page, pageHeaders } from '../../pages/layout.ts'

export interface ConsoleRouteDeps {
  /**
   * What `packages/console/build.ts` makes: the page, and its files, whose names change with what is in them.
   */
  readonly folder: URL
  readonly publicUrl: string
  /** For `DPoP-Nonce`. */
  readonly nonce: () => string
}

/**
 * Whatever stands in a record, in a name or in a model: nothing of it can run, load, frame or send anything.
 */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

const types: Readonly<Record<string, string>> = {
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
}

/**
 * `/console`: files alone, the same for everybody. The page signs its person in at the authorization server
 * and asks the API like any other client; no cookie opens anything here.
 */
export function consoleRoutes({ folder, publicUrl, nonce }: ConsoleRouteDeps): App {
  const routes = createRouter()
  routes.get('/console/files/:name{[A-Za-z0-9_-]+\\.(?:js|css)}', async (c) => {
    const name = c.req.param('name')
    const file = await read(new URL(name, folder))
    if (file === undefined) return c.notFound()
    return c.body(file, 200, {
      'content-type': types[name.split('.')[1] ?? ''] ?? '',
      'cache-control': 'public, max-age=31536000, immutable',
    })
  })
  const page = async (c: AppContext) => {
    const file = await read(new URL('index.html', folder))
    if (file === undefined) return c.html(notBuiltPage(), 503, pageHeaders())
    const html = new TextDecoder().decode(file).replace('%PUBLIC_URL%', encodeURI(publicUrl))
    // The page ends here whenever it asks for a code, whose redeeming needs one: without, each load was
    // refused once.
    return c.html(html, 200, {
      ...pageHeaders(),
      'content-security-policy': policy,
      'dpop-nonce': nonce(),
    })
  }
  routes.get('/console', page)
  routes.get('/console/*', page)
  return routes
}

async function read(url: URL): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    return new Uint8Array(await readFile(url))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Where the console's files are not there: the service was started past `npm start`. */
const notBuiltPage = (): string =>
  page({
    title: 'Not built',
    body: html`<h1>The console was not built</h1>
<p>Whoever runs this service makes it by <code>npm run build --workspace @remit/console</code>; <code>npm start</code> does it by itself.</p>`,
  })
