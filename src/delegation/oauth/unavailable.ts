import type { KoaContextWithOIDC } from 'oidc-provider'
import { AppError } from '../../kernel/errors.ts'

/**
 * What the library makes a bare 500 of, and Koa a line of text: a failure of ours that passes by itself. It
 * becomes a 503 in OAuth's form (RFC 6749 §4.1.2.1 names the code), so that a client asks again and discards
 * nothing. False: it is none of those, or was sent to the client as a redirect; then nothing was changed.
 */
export function answerUnavailable(ctx: KoaContextWithOIDC, error: unknown, page: ErrorPage): boolean {
  if (!(error instanceof AppError) || error.status !== 503 || isRedirect(ctx)) return false
  const detail = 'Ask again in a few seconds.'
  ctx.status = 503
  ctx.set({ 'retry-after': '5', ...error.headers })
  if (ctx.accepts('json', 'html') === 'html') {
    ctx.type = 'html'
    ctx.body = page({ code: unavailableCode, detail })
  } else ctx.body = { error: unavailableCode, error_description: detail }
  return true
}

/** Makes the HTML of an error. Its texts are ours, never the request's. */
export type ErrorPage = (problem: { readonly code: string; readonly detail: string }) => string

const unavailableCode = 'temporarily_unavailable'

const isRedirect = ({ status }: KoaContextWithOIDC): boolean => status >= 300 && status < 400

/** Around the middleware that runs after the library's own handling of errors. */
export function createUnavailable(page: ErrorPage) {
  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    try {
      await next()
    } catch (error) {
      if (!answerUnavailable(ctx, error, page)) throw error
    }
  }
}
