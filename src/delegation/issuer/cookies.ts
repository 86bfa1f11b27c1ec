import type { Configuration, KoaContextWithOIDC } from 'oidc-provider'

const prefix = '__Host-'

/**
 * The library's cookies. Over https their names bind them to this host alone, like those of our own pages: another host
 * of the same site could otherwise plant a session of its own owner, signature included, and a person would consent in
 * it. Needs {@link hostCookies}.
 */
export function issuerCookies(publicUrl: string, key: string): NonNullable<Configuration['cookies']> {
  const secure = publicUrl.startsWith('https:')
  const bound = (name: string): string => (secure ? `${prefix}${name}` : name)
  const options = {
    httpOnly: true,
    sameSite: 'lax',
    signed: true,
    overwrite: true,
    secure,
    ...(secure && { path: '/' }),
  } as const
  return {
    keys: [key],
    names: {
      session: bound('remit_oauth'),
      interaction: bound('remit_oauth_interaction'),
      resume: bound('remit_oauth_resume'),
    },
    long: options,
    short: options,
  }
}

/**
 * Browsers drop a `__Host-` cookie with a path, and the library gives one of its own to where a flow goes on. Of two
 * flows that one browser begins at once, the later one is then the one that can be finished.
 */
export async function hostCookies(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
  await next()
  const set = ctx.res.getHeader('set-cookie')
  if (set === undefined) return
  ctx.res.setHeader(
    'set-cookie',
    [set].flat().map((line) => (String(line).startsWith(prefix) ? atRoot(String(line)) : String(line))),
  )
}

const atRoot = (line: string): string => line.replace(/; path=[^;]*/i, '; path=/')
