import { z } from 'zod'
import { count, isHttpsOrLoopback, isLoopback, list, milliseconds, text } from './forms.ts'
import { group } from './group.ts'

const nodes = list.pipe(
  z.array(
    z
      .string()
      .refine(isHttpsOrLoopback, { message: 'must be https, or http on loopback' })
      .refine((value) => [URL.parse(value)?.origin, `${URL.parse(value)?.origin}/`].includes(value), {
        message: 'must be an origin, without path and password',
      })
      .transform((value) => new URL(value).origin),
  ),
)

/** The search engine apart, for corpora that one machine does not hold. */
export const searchEngine = group({
  settings: {
    SEARCH_ENGINE_URLS: nodes
      .optional()
      .describe(
        'Origins of the nodes of an OpenSearch 3.6 or a later 3 with its k-NN plugin, with commas between. It then finds passages, in place of Postgres; without it nothing of it is loaded. docs/search-engine.md.',
      ),
    SEARCH_ENGINE_USER: text
      .refine((name) => !name.includes(':'), { message: 'must not have a colon (RFC 7617)' })
      .optional()
      .describe('Who Remit is there.'),
    SEARCH_ENGINE_PASSWORD: text
      .optional()
      .describe('Their password. Required with SEARCH_ENGINE_URLS unless all are on loopback.'),
    SEARCH_ENGINE_SHARDS: count(1)
      .max(64)
      .default(3)
      .describe('Parts of a new index. One that is there keeps its own.'),
    SEARCH_ENGINE_REFRESH_MS: milliseconds(5, 10_000)
      .default(1_000)
      .describe(
        'Milliseconds after which a new index finds what was put: a document is published up to that much later.',
      ),
  },
  read: (value) => ({
    /** undefined: Postgres finds passages. */
    searchEngine: value.SEARCH_ENGINE_URLS && {
      urls: value.SEARCH_ENGINE_URLS,
      authorization:
        value.SEARCH_ENGINE_PASSWORD &&
        `Basic ${Buffer.from(`${value.SEARCH_ENGINE_USER}:${value.SEARCH_ENGINE_PASSWORD}`).toString('base64')}`,
      shards: value.SEARCH_ENGINE_SHARDS,
      refreshMs: value.SEARCH_ENGINE_REFRESH_MS,
    },
  }),
  contradictions: (
    { SEARCH_ENGINE_URLS: urls, SEARCH_ENGINE_USER: user, SEARCH_ENGINE_PASSWORD: password },
    _,
    { RANKING_STATISTICS: statistics },
  ) => [
    {
      isSo: (user === undefined) !== (password === undefined),
      of: ['SEARCH_ENGINE_USER', 'SEARCH_ENGINE_PASSWORD'],
      problem: 'SEARCH_ENGINE_USER and SEARCH_ENGINE_PASSWORD belong together: set both or neither',
    },
    {
      isSo: password === undefined && (urls ?? []).some((url) => !isLoopback(new URL(url).hostname)),
      of: ['SEARCH_ENGINE_PASSWORD'],
      problem: 'SEARCH_ENGINE_PASSWORD is required with SEARCH_ENGINE_URLS that are not loopback',
    },
    {
      isSo: urls !== undefined && statistics === 'collection',
      of: ['RANKING_STATISTICS'],
      problem:
        'RANKING_STATISTICS=collection needs Postgres to look words up: the search engine does not know collections. Unset SEARCH_ENGINE_URLS, or set RANKING_STATISTICS=deployment',
    },
  ],
})
