import { generateCookie, getCookie, setCookie } from 'hono/cookie'
import type { AppContext } from '../env.ts'

/** A cookie of ours that no script reads. Over https its name binds it to this host alone. */
export interface OwnCookie {
  read(c: AppContext): string | undefined
  write(c: AppContext, value: string): void
  remove(c: AppContext): void
  /** The header `Set-Cookie` that writes it, kept for so many seconds beyond the browser's end. */
  line(value: string, seconds: number): string
}

/**
 * `strict`: sent only with requests that our own pages began; `lax`: also when a link elsewhere leads here.
 * Ends with the browser: what it stands for ends by itself here.
 */
export function createCookie(
  base: string,
  { publicUrl, sameSite }: { readonly publicUrl: string; readonly sameSite: 'Strict' | 'Lax' },
): OwnCookie {
  const secure = publicUrl.startsWith('https:')
  // Another host of the same site, and whoever speaks plain http in its name, cannot set a cookie of this
  // name.
  const name = secure ? `__Host-${base}` : base
  const options = { httpOnly: true, sameSite, path: '/', secure } as const
  return {
    read: (c) => {
      const value = getCookie(c, name)
      return value === '' ? undefined : value
    },
    write: (c, value) => setCookie(c, name, value, options),
    remove: (c) => setCookie(c, name, '', { ...options, maxAge: 0 }),
    line: (value, seconds) => generateCookie(name, value, { ...options, maxAge: seconds }),
  }
}

/** Holds the id of the person's session on our pages. */
export const createSessionCookie = (publicUrl: string): OwnCookie =>
  createCookie('remit_session', { publicUrl, sameSite: 'Strict' })
