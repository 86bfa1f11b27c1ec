import { SourceUnavailable } from '@remit/connector'
import { z } from 'zod'
import type { RedmineApi } from './api.ts'
import { Permits } from './permits.ts'

/** An account that is active. */
export interface Account {
  readonly id: number
  readonly login: string
  /** Sees everything but archived projects and modules that are off. */
  readonly isAdmin: boolean
}

/** Which issues a role sees, its trackers apart: all; what is not private, and one's own; one's own. */
export type IssueSight = 'all' | 'default' | 'own'

export interface Role {
  readonly id: number
  /** Undefined: none. */
  readonly issues: IssueSight | undefined
  readonly seesWiki: boolean
}

/** A project that is not archived, with a module that is read. */
export interface Project {
  readonly id: number
  readonly isPublic: boolean
  readonly hasIssues: boolean
  readonly hasWiki: boolean
  readonly trackers: readonly number[]
  /** Roles of accounts that are members, by themselves, by a group, or by a project above. */
  readonly members: ReadonlyMap<number, readonly number[]>
  /** Roles of whoever is no member, while the project is public. */
  readonly others: readonly number[]
}

/** Everything that decides who sees what, but for what is said of each item. */
export interface Rights {
  readonly accounts: ReadonlyMap<number, Account>
  /** Members of each group. */
  readonly groups: ReadonlyMap<number, readonly number[]>
  readonly roles: ReadonlyMap<number, Role>
  readonly projects: ReadonlyMap<number, Project>
  readonly trackers: readonly number[]
  readonly permits: Permits
  /** Roles of the people, and of whoever is no member of a public project. */
  readonly heldRoles: ReadonlySet<number>
  /** The account whose key is used. */
  readonly self: number
  /** The same only where all of this is the same, as far as it gives or takes something of the people. */
  readonly text: string
}

export interface RightsOptions {
  /** Accounts that are somebody. Whoever else comes, goes or joins changes no text. */
  readonly people: readonly { readonly account: number }[]
  /** Id of the built-in role of accounts that are no members. Undefined: as such they see nothing. */
  readonly nonMemberRole: number | undefined
}

const named = z.object({ id: z.int() })
const total = z.int()
const usersPage = z
  .object({
    users: z.array(z.object({ id: z.int(), login: z.string(), admin: z.boolean() })),
    total_count: total,
  })
  .transform((page) => ({ rows: page.users, total: page.total_count }))
const projectsPage = z
  .object({
    projects: z.array(
      z.object({
        id: z.int(),
        status: z.int(),
        is_public: z.boolean(),
        trackers: z.array(named),
        enabled_modules: z.array(z.object({ name: z.string() })),
      }),
    ),
    total_count: total,
  })
  .transform((page) => ({ rows: page.projects, total: page.total_count }))
const membershipsPage = z
  .object({
    memberships: z.array(
      z.object({
        id: z.int(),
        user: named.optional(),
        group_non_member: named.optional(),
        roles: z.array(named),
      }),
    ),
    total_count: total,
  })
  .transform((page) => ({ rows: page.memberships, total: page.total_count }))
const roleShape = z.object({
  role: z.object({
    id: z.int(),
    issues_visibility: z.string(),
    permissions: z.array(z.string()),
  }),
})
const readable: ReadonlySet<number> = new Set([1, 5])
const sights: ReadonlyMap<string, IssueSight> = new Map([
  ['all', 'all'],
  ['default', 'default'],
  ['own', 'own'],
])

