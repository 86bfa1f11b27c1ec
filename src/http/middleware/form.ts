import type { AppContext } from '../env.ts'

/** Whether a request is a form of a page, not a program's JSON. */
export const isForm = (c: AppContext): boolean =>
  (c.req.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ===
  'application/x-www-form-urlencoded'
