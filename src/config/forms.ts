import { z } from 'zod'

/** Forms that several settings share. */

const loopbackHosts = new Set(['127.0.0.1', '::1', 'localhost', '[::1]'])

export const isLoopback = (host: string): boolean => loopbackHosts.has(host.toLowerCase())

export const text = z.string().min(1)

/** An `http` or `https` URL. */
export const httpUrl = z.url({ protocol: /^https?$/, message: 'must be an http or https URL' })

export const httpsOrLoopback = z
  .string()
  .refine(isHttpsOrLoopback, { message: 'must be https, or http on loopback' })

// `URL.parse`, not `new URL`: a throw would hide every other problem.
export function isHttpsOrLoopback(value: string): boolean {
  const url = URL.parse(value)
  return url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url.hostname))
}

export const flag = z
  .enum(['true', 'false', '1', '0'], 'must be true or false')
  .transform((value) => value === 'true' || value === '1')

/** How many, at least `least`. */
export const count = (least: number) => z.coerce.number().int().min(least)

/** A number of seconds within bounds. */
export const seconds = (least: number, max: number) => z.coerce.number().min(least).max(max)
/** A whole number of milliseconds within bounds. */
export const milliseconds = (least: number, max: number) => z.coerce.number().int().min(least).max(max)

/** Several, with commas between. */
export const list = z.string().transform((text) => text.split(',').map((item) => item.trim()))

/** Where a secret is read from: it never stands in a setting that people copy around. */
export const variableName = z
  .string()
  .regex(/^[A-Z][A-Z0-9_]*$/, 'must be the name of an environment variable (A-Z 0-9 _)')

/** A setting that holds JSON. */
export const json = z.string().transform((value, context) => {
  try {
    return JSON.parse(value) as unknown
  } catch {
    context.addIssue({ code: 'custom', message: 'is not JSON' })
    return z.NEVER
  }
})
