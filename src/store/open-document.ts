/** The name of a service that is a source begins so. */
export const sourcePrefix = 'source/'

/** SQL expressions of what {@link isOpen} decides about, and when. */
export interface OpenOf {
  /** `documents.source`, or what it will be. */
  readonly source: string
  /** The document's id. */
  readonly id: string
  /** As of when. Default: now. */
  readonly at?: string
}

/** Of a row of `sources`: what it says of groups and folders counts. Null where that was never confirmed. */
const isCurrent = (source: string, at = 'now()'): string =>
  `${source}.state in ('active', 'paused')
      and ${source}.groups_at between ${at} - make_interval(secs => ${source}.max_age_seconds) and ${at} + interval '1 minute'`

/**
 * SQL that is true where what lies in a collection, by its id, and is no document may be named as far as the
 * collection's source goes: it has none, or the source's groups count.
 */
export const isOpenCollection = (collection: string): string =>
  `not exists (select from sources closed_source where ${collection} = any(closed_source.collections)
     and closed_source.state <> 'proposed' and (${isCurrent('closed_source')}) is not true)`

/**
 * SQL that is true where a document may be read as far as its source goes: it is of no source, or its source
 * and it are there, it is not hidden, and both its permissions and the source's groups were confirmed no
 * longer ago than the source's `max_age_seconds`, and under the settings that it has now. What is confirmed
 * of a whole source counts for its settled items alone. Never null: a row or a time that is missing closes,
 * and so does one that is to come, since the clock went back then. NOT checked: who asks, which is OpenFGA's.
 */
export const isOpen = ({ source, id, at = 'now()' }: OpenOf): string =>
  `(${source} not like 'source/%' or exists (
    select from sources open_source join source_items open_item on open_item.source = open_source.id
    where open_source.id = substr(${source}, 8) and open_item.document = ${id}
      and open_item.hidden is null and ${isCurrent('open_source', at)}
      and case when open_item.settled then greatest(open_item.confirmed_at, open_source.items_at) else open_item.confirmed_at end
        between greatest(${at} - make_interval(secs => open_source.max_age_seconds), open_source.settings_at) and ${at} + interval '1 minute'))`

/** The same of a row of `documents`. */
export const isOpenDocument: string = isOpen({ source: 'documents.source', id: 'documents.id' })
