import {
  type Change,
  memoryState,
  type Source,
  type SourceWorld,
  type SyncState,
  syncOnce,
} from '@remit/connector'
import { z } from 'zod'
import { openRemit } from '../../../packages/connector/test/remit.ts'
import type { OutboundResponse } from '../../../src/outbound/guarded-fetch.ts'
import { digestOf } from '../../../src/sources/kinds/redmine/cursor.ts'
import { redmineKind } from '../../../src/sources/kinds/redmine/kind.ts'
import type { RedmineServer } from './server.ts'

/**
 * Anne and Bob are developers of the private project `a`; Carol is nobody there, and Dan administers. Project
 * `b` is empty, and private too. By the canary it shows that Redmine lists to each only the trackers whose
 * issues they see. Made once in a server: what a test changed is undone by a copy of it.
 */
const setup = `
  connection = ActiveRecord::Base.connection
  copy = ->(from, to) { SQLite3::Backup.new(to, 'main', from, 'main').tap { |one| one.step(-1) }.finish }
  if $made
    copy[$kept, connection.raw_connection]
  else
    (connection.tables - %w[schema_migrations ar_internal_metadata]).each { |table| connection.execute("DELETE FROM #{table}") }
    RequestStore.clear!
    Setting.clear_cache
    Setting.rest_api_enabled = '1'
    status = IssueStatus.create!(name: 'New')
    IssuePriority.create!(name: 'Normal', is_default: true)
    %w[Bug Secret].each { |name| Tracker.create!(name: name, default_status: status) }
    Role.anonymous
    Role.non_member.update!(permissions: [:view_issues, :view_wiki_pages])
    dev = Role.create!(name: 'Dev', permissions: [:view_issues, :view_wiki_pages, :add_issue_notes])
    users = %w[service anne bob carol dan canary].to_h do |login|
      user = User.new(firstname: login, lastname: login, mail: login + '@example.org')
      user.login = login
      user.admin = %w[service dan].include?(login)
      user.random_password
      user.save!
      [login, user]
    end
    %w[a b].each do |name|
      project = Project.new(name: name, identifier: name, is_public: false, trackers: Tracker.all)
      project.enabled_module_names = %w[issue_tracking wiki]
      project.save!
      Wiki.create!(project: project, start_page: 'Wiki') unless project.wiki
    end
    %w[anne bob].each { |login| Member.create!(project: Project.find('a'), principal: users[login], roles: [dev]) }
    blind = Role.create!(name: 'Blind', permissions: [:view_wiki_pages])
    Member.create!(project: Project.find('a'), principal: users['canary'], roles: [blind])
    $made = { ids: users.transform_values(&:id), key: users['service'].api_key, anne_key: users['anne'].api_key,
      dev: dev.id, non_member: Role.non_member.id }
    $kept = SQLite3::Database.new(':memory:')
    copy[connection.raw_connection, $kept]
  end
  RequestStore.clear!
  Setting.clear_cache
  $made`

const made = z.object({
  ids: z.record(z.string(), z.int()),
  key: z.string(),
  anne_key: z.string(),
  dev: z.int(),
  non_member: z.int(),
})

// What each line of Ruby may use.
const words = `
  project = ->(name) { Project.find(name) }
  user = ->(login) { User.find_by_login(login) }
  dev = Role.find_by(name: 'Dev')
  issue = lambda do |text, options = {}|
    Issue.create!({ project: project['a'], tracker: Tracker.first, author: user['dan'], subject: 'Issue', description: text,
      status: IssueStatus.first, priority: IssuePriority.first }.merge(options))
  end
  write = lambda do |name, title, text|
    wiki = project[name].wiki
    page = wiki.find_page(title, with_redirect: false) || WikiPage.new(wiki: wiki, title: title)
    content = page.content || WikiContent.new
    content.attributes = { text: text, author: user['dan'] }
    page.save_with_content(content) or raise page.errors.full_messages.join
    page
  end
`

export interface SmallWorld {
  /** API keys of the service's account, and of Anne. */
  readonly key: string
  readonly anneKey: string
  readonly ids: Readonly<Record<string, number>>
  readonly roles: { readonly dev: number; readonly nonMember: number }
  readonly source: Source & Required<Pick<Source, 'directory'>>
  /** Before each request. */
  before: (path: string) => void | Promise<void>
  /** What is answered in Redmine's place. */
  instead: (path: string) => number | undefined
  /** What Redmine's clock says, by what it really says. Default: ten seconds more. */
  clock: (ms: number) => number
  readonly asked: string[]
  /** Runs lines with what {@link words} names; `answer` is what it gives, by default nothing. */
  ruby(code: string, answer?: string): Promise<unknown>
  /** The source with other settings, or with another key. */
  open(options?: {
    readonly settings?: object
    readonly key?: string
  }): Source & Required<Pick<Source, 'directory'>>
  /** Reads it to its end into Remit; `crawls`: from the beginning. */
  sync(options?: { readonly crawls?: boolean }): ReturnType<typeof syncOnce>
  /** What Redmine itself answers to a request of the source. */
  status(path: string): Promise<number>
  /** What each person could read now: text → names. */
  readable(): Readonly<Record<string, string>>
  /** Everything that is told, from a cursor. */
  read(cursor?: string): Promise<{ readonly changes: readonly Change[]; readonly cursor: string }>
}