/** Reads all of it. NOT checked: whether it was so at one moment; whoever needs to know reads it again. */
export async function readRights(
  api: RedmineApi,
  { nonMemberRole, people }: RightsOptions,
  signal?: AbortSignal,
): Promise<Rights> {
  const options = { signal }
  const { value: self } = await api.get('/users/current.json', z.object({ user: named }), options)
  const users = await api.all('/users.json?status=1', usersPage, signal)
  const accounts = new Map(
    users.map(({ id, login, admin }): [number, Account] => [id, { id, login, isAdmin: admin }]),
  )
  const groups = await readGroups(api, signal)
  const roles = await readRoles(api, nonMemberRole, signal)
  const trackerList = await api.get('/trackers.json', z.object({ trackers: z.array(named) }), options)
  const trackers = trackerList.value.trackers.map(({ id }) => id).sort(ascending)
  const projects = await readProjects(api, nonMemberRole, signal)
  const permits = await askWitnesses(api, { accounts, roles, projects }, signal)
  const ids = new Set(people.map(({ account }) => account))
  const heldRoles = new Set(
    [...projects.values()].flatMap((project) => [
      ...(project.isPublic ? project.others : []),
      ...[...ids].flatMap((id) => project.members.get(id) ?? []),
    ]),
  )
  const facts = { accounts, groups, roles, projects, trackers, permits, heldRoles, self: self.user.id }
  return { ...facts, text: textOf(facts, ids) }
}

const ascending = (a: number, b: number): number => a - b

async function readGroups(api: RedmineApi, signal: AbortSignal | undefined) {
  const list = await api.get('/groups.json', z.object({ groups: z.array(named) }), { signal })
  const shape = z.object({ group: z.object({ users: z.array(named) }) })
  const groups = new Map<number, readonly number[]>()
  for (const { id } of list.value.groups) {
    const found = await api.find(`/groups/${id}.json?include=users`, shape, { signal })
    if (found !== undefined) groups.set(id, found.value.group.users.map((user) => user.id).sort(ascending))
  }
  return groups
}

