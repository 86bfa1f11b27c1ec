import type { Directory, SourceAccess, SourceFolder, SourceGroup } from '@remit/connector'
import type { Issue } from './items.ts'
import type { KnownAccount } from './people.ts'
import type { Verdict } from './permits.ts'
import { type IssueSight, issueRoles, type Project, type Rights, rolesIn } from './rights.ts'

/** Where the groups and folders are named, and filed. */
export interface MappingOptions {
  /** Put before each id. */
  readonly prefix: string
  readonly collection: string
}

/** Whom a folder lets read. */
interface Readers {
  readonly viewers: readonly string[]
  readonly accounts: ReadonlySet<number>
}

// As the service takes them.
const viewersMax = 1_000

/**
 * Who sees what in a Redmine, in groups and folders. A folder is a project's wiki, or its issues of some
 * trackers, private or not; those who see all that is in it are its viewers: by their roles in the project,
 * all accounts together where all of them do, and one by one where the roles do not say it. Authors and
 * assignees who see an issue as their own are viewers of the issue.
 */
export class Mapping {
  readonly #rights: Rights
  readonly #known: readonly KnownAccount[]
  readonly #options: MappingOptions
  readonly #groups = new Map<string, SourceGroup>()
  readonly #folders = new Map<string, SourceFolder>()
  readonly #readers = new Map<string, Readers>()
  /** Trackers of which the same is known, by the first of them. */
  readonly #alike = new Map<number, number>()
  /** Roles of which it is not known whether they see a tracker. */
  readonly #unknown = new Map<string, { readonly name: string; readonly problem: string }>()

