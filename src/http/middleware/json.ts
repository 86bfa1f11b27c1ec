import { setImmediate as giveWay } from 'node:timers/promises'
import type { MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { AppError, invalid } from '../../kernel/errors.ts'
import { hasTooManyParts, partsMax } from '../../kernel/json-parts.ts'
import type { AppEnv } from '../env.ts'

/**
 * What stands before a route with a JSON body: it says that it is JSON (415), is small enough (413) and
 * plain, and once all of it is there whoever asks may still ask.
 */
export const jsonBody = (bytesMax: number, types: readonly string[] = ['application/json']) =>
  [requireJson(types), smallBody(bytesMax), requirePlain] as const

const requireJson = (types: readonly string[]): MiddlewareHandler<AppEnv> =>
  async function json(c, next) {
    const type = (c.req.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase()
    if (type === undefined || !types.includes(type))
      throw new AppError('unsupported_media_type', { public: `Send ${types.join(' or ')}.` })
    await next()
  }

/**
 * A body that says how long it is, is no longer (RFC 9112 §6.3): Node's parser sees to that. To count it as
 * it comes makes a whole Request and its stream first, half of what reading a question takes.
 */
export function smallBody(bytesMax: number): MiddlewareHandler<AppEnv> {
  const tooLarge = (): never => {
    throw new AppError('payload_too_large', { public: `A body here has at most ${inUnits(bytesMax)}.` })
  }
  const counted = bodyLimit({ maxSize: bytesMax, onError: tooLarge })
  return async function small(c, next) {
    const length = c.req.header('content-length')
    if (length !== undefined && c.req.header('transfer-encoding') === undefined) {
      if (!(Number(length) <= bytesMax)) tooLarge()
    } else if (!c.req.raw.bodyUsed) return counted(c, next)
    // Read whole already, and kept, before a session was asked for.
    else if ((await c.req.arrayBuffer()).byteLength > bytesMax) tooLarge()
    await next()
    return undefined
  }
}

// The schemas drop a member `__proto__` without a word: a filter would not filter, metadata would be lost.
const requirePlain: MiddlewareHandler<AppEnv> = async function plainJson(c, next) {
  // Read once and kept; each who asks for JSON parses it again.
  const text = await c.req.text().catch(() => '')
  // Its sender may take two minutes, in which their token may be over.
  await c.get('deadline').assertStands?.()
  if (await hasTooManyParts(text))
    throw new AppError('payload_too_large', {
      public: `A body has at most ${partsMax} members and elements.`,
    })
  if (mayName.test(text)) {
    // What is no JSON is the validator's to refuse.
    const path = prototypeIn(await c.req.json().catch(() => undefined))
    if (path !== undefined) throw invalid(path, 'This member is not known.')
  }
  // To parse and to validate a long body is work enough for one turn of the event loop.
  if (text.length > longBody) await giveWay()
  await next()
}

/** Characters from which a body is parsed in a turn of the event loop of its own. */
const longBody = 1_000_000

// Any of its letters may be written by its number.
const mayName = /__proto__|\\u/

/** Path of the first member `__proto__`. Without recursion: a body may be nested as deep as it is long. */
function prototypeIn(body: unknown): string | undefined {
  const pending: { readonly value: unknown; readonly path: string }[] = [{ value: body, path: '' }]
  for (let entry = pending.pop(); entry !== undefined; entry = pending.pop()) {
    const { value, path } = entry
    if (typeof value !== 'object' || value === null) continue
    const pathOf = (name: string): string => (path === '' ? name : `${path}.${name}`)
    if (Object.hasOwn(value, '__proto__')) return pathOf('__proto__')
    const see = (member: unknown, name: string | number): void => {
      if (typeof member === 'object' && member !== null)
        pending.push({ value: member, path: pathOf(String(name)) })
    }
    // Not by entries: of a vector those are hundreds of pairs.
    if (Array.isArray(value)) for (let index = 0; index < value.length; index += 1) see(value[index], index)
    else for (const [name, member] of Object.entries(value)) see(member, name)
  }
  return undefined
}

const inUnits = (bytes: number): string => (bytes % 1_024 === 0 ? `${bytes / 1_024} KiB` : `${bytes} bytes`)
