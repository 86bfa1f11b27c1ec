import { fileURLToPath, pathToFileURL } from 'node:url'
import { z } from 'zod'
import { isDomain } from '../kernel/plain-address.ts'
import { json, list } from './forms.ts'
import { group } from './group.ts'
import { misnamed, secretEntries, withValues } from './registered-secrets.ts'

/** A folder as `pathToFileURL` spells it, but not all of the machine; or an origin as URLs spell it. */
function isOrigin(value: string): boolean {
  const url = URL.parse(value)
  if (url === null) return false
  if (url.protocol === 'http:' || url.protocol === 'https:') return url.origin === value
  if (url.protocol !== 'file:' || url.host !== '' || url.pathname === '/' || url.pathname.endsWith('/'))
    return false
  try {
    return pathToFileURL(fileURLToPath(url)).href === value
  } catch {
    return false
  }
}

const origin = z.string().refine(isOrigin, {
  message:
    'must be an origin like https://wiki.corp.example, or a folder like file:///srv/shared without a slash at its end',
})

const domain = z.strictObject({
  domain: z.string().refine(isDomain, 'must be a domain in small letters, like corp.example'),
  directory: z.string().min(1).max(200),
})

// Of one domain one directory's word counts: else the second one could say who the first one's people are.
const domains = json.pipe(
  z.array(domain).refine((entries) => new Set(entries.map((entry) => entry.domain)).size === entries.length, {
    message: 'names a domain twice',
  }),
)

/** What the service reads by itself. */
export const sources = group({
  settings: {
    SOURCE_ORIGINS: list
      .pipe(z.array(origin))
      .default([])
      .describe(
        'What sources may read, with commas between: origins (https://wiki.corp.example) and folders of this machine (file:///srv/shared), exactly as a source names them. One inside your network stands in OUTBOUND_ALLOWED_ORIGINS too. Default none: no source can be added.',
      ),
    SOURCE_SECRETS: secretEntries(z.string().min(1).max(40), origin)
      .default([])
      .describe(
        'JSON array of the credentials that sources may use: [{name, kind, origin, secret_env?}], each for one kind at one origin. Without secret_env another process has the value, and reads the sources that use it. docs/sources.md.',
      ),
    SOURCE_DOMAINS: domains
      .default([])
      .describe(
        'JSON array of e-mail domains with the directory whose word counts for each: [{domain, directory}]. An account of a source that verifies addresses is the person to whom that directory gives the same address. Default none: no address says who anybody is. docs/sources.md.',
      ),
  },
  read: ({ SOURCE_ORIGINS, SOURCE_SECRETS, SOURCE_DOMAINS }, _, env) => ({
    /** Domain → the directory whose word counts for it. */
    sourceDomains: new Map(SOURCE_DOMAINS.map(({ domain: name, directory }) => [name, directory])),
    sourceOrigins: SOURCE_ORIGINS,
    sourceSecrets: withValues(SOURCE_SECRETS, env),
  }),
  contradictions: ({ SOURCE_SECRETS: entries = [] }, _, env) => misnamed('SOURCE_SECRETS', entries, env),
})
