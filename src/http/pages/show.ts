import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { AppContext } from '../env.ts'
import { type PageRights, pageHeaders } from './layout.ts'

/** Answers with a page, and with the headers that every page has. */
export const showPage = (
  c: AppContext,
  page: string,
  { status = 200, ...rights }: PageRights & { readonly status?: ContentfulStatusCode } = {},
): Response => c.html(page, status, pageHeaders(rights))
