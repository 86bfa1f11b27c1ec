import { z } from 'zod'

/** Forms that several settings share. */

const loopbackHosts = new Set(['127.0.0.1', '::1', 'localhost', '[::1]'])

export const isLoopback = (host: string): boolean => loopbackHosts.has(host.toLowerCase())

export const httpsOrLoopback = z
  .string()
  .refine(isHttpsOrLoopback, { message: 'must be https, or http on loopback' })

// `URL.parse`, not `new URL`: a throw would hide every other problem.
function isHttpsOrLoopback(value: string): boolean {
  const url = URL.parse(value)
  return url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url.hostname))
}

/** Where a secret is read from: it never stands in a setting that people copy around. */
export const variableName = z
  .string()
  .regex(/^[A-Z][A-Z0-9_]*$/, 'must be the name of an environment variable (A-Z 0-9 _)')

/** A setting that holds JSON. */
export const json = z.string().transform((text, context) => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    context.addIssue({ code: 'custom', message: 'is not JSON' })
    return z.NEVER
  }
})