  constructor(rights: Rights, accounts: readonly KnownAccount[], options: MappingOptions) {
    this.#rights = rights
    this.#known = accounts
    this.#options = options
    const firstOf = new Map<string, number>()
    for (const tracker of rights.trackers) {
      const rule = rights.permits.rule(tracker, rights.heldRoles)
      firstOf.set(rule, firstOf.get(rule) ?? tracker)
      this.#alike.set(tracker, firstOf.get(rule) ?? tracker)
    }
    for (const project of rights.projects.values()) {
      if (project.hasWiki) this.#wiki(project)
      if (project.hasIssues)
        for (const tracker of new Set(this.#alike.values()))
          for (const isPrivate of [false, true]) this.#issues(project, tracker, isPrivate)
    }
  }

  get directory(): Directory {
    return {
      accounts: this.#known.map(({ id, subject }) => ({ id: String(id), subject })),
      groups: [...this.#groups.values()],
      folders: [...this.#folders.values()],
    }
  }

  /** What cannot be told of roles and trackers: by it nobody sees anything. */
  get problems(): readonly { readonly name: string; readonly problem: string }[] {
    return [...this.#unknown.values()]
  }

  /** Who sees an issue. Text: why it cannot be said. */
  accessOfIssue(issue: Issue): SourceAccess | string {
    const project = this.#rights.projects.get(issue.project)
    const tracker = this.#alike.get(issue.tracker)
    if (project?.hasIssues !== true || tracker === undefined)
      return 'Its project or its tracker came while the rights were read.'
    const folder = issuesName(project, tracker, issue.isPrivate)
    const inFolder = this.#readers.get(folder)?.accounts
    const owners = this.#owners(issue)
    const viewers = this.#known.filter(
      ({ id }) => owners.has(id) && inFolder?.has(id) !== true && this.#seesOwn(project, id, issue.tracker),
    )
    if (viewers.length > viewersMax) return `More than ${viewersMax} accounts see it as their own.`
    return {
      parents: [this.#place(folder)],
      ...(viewers.length > 0 && { viewers: viewers.map(({ id }) => ({ account: String(id) })) }),
    }
  }

  /** Who sees the pages of a project's wiki. */
  accessOfWiki(project: number): SourceAccess | string {
    return this.#rights.projects.get(project)?.hasWiki === true
      ? { parents: [this.#place(wikiName(project))] }
      : 'Its project came while the rights were read.'
  }

  /** The author, and whom it is assigned to, each member of a group. */
  #owners({ author, assignee }: Issue): ReadonlySet<number> {
    const owners = [author, assignee].filter((id) => id !== undefined)
    return new Set([...owners, ...(assignee === undefined ? [] : (this.#rights.groups.get(assignee) ?? []))])
  }

  #seesOwn(project: Project, id: number, tracker: number): boolean {
    return this.#holds(issueRoles(this.#rights.roles, rolesIn(project, id)), (roles) =>
      this.#seesTracker(roles, tracker),
    )
  }

  #seesTracker(roles: readonly number[], tracker: number): Verdict {
    return roles.length === 0 ? false : this.#rights.permits.verdict(roles, tracker)
  }

  /** Whether somebody with these roles sees it. Where that is not known, not, and it is named. */
  #holds(roles: readonly number[], sees: (roles: readonly number[]) => Verdict): boolean {
    const verdict = sees(roles)
    if (verdict === undefined) {
      const name = roles.length === 1 ? `role ${roles[0]}` : `roles ${roles.join(' and ')} together`
      const problem =
        'What Redmine answers does not tell which trackers they are limited to (docs/sources-redmine.md).'
      this.#unknown.set(name, { name, problem })
    }
    return verdict === true
  }

  #wiki(project: Project): void {
    const { roles } = this.#rights
    this.#folder(wikiName(project.id), project, (heldRoles) =>
      heldRoles.some((id) => roles.get(id)?.seesWiki === true),
    )
  }

  #issues(project: Project, tracker: number, isPrivate: boolean): void {
    const isOpen = (sight: IssueSight) => sight === 'all' || (sight === 'default' && !isPrivate)
    this.#folder(issuesName(project, tracker, isPrivate), project, (heldRoles) =>
      this.#seesTracker(issueRoles(this.#rights.roles, heldRoles, isOpen), tracker),
    )
  }

  #folder(name: string, project: Project, sees: (roles: readonly number[]) => Verdict): void {
    const readers = this.#readersOf(name, project, sees)
    this.#readers.set(name, readers)
    const { prefix, collection } = this.#options
    this.#folders.set(name, { id: `${prefix}${name}`, collection, parents: [], viewers: readers.viewers })
  }

  #readersOf(name: string, project: Project, sees: (roles: readonly number[]) => Verdict): Readers {
    // Of one list where several hold the same roles, as all that are no members do.
    const verdicts = new Map<readonly number[], boolean>()
    const holds = (roles: readonly number[]): boolean => {
      const verdict = verdicts.get(roles) ?? this.#holds(roles, sees)
      verdicts.set(roles, verdict)
      return verdict
    }
    const reading = this.#known.filter(({ id }) => this.#isAdmin(id) || holds(rolesIn(project, id)))
    const accounts = new Set(reading.map(({ id }) => id))
    if (accounts.size === this.#known.length)
      return { accounts, viewers: [this.#group('everyone', () => true)] }
    const members = reading.filter(({ id }) => !this.#isAdmin(id))
    const heldRoles = new Set(members.flatMap(({ id }) => rolesIn(project, id)))
    const alone = [...heldRoles].filter((role) => sees([role]) === true).sort((a, b) => a - b)
    const rest = new Set(
      members.filter(({ id }) => !rolesIn(project, id).some((role) => alone.includes(role))),
    )
    const viewers = [
      ...(members.length < reading.length ? [this.#group('admins', ({ id }) => this.#isAdmin(id))] : []),
      ...alone.map((role) =>
        this.#group(`projects/${project.id}/roles/${role}`, ({ id }) => rolesIn(project, id).includes(role)),
      ),
      ...(rest.size > 0 ? [this.#group(`more/${name}`, (account) => rest.has(account))] : []),
    ]
    return { accounts, viewers }
  }

  #isAdmin(id: number): boolean {
    return this.#rights.accounts.get(id)?.isAdmin === true
  }

  #group(name: string, isIn: (account: KnownAccount) => boolean): string {
    const id = `${this.#options.prefix}${name}`
    if (!this.#groups.has(name)) {
      const members = this.#known.filter(isIn).map((account) => ({ account: String(account.id) }))
      this.#groups.set(name, { id, members })
    }
    return `group:${id}#member`
  }

  #place(name: string): string {
    return `folder:${this.#options.prefix}${name}`
  }
}

const wikiName = (project: number): string => `projects/${project}/wiki`
const issuesName = ({ id }: Project, tracker: number, isPrivate: boolean): string =>
  `projects/${id}/${isPrivate ? 'private-issues' : 'issues'}/${tracker}`
