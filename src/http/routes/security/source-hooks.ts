import { z } from '@hono/zod-openapi'
import { AppError } from '../../../kernel/errors.ts'
import type { SourceHooks } from '../../../sources/hooks.ts'
import { type App, createRouter } from '../../env.ts'
import { smallBody } from '../../middleware/json.ts'
import { id as contractId, openRoute, problems } from '../../schemas.ts'

const bodyBytesMax = 1024 * 1024
const signatureHeader = 'X-Hub-Signature-256'

const params = z.strictObject({ id: contractId })

/**
 * `POST /sources/{id}/hook`, for the source's own system: its call wakes a reading, by a signature as GitHub
 * makes it. A body has 1 MiB at most, and nothing of it is used.
 */
export function sourceHookRoutes({ hooks }: { readonly hooks: Pick<SourceHooks, 'call'> }): App {
  const route = openRoute('post', '/sources/{id}/hook', {
    summary: `Have a source read soon, by ${signatureHeader}: sha256= and HMAC-SHA-256 of the body, whatever that is`,
    middleware: [smallBody(bodyBytesMax)],
    request: { params },
    responses: { 204: { description: 'It is read within seconds' }, ...problems(404) },
  })
  return createRouter().openapi(route, async (c) => {
    const call = {
      body: new Uint8Array(await c.req.arrayBuffer()),
      signature: c.req.header(signatureHeader),
    }
    if (!(await hooks.call(c.req.valid('param').id, call))) throw new AppError('not_found')
    return c.body(null, 204)
  })
}
