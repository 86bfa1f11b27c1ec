import { z } from 'zod'
import type { Random } from '../../../packages/engine/test/support/random.ts'
import type { Readers } from '../driven.ts'
import { openRedmineServer, type RedmineServer } from './server.ts'

/** A Redmine with people, projects, issues and wikis, which a random driver changes. */
export interface RedmineWorld extends AsyncDisposable {
  readonly server: RedmineServer
  /** API key of a service account that administers. */
  readonly key: string
  readonly nonMemberRole: number
  readonly people: readonly { readonly id: number; readonly login: string }[]
  /** Does something that somebody in Redmine could do. What it did, in words. */
  change(random: Random): Promise<string>
  /** Whom Redmine's own code shows which text now. */
  readers(): Promise<Readers>
  /** The same, as Redmine answers over HTTP in the place of one of them. */
  answers(login: string): Promise<ReadonlySet<string>>
}

export const subjectOf = (login: string): string => `user:${login}`

const setup = `
  Setting.rest_api_enabled = '1'
  Setting.issue_group_assignment = '1'
  Role.non_member; Role.anonymous
  status = IssueStatus.create!(name: 'New')
  IssuePriority.create!(name: 'Normal', is_default: true)
  trackers = %w[Bug Task Secret].map { |name| Tracker.create!(name: name, default_status: status) }
  make = lambda do |login, admin|
    user = User.new(firstname: login, lastname: login, mail: login + '@example.org')
    user.login = login
    user.admin = admin
    user.random_password
    user.save!
    user
  end
  service = make.call('service', true)
  people = (0...args['people']).map { |index| make.call("p#{index}", index == 0) }
  groups = (0...args['groups']).map { |index| Group.create!(name: "g#{index}") }
  roles = (0...args['roles']).map { |index| Role.create!(name: "r#{index}", permissions: [:view_issues, :view_wiki_pages]) }
  modules = %w[issue_tracking wiki]
  projects = (0...args['projects']).map do |index|
    project = Project.new(name: "p#{index}", identifier: "p#{index}", is_public: index == 0, trackers: trackers)
    project.enabled_module_names = modules
    project.inherit_members = index > 1
    project.save!
    project.set_parent!(Project.find_by(identifier: "p#{(index - 1) / 2}")) if index > 1
    project
  end
  blind = Role.create!(name: 'blind', permissions: [:view_wiki_pages])
  Member.create!(project: projects[0], principal: make.call('canary', false), roles: [blind])
  { key: service.api_key, non_member_role: Role.non_member.id, people: people.map { |user| { id: user.id, login: user.login } } }`

