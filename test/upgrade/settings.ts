import type { SourceKind } from '../../src/sources/kind.ts'
import { Wiki, wikiKind, wikiOrigin } from '../sources/wiki.ts'

/** Settings under which a version was frozen, and under which its database is opened again. */
export const frozenSettings: Readonly<Record<string, string>> = {
  MODEL_APPLY_APPROVERS: '2',
  RATE_PER_MINUTE: '100000',
  BEGIN_PER_MINUTE: '100000',
  REQUEST_DEADLINE_MS: '30000',
  SOURCE_ORIGINS: wikiOrigin,
  // Nobody comes from it: a directory needs a namespace of its own.
  TRUSTED_ISSUERS: JSON.stringify([
    {
      issuer: 'http://127.0.0.1:9',
      audiences: { api: 'http://localhost:8787', mcp: 'http://localhost:8787/mcp' },
      namespace: 'acme',
      preset: 'generic',
    },
  ]),
}

/** The other system that the source `wiki` reads: the same at each freeze and each upgrade. */
export function frozenSources(): readonly SourceKind[] {
  const wiki = new Wiki()
  wiki.groups.set('team', ['bob'])
  wiki.put('canteen', { text: 'The canteen of the wiki serves soup.', readers: ['anne'] })
  wiki.put('roof', { text: 'The roof of the wiki is closed.', readers: ['@team'] })
  return [wikiKind(wiki)]
}

/** Words in a text whose taking in does not end while a version is frozen. */
export const unfinished = 'unfinished'
