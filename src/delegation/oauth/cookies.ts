import type { IncomingMessage } from 'node:http'
import type { Configuration, KoaContextWithOIDC } from 'oidc-provider'

const prefix = '__Host-'

/**
 * The library's cookies. Over https their names bind them to this host alone, like those of our own pages:
 * another host of the same site could otherwise plant a session of its own owner, signature included, and a
 * person would consent in it. Needs {@link hostCookies}.
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
  } as const
  return {
    keys: [key],
    names: {
      session: bound('remit_oauth'),
      interaction: bound('remit_oauth_interaction'),
      resume: bound('remit_oauth_resume'),
    },
    long: options,
    // One answer may end a flow and begin the next: two cookies of one name.
    short: { ...options, overwrite: false },
  }
}

/**
 * Browsers drop a `__Host-` cookie with a path, and the library tells the flows of one browser apart by
 * nothing but their paths. So what it sets for a flow goes out under a name that ends with the flow's id, and
 * {@link ofFlow} gives it back under the name that the library knows.
 */
export async function hostCookies(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
  await next()
  const set = ctx.res.getHeader('set-cookie')
  if (set === undefined) return
  const lines = [set].flat().map(String)
  const endedFlows = flowsOf(lines, /^=$/)
  const startedFlows = flowsOf(lines, /^=./)
  const openFlowIds = startedFlows.length === 0 ? [] : openFlows(ctx.req.headers.cookie ?? '')
  // A browser sends first what it got first (RFC 6265 §5.4).
  const oldest = openFlowIds.slice(0, Math.max(0, openFlowIds.length + 1 - flowsMax))
  ctx.res.setHeader('set-cookie', [...lines.map(atRoot), ...[...endedFlows, ...oldest].flatMap(removal)])
}

/**
 * Makes the flow's own cookies those that the library finds in the request. `path`: of the request, which
 * names it.
 */
export function ofFlow(request: IncomingMessage, path: string): void {
  const segments = path.split('/')
  request.headers.cookie = request.headers.cookie
    ?.split(';')
    .map((pair) => {
      const [, leading, name, flow, remainder] = flowPair.exec(pair) ?? []
      return flow !== undefined && segments.includes(flow) ? `${leading}${name}${remainder}` : pair
    })
    .join(';')
}

/** Sign-ins that one browser may have begun and not finished: each takes some 600 bytes of every request. */
const flowsMax = 6
const flowNames = [`${prefix}remit_oauth_interaction`, `${prefix}remit_oauth_resume`]
/** Of one pair of the header: looked for in all of it, each blank would be looked back from. */
const flowPair = new RegExp(`^(\\s*)(${flowNames.join('|')})\\.([\\w-]+)((?:\\.sig)?=.*)$`, 's')
const flowLine = new RegExp(`^(${flowNames.join('|')})((?:\\.sig)?=[^;]*); path=[^;]*/([\\w-]+)(?=;|$)`, 'i')

const atRoot = (line: string): string =>
  line.startsWith(prefix)
    ? line.replace(flowLine, '$1.$3$2; path=/').replace(/; path=[^;]*/i, '; path=/')
    : line

/** Ids of the flows for which the library sets such a value. */
const flowsOf = (lines: readonly string[], value: RegExp): string[] =>
  lines.flatMap((line) => {
    const [, name, set = '', flow = ''] = flowLine.exec(line) ?? []
    return name === flowNames[1] && value.test(set) ? [flow] : []
  })

const openFlows = (cookie: string): string[] => [
  ...new Set(cookie.split(';').flatMap((pair) => flowPair.exec(pair)?.[3] ?? [])),
]

const removal = (flow: string): string[] =>
  flowNames.flatMap((name) =>
    ['', '.sig'].map(
      (nameSuffix) =>
        `${name}.${flow}${nameSuffix}=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; secure; httponly`,
    ),
  )