/** What may be done, with how much weight. Each says what it did; nil is nothing. */
const acts: readonly (readonly [number, string])[] = [
  [
    4,
    `project = pick.call(Project.where(status: 1)) or next
     next 'full' if Issue.count >= args['issues']
     issue = Issue.create!(project: project, tracker: pick.call(Tracker.all), author: pick.call(people), subject: 'Issue',
       description: text, status: IssueStatus.first, priority: IssuePriority.first, is_private: chance.call(0.3))
     "issue #{issue.id} in #{project.name}"`,
  ],
  [
    3,
    `issue = pick.call(Issue.all) or next
     issue.init_journal(pick.call(people))
     issue.update!(description: text)
     "edit #{issue.id}"`,
  ],
  [
    3,
    `issue = pick.call(Issue.all) or next
     issue.init_journal(pick.call(people))
     issue.update!(is_private: !issue.is_private)
     "private #{issue.id} #{issue.is_private}"`,
  ],
  [
    3,
    `issue = pick.call(Issue.all) or next
     issue.init_journal(pick.call(people))
     issue.update!(assigned_to: pick.call([nil, *people, *Group.givable]))
     "assign #{issue.id} to #{issue.assigned_to_id}"`,
  ],
  [
    2,
    `issue = pick.call(Issue.all) or next
     issue.update!(tracker: pick.call(Tracker.all))
     "tracker of #{issue.id} #{issue.tracker_id}"`,
  ],
  [
    3,
    `issue = pick.call(Issue.all) or next
     issue.update!(project: pick.call(Project.where(status: 1)))
     "move #{issue.id} to #{issue.project.name}"`,
  ],
  [
    1,
    `issues = Issue.order(:id).last(8)
     issue, parent = pick.call(issues), pick.call(issues)
     next if issue.nil? || issue == parent
     issue.update!(parent_issue_id: parent.id)
     "subtask #{issue.id} of #{parent.id}"`,
  ],
  [
    1,
    `issue = pick.call(Issue.all) or next
     Issue.find(issue.id).destroy
     "delete #{issue.id}"`,
  ],
  [
    3,
    `project = pick.call(Project.where(status: 1)) or next
     next 'full' if WikiPage.count >= args['pages']
     wiki = project.wiki || Wiki.create!(project: project, start_page: 'Wiki')
     title = "Page #{args['n'] % 7}"
     page = wiki.find_page(title, with_redirect: false) || WikiPage.new(wiki: wiki, title: title)
     content = page.content || WikiContent.new
     content.attributes = { text: text, author: pick.call(people) }
     page.save_with_content(content) or raise page.errors.full_messages.join
     "wiki #{project.name} #{page.title}"`,
  ],
  [
    2,
    `page = pick.call(WikiPage.all) or next
     was = page.title
     page.title = "Named #{args['n'] % 5}"
     page.redirect_existing_links = chance.call(0.5) ? '1' : '0'
     page.wiki = pick.call(Wiki.all) if chance.call(0.3)
     page.save
     "rename #{was} to #{page.title} in #{page.wiki.project.name}"`,
  ],
  [
    1,
    `page = pick.call(WikiPage.all) or next
     wiki, title = page.wiki, page.title
     page.destroy
     if chance.call(0.5)
       page = WikiPage.new(wiki: wiki, title: title)
       page.save_with_content(WikiContent.new(text: text, author: pick.call(people)))
     end
     "delete wiki #{title}"`,
  ],
  [
    6,
    `project = pick.call(Project.all)
     principal = pick.call([*people, *Group.givable, *(chance.call(0.3) ? [Group.non_member] : [])])
     member = Member.find_by(project: project, principal: principal)
     member ||= Member.new(project: project, principal: principal)
     ids = pick.call([1, 1, 2]).times.map { pick.call(roles).id }.uniq
     member.role_ids = ids
     member.save!
     "member #{principal.name} of #{project.name}: #{ids}"`,
  ],
  [
    5,
    `member = pick.call(Member.all.select { |one| one.deletable? && one.principal.name != 'canary canary' }) or next
     member.destroy
     "no member #{member.principal.name} of #{member.project.name}"`,
  ],
  [
    3,
    `group, user = pick.call(Group.givable), pick.call(people)
     group.users.include?(user) ? group.users.delete(user) : group.users << user
     "group #{group.name} #{user.login} #{group.reload.users.include?(user)}"`,
  ],
  [
    5,
    `role = pick.call([*roles, Role.non_member])
     permission = pick.call([:view_issues, :view_issues, :view_wiki_pages])
     role.permissions.include?(permission) ? role.remove_permission!(permission) : role.add_permission!(permission)
     "role #{role.id} #{role.permissions}"`,
  ],
  [
    4,
    `role = pick.call([*roles, Role.non_member])
     role.update!(issues_visibility: pick.call(%w[all default default own]))
     "role #{role.id} sees #{role.issues_visibility}"`,
  ],
  [
    3,
    `role = pick.call([*roles, Role.non_member])
     all = chance.call(0.4)
     role.set_permission_trackers(:view_issues, all ? :all : Tracker.all.select { chance.call(0.6) }.map(&:id))
     role.save!
     "role #{role.id} sees trackers #{all ? 'all' : role.permissions_tracker_ids(:view_issues)}"`,
  ],
  [
    2,
    `project = pick.call(Project.all)
     project.reload.update!(is_public: !project.is_public)
     "public #{project.name} #{project.is_public}"`,
  ],
  [
    2,
    `project = pick.call(Project.all)
     case project.status
     when 1 then chance.call(0.5) ? project.close : project.archive
     when 5 then project.reopen
     else project.unarchive
     end
     "status #{project.name} #{project.reload.status}"`,
  ],
  [
    2,
    `project = pick.call(Project.all)
     name = pick.call(%w[issue_tracking wiki])
     project.module_enabled?(name) ? project.disable_module!(name) : project.enable_module!(name)
     "module #{name} of #{project.name}"`,
  ],
  [
    1,
    `project = pick.call(Project.all)
     project.update!(trackers: [Tracker.first, *Tracker.all.to_a.drop(1).select { chance.call(0.7) }])
     "trackers of #{project.name} #{project.tracker_ids}"`,
  ],
  [
    1,
    `project = pick.call(Project.where.not(parent_id: nil)) or next
     project.update!(inherit_members: !project.inherit_members)
     "inherit #{project.name} #{project.inherit_members}"`,
  ],
  [
    2,
    `user = pick.call(people)
     user.locked? ? user.activate! : user.lock!
     "user #{user.login} #{user.status}"`,
  ],
  [
    1,
    `user = pick.call(people)
     user.admin = !user.admin?
     user.save!
     "admin #{user.login} #{user.admin?}"`,
  ],
]

