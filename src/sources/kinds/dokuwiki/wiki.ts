import { SourceUnavailable } from '@remit/connector'
import { z } from 'zod'
import { printable } from '../../../kernel/printable.ts'
import { type SourceFetch, TooLarge, Unfinished } from '../../fetch.ts'

/** A line of the access control list, as the wiki compares it. */
const entry = z.tuple([z.string(), z.string(), z.string()])

const account = z.strictObject({
  account: z.string(),
  /** What entries call it: `anne`, and `@group` for each of its groups. */
  names: z.array(z.string()).min(1),
  superuser: z.boolean(),
  /** Those with a placeholder, as they are once this account is signed in. They hold for it alone. */
  entries: z.array(entry),
})

const permissions = z.strictObject({
  digest: z.string(),
  entries: z.array(entry),
  accounts: z.array(account),
})
const samePermissions = z.strictObject({ digest: z.string() })
const versions = z.strictObject({ pages: z.array(z.tuple([z.string(), z.number(), z.string()])) })
const texts = z.strictObject({ texts: z.array(z.tuple([z.string(), z.string(), z.number(), z.string()])) })

const refusal = z.strictObject({ problem: z.string() })

export type WikiEntry = z.output<typeof entry>
export type WikiAccount = z.output<typeof account>

/** Who may read what in the wiki. Another digest whenever anything of it is other. */
export type WikiPermissions = z.output<typeof permissions>

/** A page as it was seen. */
export interface WikiPage {
  /** `hr:plan` */
  readonly id: string
  /** Of its text. */
  readonly digest: string
  /** 0: the wiki cannot read its file. */
  readonly bytes: number
}

/** A page with its text. */
export interface WikiText {
  readonly id: string
  readonly digest: string
  /** Empty: the wiki cannot read its file. */
  readonly text: string
  readonly modifiedAt: Date
}

/**
 * The wiki failed at what was asked for: 5xx, half an answer, one that is too large, or none in time. It may
 * answer somebody who asks for less.
 */
export class WikiFailed extends SourceUnavailable {}

/**
 * What the plugin of the wiki tells. Each throws SourceUnavailable where it does not, or not as it should.
 */
export interface Wiki {
  /** Of these accounts; one that the wiki does not know is left out. */
  permissions(accounts: readonly string[], signal?: AbortSignal): Promise<WikiPermissions>
  /** The digest of what `permissions` would tell. */
  digest(accounts: readonly string[], known: string, signal?: AbortSignal): Promise<string>
  /** All pages, or those of these that are there. */
  pages(ids?: readonly string[], signal?: AbortSignal): Promise<readonly WikiPage[]>
  /** Of those that are there. */
  texts(ids: readonly string[], signal?: AbortSignal): Promise<readonly WikiText[]>
}

/** Where a wiki lies, and as whom it is asked. */
export interface WikiOptions {
  /** Of the wiki at its origin: '' or `/wiki`. */
  readonly path: string
  /** `account:password`. */
  readonly secret: string
  readonly fetch: SourceFetch
}

/** A wiki over its XML-RPC interface, by the plugin `remit`. */
export function createWiki({ path, secret, fetch }: WikiOptions): Wiki {
  const authorization = `Basic ${Buffer.from(secret).toString('base64')}`

  async function call<T>(
    method: string,
    request: object,
    schema: z.ZodType<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const { status, body } = await fetch(`${path}/lib/exe/xmlrpc.php`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'text/xml' },
      body: `<methodCall><methodName>plugin.remit.${method}</methodName><params><param><value><string>${asAscii(request)}</string></value></param></params></methodCall>`,
      signal,
    }).catch((cause: unknown) => {
      if (!(cause instanceof TooLarge || cause instanceof Unfinished)) throw cause
      throw new WikiFailed(cause.message, { cause })
    })
    if (status >= 500) throw new WikiFailed(`The wiki answers ${status}.`)
    if (status !== 200) throw new SourceUnavailable(refusals[status] ?? `The wiki answers ${status}.`)
    const answer = jsonIn(Buffer.from(body).toString())
    const parsedRefusal = refusal.safeParse(answer)
    if (parsedRefusal.success)
      throw new SourceUnavailable(`The wiki refuses. ${printable(parsedRefusal.data.problem)}`)
    const parsed = schema.safeParse(answer)
    if (!parsed.success)
      throw new SourceUnavailable('The wiki’s plugin does not answer as this version of Remit knows it.')
    return parsed.data
  }

  return {
    permissions: (accounts, signal) => call('permissions', { accounts }, permissions, signal),
    digest: async (accounts, knownDigest, signal) =>
      (
        await call(
          'permissions',
          { accounts, known: knownDigest },
          z.union([samePermissions, permissions]),
          signal,
        )
      ).digest,
    pages: async (ids, signal) =>
      (await call('versions', ids === undefined ? {} : { ids }, versions, signal)).pages.map(
        ([id, bytes, digest]) => ({ id, bytes, digest }),
      ),
    texts: async (ids, signal) =>
      (await call('texts', { ids }, texts, signal)).texts.map(([id, text, seconds, digest]) => ({
        id,
        text,
        digest,
        modifiedAt: new Date(seconds * 1_000),
      })),
  }
}

const refusals: Readonly<Record<number, string>> = {
  401: 'The wiki does not let us in: its account or password is another one, or it may not use XML-RPC.',
  403: 'The wiki’s plugin is set up for another account.',
  404: 'The wiki has no XML-RPC interface at this address.',
}

/** JSON in characters that mean nothing in XML. */
const asAscii = (value: object): string =>
  JSON.stringify(value).replace(
    /[<>&\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

const opening = /^(?:<\?xml[^>]*\?>)?\s*<methodResponse>\s*<params>\s*<param>\s*<value>\s*<string>/
const closing = /<\/string>\s*<\/value>\s*<\/param>\s*<\/params>\s*<\/methodResponse>$/
// What stands around an answer is no longer.
const aroundMax = 500

/** The one text of an answer. The plugin escapes everything in it but the quotes of its JSON. */
function jsonIn(answer: string): unknown {
  const xml = answer.trim()
  const [before] = opening.exec(xml.slice(0, aroundMax)) ?? []
  const [after] = closing.exec(xml.slice(-aroundMax)) ?? []
  // A method that it does not know it answers by an empty structure.
  if (before === undefined || after === undefined)
    throw new WikiFailed('The wiki does not answer as its plugin does. Is the plugin there?')
  try {
    return JSON.parse(xml.slice(before.length, -after.length).replaceAll('&quot;', '"'))
  } catch {
    return undefined
  }
}
