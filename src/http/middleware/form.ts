import type { MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { AppError } from '../../kernel/errors.ts'
import type { AppContext, AppEnv } from '../env.ts'

/** What a form holds: a text, a file, or several where a name comes more than once. */
export type Fields = Readonly<Record<string, unknown>>

const formBytesMax = 64 * 1024

const formLimit = bodyLimit({
  maxSize: formBytesMax,
  onError: () => {
    throw new AppError('payload_too_large')
  },
})

/**
 * Reads a body of at most 64 KiB before whoever comes next asks who sent it: its sender may take two minutes,
 * in which their session may end.
 */
export const wholeForm: MiddlewareHandler<AppEnv> = (c, next) =>
  formLimit(c, async () => {
    // Kept, for each who parses it. One that broke off is theirs to refuse.
    await c.req.arrayBuffer().catch(() => undefined)
    await next()
  })

/** Whether a request is a form of a page, not a program's JSON. */
export const isForm = (c: AppContext): boolean =>
  (c.req.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ===
  'application/x-www-form-urlencoded'

/** What a form ends may be over already, perhaps by a second press: the page then shows how it stands. */
export async function unlessOver<T>(ended: Promise<T>): Promise<T | undefined> {
  try {
    return await ended
  } catch (error) {
    if (error instanceof AppError && error.code === 'not_found') return undefined
    throw error
  }
}

/** A field of a form as text; empty where it is a file or absent. */
export const textOf = (field: unknown): string => (typeof field === 'string' ? field : '')

/** Every text of a field that may come more than once. */
export const textsOf = (field: unknown): string[] =>
  [field].flat().filter((entry): entry is string => typeof entry === 'string')