/** One act as an expression. It is a block, which a line leaves that finds nothing to change. */
const line = (code: string, args: object): string => `
  [JSON.parse(${JSON.stringify(JSON.stringify(args)).replaceAll('#', '\\#')})].map do |args|
    draw = Random.new(args['seed'])
    pick = ->(list) { list.to_a.sample(random: draw) }
    chance = ->(probability) { draw.rand < probability }
    text = "text#{args['n']}"
    people = User.where(id: args['people']).to_a
    roles = Role.givable.where.not(name: 'blind').to_a
    begin
      [1].map { ${code} }.first || 'nothing'
    rescue ActiveRecord::RecordInvalid => e
      "refused: #{e.message}"
    end
  end.first`

// Both ways by which Redmine says it, and they agree.
const oracle = `
  args['people'].to_h do |id|
    user = User.find(id)
    next [user.login, []] unless user.active?
    User.current = user
    issues = Issue.visible(user).to_a
    one_by_one = Issue.all.select { |issue| issue.visible?(User.find(id)) }
    raise 'Redmine contradicts itself' unless issues.map(&:id).sort == one_by_one.map(&:id).sort
    pages = WikiPage.all.select { |page| page.visible?(User.find(id)) }
    [user.login, issues.map(&:description) + pages.map { |page| page.content.text }]
  end`

export interface WorldSize {
  readonly people: number
  readonly groups: number
  readonly roles: number
  readonly projects: number
  readonly issues: number
  readonly pages: number
}

const person = z.object({ id: z.int(), login: z.string() })
const made = z.object({ key: z.string(), non_member_role: z.int(), people: z.array(person) })

export async function openRedmineWorld(size: WorldSize, random: Random): Promise<RedmineWorld> {
  const server = await openRedmineServer()
  const { key, non_member_role: nonMemberRole, people } = await server.ruby(setup, made, size)
  const ids = people.map(({ id }) => id)
  let count = 0
  const weighted = acts.flatMap(([weight, code]) => Array.from({ length: weight }, () => code))

  /** Several in one request. */
  async function act(draw: Random, times: number): Promise<readonly string[]> {
    const lines = Array.from({ length: times }, () => {
      count += 1
      return line(draw.pick(weighted), { ...size, people: ids, n: count, seed: draw.below(2 ** 31) })
    })
    return server.ruby(`[${lines.join(',')}]`, z.array(z.string()))
  }
  await act(random, 60)

  async function get<T>(path: string, login: string, shape: z.ZodType<T>): Promise<T | undefined> {
    const response = await fetch(server.url + path, {
      headers: { 'x-redmine-api-key': key, 'x-redmine-switch-user': login },
    })
    if ([403, 404, 412].includes(response.status)) return undefined
    if (!response.ok) throw new Error(`${path} ${response.status}`)
    return shape.parse(await response.json())
  }

  return {
    server,
    key,
    nonMemberRole,
    people,
    change: async (draw) => (await act(draw, 1)).join(),
    async readers() {
      const seen = await server.ruby(oracle, z.record(z.string(), z.array(z.string())), { people: ids })
      const found = new Map<string, Set<string>>()
      for (const [login, texts] of Object.entries(seen))
        for (const text of texts) found.set(text, (found.get(text) ?? new Set()).add(login))
      return found
    },
    async answers(login) {
      const issues = await get('/issues.json?status_id=*&limit=100', login, issueTexts)
      const projects = await server.ruby('Project.pluck(:id)', z.array(z.int()))
      const texts = new Set(issues?.issues.map(({ description }) => description))
      for (const project of projects) {
        const index = await get(`/projects/${project}/wiki/index.json`, login, wikiTitles)
        for (const { title } of index?.wiki_pages ?? []) {
          const page = await get(`/projects/${project}/wiki/${title}.json`, login, wikiText)
          if (page !== undefined) texts.add(page.wiki_page.text)
        }
      }
      return texts
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

const issueTexts = z.object({ issues: z.array(z.object({ description: z.string() })) })
const wikiTitles = z.object({ wiki_pages: z.array(z.object({ title: z.string() })) })
const wikiText = z.object({ wiki_page: z.object({ text: z.string() }) })