async function readRoles(
  api: RedmineApi,
  nonMemberRole: number | undefined,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<number, Role>> {
  const list = await api.get('/roles.json', z.object({ roles: z.array(named) }), { signal })
  const ids = list.value.roles.map(({ id }) => id)
  // The list leaves out the two that are built in.
  if (nonMemberRole !== undefined && ids.includes(nonMemberRole))
    throw new SourceUnavailable(`Role ${nonMemberRole} is not the built-in role of non-members.`)
  const roles = new Map<number, Role>()
  for (const id of nonMemberRole === undefined ? ids : [...ids, nonMemberRole]) {
    const found = await api.find(`/roles/${id}.json`, roleShape, { signal })
    if (found === undefined) continue
    const { permissions, issues_visibility: visibility } = found.value.role
    const issues = permissions.includes('view_issues') ? sights.get(visibility) : undefined
    roles.set(id, { id, issues, seesWiki: permissions.includes('view_wiki_pages') })
  }
  return roles
}

async function readProjects(
  api: RedmineApi,
  nonMemberRole: number | undefined,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<number, Project>> {
  const path = '/projects.json?status=1%7C5&include=trackers,enabled_modules'
  const projects = new Map<number, Project>()
  for (const found of await api.all(path, projectsPage, signal)) {
    const { id, status, is_public: isPublic } = found
    const modules = found.enabled_modules.map(({ name }) => name)
    const [hasIssues, hasWiki] = [modules.includes('issue_tracking'), modules.includes('wiki')]
    if (!readable.has(status) || !(hasIssues || hasWiki)) continue
    const rows = await api.all(`/projects/${id}/memberships.json`, membershipsPage, signal)
    // One that is held by oneself and by a group is named twice.
    const rolesOf = (row: (typeof rows)[number]) =>
      [...new Set(row.roles.map((role) => role.id))].sort(ascending)
    const override = rows.find((row) => row.group_non_member !== undefined)
    projects.set(id, {
      id,
      isPublic,
      hasIssues,
      hasWiki,
      trackers: found.trackers.map((tracker) => tracker.id).sort(ascending),
      members: new Map(
        rows.flatMap((row): [number, readonly number[]][] =>
          row.user === undefined ? [] : [[row.user.id, rolesOf(row)]],
        ),
      ),
      others: override !== undefined ? rolesOf(override) : nonMemberRole === undefined ? [] : [nonMemberRole],
    })
  }
  return projects
}

type Facts = Omit<Rights, 'text'>

/**
 * What a mapping for these accounts is made of. Whoever registers, and whoever a project's manager puts in
 * and out, changes nothing of it: else they would keep the source from being read.
 */
function textOf(facts: Facts, people: ReadonlySet<number>): string {
  const { accounts, groups, roles, projects, trackers, permits, heldRoles, self } = facts
  const byId = ([a]: readonly [number, unknown], [b]: readonly [number, unknown]) => a - b
  const ofPeople = <Row extends readonly [number, unknown]>(rows: Iterable<Row>): readonly Row[] =>
    [...rows].filter(([id]) => people.has(id)).sort(byId)
  return JSON.stringify([
    self,
    ofPeople(accounts),
    [...groups].sort(byId).map(([id, members]) => [id, members.filter((member) => people.has(member))]),
    [...roles].sort(byId),
    [...projects].sort(byId).map(([id, { members, others, ...rest }]) => {
      return [id, rest, ofPeople(members), rest.isPublic ? others : []] as const
    }),
    trackers.map((tracker) => [tracker, permits.rule(tracker, heldRoles)]),
  ])
}

/** What an account's roles are in a project (`User#roles_for_project` of Redmine). */
export const rolesIn = ({ members, isPublic, others }: Project, id: number): readonly number[] =>
  members.get(id) ?? (isPublic ? others : [])

/** Those of some roles that see issues; `isWanted` narrows which. */
export const issueRoles = (
  roles: ReadonlyMap<number, Role>,
  ids: readonly number[],
  isWanted: (sight: IssueSight) => boolean = () => true,
): readonly number[] =>
  ids.filter((id) => {
    const sight = roles.get(id)?.issues
    return sight !== undefined && isWanted(sight)
  })

interface Witness {
  readonly login: string
  readonly project: Project
  readonly roles: readonly number[]
}

type Asked = Pick<Rights, 'accounts' | 'roles' | 'projects'>

/**
 * Asks Redmine in the place of as few accounts as tell which roles see which trackers: first of those that
 * hold one role alone. Some versions and derivatives list all trackers to whoever asks. So nothing is known
 * unless an answer leaves out a tracker that the administrator's has.
 */
async function askWitnesses(
  api: RedmineApi,
  asked: Asked,
  signal: AbortSignal | undefined,
): Promise<Permits> {
  const permits = new Permits()
  const shape = z.object({ project: z.object({ trackers: z.array(named) }) })
  let isFiltered = false
  for (const { login, project, roles } of witnesses(asked)) {
    const isBlind = roles.length === 0
    const open = isBlind
      ? project.trackers
      : project.trackers.filter((tracker) => permits.verdict(roles, tracker) === undefined)
    if (open.length === 0 || (isBlind && isFiltered)) continue
    const path = `/projects/${project.id}.json?include=trackers`
    const found = await api.find(path, shape, { as: login, signal })
    if (found === undefined) continue
    const visible = new Set(found.value.project.trackers.map(({ id }) => id))
    for (const tracker of open) permits.add({ roles, tracker, isVisible: visible.has(tracker) })
    if (isFiltered || open.every((tracker) => visible.has(tracker))) continue
    // The list of projects may be made in another way than one of them.
    const { value } = await api.get(path, shape, { signal })
    isFiltered = value.project.trackers.some(({ id }) => !visible.has(id))
  }
  return isFiltered ? permits : new Permits()
}

/** Those without a role that sees issues come first, who see no tracker. */
function witnesses({ accounts, roles, projects }: Asked): readonly Witness[] {
  const found: Witness[] = []
  const people = [...accounts.values()].filter(({ isAdmin }) => !isAdmin)
  for (const askedProject of projects.values()) {
    if (!askedProject.hasIssues) continue
    const knownKeys = new Set<string>()
    for (const { id, login } of people) {
      const held = rolesIn(askedProject, id)
      const heldRoles = issueRoles(roles, held)
      const key = heldRoles.join()
      if (held.length === 0 || knownKeys.has(key)) continue
      knownKeys.add(key)
      found.push({ login, project: askedProject, roles: heldRoles })
    }
  }
  return found.sort((a, b) => a.roles.length - b.roles.length)
}
