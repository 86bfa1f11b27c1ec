import { SourceUnavailable } from '@remit/connector'
import { z } from 'zod'
import { type Answer, pageSize, type RedmineApi } from './api.ts'

/** An issue as one row of Redmine's: its text, and what of it decides who sees it. */
export interface Issue {
  readonly id: number
  readonly project: number
  readonly tracker: number
  readonly author: number | undefined
  /** An account, or a group. */
  readonly assignee: number | undefined
  readonly isPrivate: boolean
  readonly subject: string
  /** Source text: Textile, Markdown or CommonMark, as that Redmine is set up. */
  readonly description: string
  /** ISO 8601, in seconds. */
  readonly updatedOn: string
}

/** A page of a wiki, without its text. */
export interface WikiPage {
  readonly project: number
  readonly title: string
  readonly version: number
  readonly createdOn: string
  readonly updatedOn: string
  /** It was changed so lately that it may change again under the same version and time. */
  readonly isFresh: boolean
}

const named = z.object({ id: z.int() })
const issuesPage = z
  .object({
    issues: z.array(
      z.object({
        id: z.int(),
        project: named,
        tracker: named,
        author: named.optional(),
        assigned_to: named.optional(),
        is_private: z.boolean(),
        subject: z.string(),
        description: z.string().nullish(),
        updated_on: z.string(),
      }),
    ),
    total_count: z.int(),
  })
  .transform(({ issues, total_count: total }) => ({
    total,
    rows: issues.map(
      (row): Issue => ({
        id: row.id,
        project: row.project.id,
        tracker: row.tracker.id,
        author: row.author?.id,
        assignee: row.assigned_to?.id,
        isPrivate: row.is_private,
        subject: row.subject,
        description: row.description ?? '',
        updatedOn: row.updated_on,
      }),
    ),
  }))

/**
 * Issues from an id on, at most `limit` ({@link pageSize}) in the order of their ids, which are never given
 * twice. The first `offset` of them are passed over: Redmine's database does so, and they cannot make it
 * fail. `isLast`: there are no more of them, as Redmine counts them.
 */
export async function readIssues(
  api: RedmineApi,
  from: number,
  { limit = pageSize, offset = 0, signal }: IssuesOptions = {},
): Promise<{ readonly issues: readonly Issue[]; readonly isLast: boolean; readonly total: number }> {
  const path = `/issues.json?issue_id=%3E%3D${from}&status_id=*&sort=id&limit=${limit}&offset=${offset}`
  const { value: page } = await api.get(path, issuesPage, { signal })
  const issues = page.rows.filter(({ id }) => id >= from + offset).toSorted((a, b) => a.id - b.id)
  // Counted by another query than listed: a full page is the last one only where nothing comes after it.
  const isLast = page.total <= offset + issues.length && page.rows.length < limit
  if (issues.length === 0 && !isLast)
    throw new SourceUnavailable(`Redmine counts ${page.total} issues from ${from} on, and lists none.`)
  return { issues, isLast, total: page.total }
}

interface IssuesOptions {
  readonly limit?: number
  readonly offset?: number
  readonly signal?: AbortSignal | undefined
}

/** Asks for issues in which there is nothing at which Redmine could fail. */
export const readNoIssue = (api: RedmineApi, signal?: AbortSignal): Promise<unknown> =>
  api.get('/issues.json?issue_id=0&status_id=*&limit=1', issuesPage, { signal })

/** One of them; undefined: there is none that can be seen. */
export async function readIssue(
  api: RedmineApi,
  id: number,
  signal?: AbortSignal,
): Promise<Issue | undefined> {
  const { value: page } = await api.get(`/issues.json?issue_id=${id}&status_id=*`, issuesPage, { signal })
  return page.rows.find((issue) => issue.id === id)
}

const index = z.object({
  wiki_pages: z.array(
    z.object({ title: z.string(), version: z.int(), created_on: z.string(), updated_on: z.string() }),
  ),
})

// Redmine's times are in seconds.
const freshMs = 2_000

/** The pages of a project's wiki, in the order of their titles. No wiki has none. */
export async function readWiki(
  api: RedmineApi,
  project: number,
  { now, signal }: { readonly now: () => number; readonly signal?: AbortSignal | undefined },
): Promise<readonly WikiPage[]> {
  const found = await api.find(`/projects/${project}/wiki/index.json`, index, { signal })
  if (found === undefined) return []
  const readAt = found.date ?? now()
  return found.value.wiki_pages
    .map(
      (page): WikiPage => ({
        project,
        title: page.title,
        version: page.version,
        createdOn: page.created_on,
        updatedOn: page.updated_on,
        isFresh: !(Date.parse(page.updated_on) < readAt - freshMs),
      }),
    )
    .toSorted((a, b) => (a.title < b.title ? -1 : 1))
}

const pageShape = z.object({
  wiki_page: z.object({ title: z.string(), text: z.string().nullish(), version: z.int() }),
})

/** The text of a page, and its version; undefined: another page answers by its title, or none. */
export async function readWikiText(
  api: RedmineApi,
  { project, title }: WikiPage,
  signal?: AbortSignal,
): Promise<{ readonly text: string; readonly version: number } | undefined> {
  const path = `/projects/${project}/wiki/${encodeURIComponent(title)}.json`
  const found: Answer<z.output<typeof pageShape>> | undefined = await api.find(path, pageShape, {
    signal,
    isOfItem: true,
  })
  const page = found?.value.wiki_page
  return page?.title === title ? { text: page.text ?? '', version: page.version } : undefined
}