export async function openSmall(server: RedmineServer): Promise<SmallWorld> {
  const { ids, key, anne_key: anneKey, dev, non_member: nonMember } = await server.ruby(setup, made)
  const remit = openRemit()
  const state = memoryState()
  const crawling: SyncState = {
    load: async () => ({ ...(await state.load()), cursor: undefined }),
    apply: (update) => state.apply(update),
  }
  const people = ['anne', 'bob', 'carol', 'dan'].map((login) => ({
    account: ids[login],
    subject: `user:${login}`,
  }))
  async function fetchIt(path: string, headers: Readonly<Record<string, string>>): Promise<OutboundResponse> {
    world.asked.push(path)
    await world.before(path)
    const status = world.instead(path)
    if (status !== undefined) return { status, headers: new Headers(), body: new Uint8Array() }
    const response = await fetch(server.url + path, { headers, redirect: 'manual' })
    const date = new Date(world.clock(Date.parse(response.headers.get('date') ?? '')))
    return {
      status: response.status,
      headers: new Headers({ date: date.toUTCString() }),
      body: new Uint8Array(await response.arrayBuffer()),
    }
  }
  const open: SmallWorld['open'] = ({ settings = {}, key: otherKey = key } = {}) => {
    const source = redmineKind
      .read({ url: server.url, people, non_member_role: nonMember, ...settings })
      .open({
        prefix: 'r/',
        collections: ['closed'],
        fetch: (path, { headers = {} } = {}) => fetchIt(path, headers),
        secret: otherKey,
        titleOf: async () => undefined,
      })
    if (source.directory === undefined) throw new Error('It has no directory.')
    return { ...source, directory: source.directory }
  }
  const world: SmallWorld = {
    key,
    anneKey,
    ids,
    roles: { dev, nonMember },
    source: open(),
    before: () => undefined,
    instead: () => undefined,
    clock: (ms) => ms + 10_000,
    asked: [],
    open,
    ruby: (code, answer = 'nil') => server.ruby(`${words}\n${code}\n${answer}`, z.unknown()),
    status: async (path) =>
      (await fetch(server.url + path, { headers: { 'x-redmine-api-key': key } })).status,
    sync: ({ crawls = false } = {}) => syncOnce(world.source, remit.writer, crawls ? crawling : state),
    readable() {
      const tuples = [...remit.tuples].map((tuple) => tuple.split(' '))
      const expand = (subject: string): readonly string[] =>
        subject.startsWith('group:')
          ? tuples
              .filter(([, relation, object]) => relation === 'member' && `${object}#member` === subject)
              .flatMap(([member = '']) => expand(member))
          : [subject]
      const seen = [...remit.documents.values()].map(({ text = '', access }): [string, string] => {
        const viewers = [
          ...(access?.viewers ?? []).map((viewer) => (typeof viewer === 'string' ? viewer : viewer.user)),
          ...(access?.parents ?? []).flatMap((parent) =>
            tuples
              .filter(([, relation, object]) => relation === 'viewer' && object === parent)
              .map(([viewer = '']) => viewer),
          ),
        ]
        const names = new Set(viewers.flatMap(expand).map((name) => name.slice('user:'.length)))
        return [text.replace('Issue\n\n', ''), [...names].sort().join(' ')]
      })
      return Object.fromEntries(seen)
    },
    async read(cursor) {
      await world.source.directory()
      const changes: Change[] = []
      let last = ''
      for await (const page of world.source.changes(cursor)) {
        changes.push(...page.changes)
        last = page.cursor
      }
      return { changes, cursor: last }
    },
  }
  return world
}

const wikiPage = z.tuple([z.int(), z.string(), z.string()])

/** Wiki pages of project `a`, as the rules of the port have them. The directory comes first each time. */
export function asWorld(world: SmallWorld): SourceWorld {
  const broken = new Set<string>()
  world.instead = (path) =>
    [...broken].some((name) => path.endsWith(`/wiki/${name}.json`)) ? 500 : undefined
  const { source } = world
  const titled = (name: string) => name.slice(0, 1).toUpperCase() + name.slice(1)
  return {
    source: {
      directory: () => source.directory(),
      async *changes(cursor) {
        await source.directory()
        yield* source.changes(cursor)
      },
      async item(id) {
        await source.directory()
        return source.item(id)
      },
    },
    async put(name, content) {
      broken.delete(titled(name))
      const made = await world.ruby(
        `
        page = write['a', '${name}', '${content}']
        told = [page.project.id, page.title, page.created_on.utc.iso8601]`,
        'told',
      )
      const [project, title, createdOn] = wikiPage.parse(made)
      return `r/wiki/${project}/${digestOf([title, createdOn])}`
    },
    async remove(name) {
      await world.ruby(`project['a'].wiki.find_page('${name}').destroy`)
    },
    async spoil(name) {
      await world.ruby(`write['a', '${name}', 'x']`)
      broken.add(titled(name))
    },
  }
}
