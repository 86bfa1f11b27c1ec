import type { BrokenItem, ItemContent } from '@remit/connector'
import { mimeTypes } from '../../../ingest/parse/parsed.ts'
import { printable } from '../../../kernel/printable.ts'
import { digestOf } from './cursor.ts'
import type { Issue, WikiPage } from './items.ts'
import type { IssueGap } from './listing.ts'

/** An issue, or a page of a wiki, as a list names it. */
export type Row =
  | { readonly kind: 'issue'; readonly id: string; readonly issue: Issue }
  | { readonly kind: 'page'; readonly id: string; readonly page: WikiPage }

/** What of the lists cannot be read: one of these items, or all of them. */
export type UnreadPart = BrokenItem & Required<Pick<BrokenItem, 'covers'>>

export const rowOfIssue = (prefix: string, issue: Issue): Row => ({
  kind: 'issue',
  id: `${prefix}issues/${issue.id}`,
  issue,
})

/** Of a page that was made anew, or has another name, another id. */
export const rowOfPage = (prefix: string, page: WikiPage): Row => ({
  kind: 'page',
  id: `${prefix}wiki/${page.project}/${digestOf([page.title, page.createdOn])}`,
  page,
})

/** The number of the issue that has this id; undefined: none has. */
export const issueOf = (prefix: string, id: string): number | undefined => numberAfter(`${prefix}issues/`, id)

/** The project of the page that has this id; undefined: none has. */
export function projectOf(prefix: string, id: string): number | undefined {
  const below = `${prefix}wiki/`
  const [project = '', digest] = id.startsWith(below) ? id.slice(below.length).split('/') : []
  return digest === undefined ? undefined : numberAfter('', project)
}

export function unreadIssues(prefix: string, { from, to, problem }: IssueGap): UnreadPart {
  const upTo = to === Number.POSITIVE_INFINITY ? 'the last one' : `#${to - 1}`
  return {
    kind: 'broken',
    name: to === from + 1 ? `#${from}` : `issues #${from} to ${upTo}`,
    problem,
    covers: (id) => {
      const issue = issueOf(prefix, id)
      return issue !== undefined && issue >= from && issue < to
    },
  }
}

export const unreadWiki = (prefix: string, project: number, problem: string): UnreadPart => ({
  kind: 'broken',
  name: `the wiki of project ${project}`,
  problem,
  covers: (id) => projectOf(prefix, id) === project,
})

/** What people call it. */
export const nameOf = (row: Row): string =>
  printable(row.kind === 'issue' ? `#${row.issue.id}` : `${row.page.title} (project ${row.page.project})`)

interface ContentOptions {
  /** Of Redmine, without a slash at its end. */
  readonly url: string
  readonly collection: string
}

export const contentOfIssue = (
  { url, collection }: ContentOptions,
  { id, subject, description, updatedOn }: Issue,
): ItemContent => ({
  collection,
  title: titleOf(subject, `#${id}`),
  uri: `${url}/issues/${id}`,
  text: `${subject}\n\n${description}`,
  mime_type: mimeTypes.plain,
  updated_at: updatedOn,
})

export const contentOfPage = (
  { url, collection }: ContentOptions,
  { project, title, updatedOn }: WikiPage,
  text: string,
): ItemContent => ({
  collection,
  title: titleOf(title.replaceAll('_', ' '), `wiki ${project}`),
  uri: `${url}/projects/${project}/wiki/${encodeURIComponent(title)}`,
  text,
  mime_type: mimeTypes.plain,
  updated_at: updatedOn,
})

const titleOf = (text: string, otherwise: string): string => text.trim().slice(0, 1_000) || otherwise

/** The whole number after a prefix; undefined: something else stands there. */
function numberAfter(prefix: string, text: string): number | undefined {
  const rest = text.startsWith(prefix) ? text.slice(prefix.length) : ''
  return /^[1-9]\d{0,14}$/.test(rest) ? Number(rest) : undefined
}
