import { memoryState, SourceUnavailable, sourceRules, syncOnce } from '@remit/connector'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { openRemit } from '../../../packages/connector/test/remit.ts'
import { Unfinished } from '../../../src/sources/fetch.ts'
import { needsRedmine } from '../../support/native.ts'
import { openRedmineServer, type RedmineServer } from './server.ts'
import { asWorld, openSmall } from './small.ts'

describe('a Redmine as a source', { ...needsRedmine, timeout: 400_000 }, () => {
  let server: RedmineServer
  beforeAll(async () => {
    server = await openRedmineServer()
  }, 120_000)
  afterAll(() => server?.[Symbol.asyncDispose]())

  for (const { title, check } of sourceRules)
    test(`keeps the rule that ${title}`, async () => {
      const world = await openSmall(server)
      await expect(check(asWorld(world))).resolves.toBeUndefined()
    })

  test('lets members, owners, assignees and administrators read what their roles show them', async () => {
    const world = await openSmall(server)
    await world.ruby(`
      issue['open']
      issue['private', is_private: true]
      issue['of bob', is_private: true, author: user['bob']]
      issue['for anne', is_private: true, assigned_to: user['anne']]
      issue['elsewhere', project: project['b'], author: user['anne']]
      write['a', 'Page', 'page']`)
    await world.sync()
    expect(world.readable()).toEqual({
      open: 'anne bob dan',
      private: 'dan',
      'of bob': 'bob dan',
      'for anne': 'anne dan',
      elsewhere: 'dan',
      page: 'anne bob dan',
    })
    // Those who see only their own, and what everybody sees.
    await world.ruby(`
      dev.update!(issues_visibility: 'own')
      project['b'].update!(is_public: true)`)
    await world.sync()
    expect(world.readable()).toEqual({
      open: 'dan',
      private: 'dan',
      'of bob': 'bob dan',
      'for anne': 'anne dan',
      elsewhere: 'anne bob carol dan',
      page: 'anne bob dan',
    })
  })

  test('gives a non-member nothing where the settings do not name the role, and takes a role of members for none', async () => {
    const world = await openSmall(server)
    await world.ruby(`project['b'].update!(is_public: true); issue['public', project: project['b']]`)
    const remit = openRemit()
    await syncOnce(world.open({ settings: { non_member_role: undefined } }), remit.writer, memoryState())
    expect([...remit.tuples].filter((tuple) => tuple.includes('user:'))).toEqual([
      'user:dan member group:r/admins',
      'user:anne member group:r/projects/1/roles/1'.replace(
        /1\/roles\/1/,
        `${await idOf('a')}/roles/${world.roles.dev}`,
      ),
      'user:bob member group:r/projects/1/roles/1'.replace(
        /1\/roles\/1/,
        `${await idOf('a')}/roles/${world.roles.dev}`,
      ),
    ])
    await expect(world.open({ settings: { non_member_role: world.roles.dev } }).directory()).rejects.toThrow(
      `Role ${world.roles.dev} is not the built-in role of non-members.`,
    )
  })
  const idOf = async (name: string) => server.ruby(`Project.find('${name}').id`, z.int())

  test('finds out which trackers a role is limited to, and lets nobody read by what it cannot find out', async () => {
    const world = await openSmall(server)
    await world.ruby(`
      issue['bug']
      issue['secret', tracker: Tracker.last]
      dev.set_permission_trackers(:view_issues, [Tracker.first.id])
      dev.save!`)
    await world.sync()
    expect(world.readable()).toEqual({ bug: 'anne bob dan', secret: 'dan' })
    // Two roles that only Anne holds, both at once: one of them sees the tracker, and which does not show.
    await world.ruby(`
      wide = Role.create!(name: 'Wide', permissions: [:view_issues], issues_visibility: 'all')
      narrow = Role.create!(name: 'Narrow', permissions: [:view_issues], issues_visibility: 'own')
      wide.set_permission_trackers(:view_issues, [Tracker.first.id])
      wide.save!
      Member.find_by(project: project['a'], principal: user['bob']).destroy
      Member.find_by(project: project['a'], principal: user['anne']).update!(roles: [wide, narrow])
      # One of them twice: by a group, too.
      group = Group.create!(name: 'Wide ones')
      group.users << user['anne']
      Member.create!(project: project['a'], principal: group, roles: [wide])`)
    const { failed } = await world.sync()
    expect(world.readable()).toEqual({ bug: 'dan', secret: 'dan' })
    expect(failed.map(({ name, problem }) => `${name}: ${problem}`)).toEqual([
      expect.stringMatching(/^roles \d+ and \d+ together: What Redmine answers does not tell which trackers/),
    ])
  })

  test('lets nobody read by the trackers that Redmine lists where it lists them to whoever asks', async () => {
    const world = await openSmall(server)
    await world.ruby(`
      issue['bug']
      issue['secret', tracker: Tracker.last]
      dev.set_permission_trackers(:view_issues, [Tracker.first.id])
      dev.save!
      # As derivatives have it.
      $lists_all = true
      Tracker.singleton_class.prepend(Module.new { def visible(*) = $lists_all ? all : super })`)
    try {
      const { failed } = await world.sync()
      expect(world.readable()).toEqual({ bug: 'dan', secret: 'dan' })
      expect(failed).toMatchObject([{ name: `role ${world.roles.dev}` }])
    } finally {
      await world.ruby('$lists_all = false')
    }
    await world.sync()
    expect(world.readable()).toEqual({ bug: 'anne bob dan', secret: 'dan' })
  })

  test('names at each reading a role of which it cannot find out, also where it shows its own issues alone', async () => {
    const world = await openSmall(server)
    await world.ruby(`
      dev.update!(issues_visibility: 'own')
      issue['of bob', author: user['bob']]`)
    await world.sync()
    expect(world.readable()).toEqual({ 'of bob': 'bob dan' })
    await world.ruby(`Member.find_by(project: project['a'], principal: user['canary']).destroy`)
    for (const when of ['as it comes', 'afterwards']) {
      const { failed } = await world.sync()
      expect(world.readable(), when).toEqual({ 'of bob': 'dan' })
      expect(failed, when).toMatchObject([{ name: `role ${world.roles.dev}` }])
    }
  })

  test('lets nobody read issues by a role until an answer of Redmine leaves a tracker out', async () => {
    const world = await openSmall(server)
    await world.ruby(`issue['issue']; write['a', 'Page', 'page']`)
    await world.sync()
    await world.ruby(`Member.find_by(project: project['a'], principal: user['canary']).destroy`)
    const { failed } = await world.sync()
    expect(world.readable()).toEqual({ issue: 'dan', page: 'anne bob dan' })
    expect(failed).toMatchObject([{ name: `role ${world.roles.dev}` }])
    // A role that is limited shows it as well.
    await world.ruby(`
      dev.set_permission_trackers(:view_issues, [Tracker.first.id])
      dev.save!`)
    expect(await world.sync()).toMatchObject({ failed: [] })
    expect(world.readable()).toEqual({ issue: 'anne bob dan', page: 'anne bob dan' })
  })

  test('publishes nothing of what was written after somebody was shut out', async () => {
    const world = await openSmall(server)
    await world.ruby(`issue['old']; write['a', 'Page', 'old page']`)
    await world.sync()
    let isDone = false
    world.before = async (path) => {
      if (isDone || !path.startsWith('/issues.json')) return
      isDone = true
      await world.ruby(`
        Member.find_by(project: project['a'], principal: user['bob']).destroy
        Issue.first.update!(description: 'the secret')
        write['a', 'Page', 'the other secret']`)
    }
    await expect(world.sync()).rejects.toThrow('Who sees what changed in Redmine while it was read.')
    expect(isDone).toBe(true)
    expect(world.readable()).toEqual({ old: 'anne bob dan', 'old page': 'anne bob dan' })
    await world.sync()
    expect(world.readable()).toEqual({ 'the secret': 'anne dan', 'the other secret': 'anne dan' })
  })

  test('gives nobody anything by rights that were never there at one moment', async () => {
    const world = await openSmall(server)
    await world.ruby(`write['a', 'Page', 'old']`)
    await world.sync()
    // Carol becomes a member once the role, which was read, does not see wikis any more.
    let isDone = false
    world.before = async (path) => {
      if (isDone || !path.includes('/memberships.json')) return
      isDone = true
      await world.ruby(`
        dev.remove_permission!(:view_wiki_pages)
        Member.create!(project: project['a'], principal: user['carol'], roles: [dev])`)
    }
    await expect(world.sync()).rejects.toThrow('Who sees what changed')
    expect(world.readable()['old']).not.toContain('carol')
    await world.sync()
    expect(world.readable()).toEqual({ old: 'dan' })
  })

  test('is read while strangers register, and are put into a project and out of it, of which nobody gets anything', async () => {
    const world = await openSmall(server)
    await world.ruby(`
      Role.create!(name: 'Odd', permissions: [:view_issues])
      write['a', 'Page', 'page']
      project['b'].update!(is_public: true)`)
    let count = 0
    world.before = async (path) => {
      if (!path.startsWith('/issues.json')) return
      count += 1
      await world.ruby(`
        Member.where(project: project['a']).select { |one| one.user.login.start_with?('aa') }.each(&:destroy)
        issue['issue ${count}']
        stranger = User.new(firstname: 'S', lastname: 'S', mail: 'aa${count}@example.org')
        stranger.login = 'aa${count}'
        stranger.random_password
        stranger.save!
        Member.create!(project: project['a'], principal: stranger, roles: [${count % 2 === 0 ? 'dev, ' : ''}Role.find_by(name: 'Odd')])`)
    }
    await world.sync()
    await world.sync()
    expect(count).toBe(2)
    const all = 'anne bob dan'
    expect(world.readable()).toEqual({ page: all, 'issue 1': all, 'issue 2': all })
    // Nothing of the rights is other than before.
    world.before = () => undefined
    const { cursor } = await world.read()
    await world.ruby(`Member.where(project: project['a']).last.destroy`)
    world.asked.length = 0
    await world.read(cursor)
    expect(world.asked.filter((path) => path === '/users/current.json')).toHaveLength(1)
  })

  test.each(['before', 'after'])(
    'publishes no page that left its wiki %s its text was read',
    async (when) => {
      const world = await openSmall(server)
      await world.ruby(`write['a', 'Page', 'old']`)
      let isDone = false
      world.before = async (path) => {
        const isRead = world.asked.slice(0, -1).some((asked) => asked.endsWith('/wiki/Page.json'))
        if (isDone || !(when === 'before' ? path.endsWith('/wiki/Page.json') : isRead)) return
        isDone = true
        await world.ruby(`
        page = project['a'].wiki.find_page('Page')
        page.wiki = project['b'].wiki
        page.save!
        write['b', 'Page', 'moved secret']`)
      }
      await world.sync()
      expect(isDone).toBe(true)
      expect(world.readable()).not.toHaveProperty('old')
      expect(world.readable()['moved secret'] ?? 'dan').toBe('dan')
      await world.sync()
      expect(world.readable()).toEqual({ 'moved secret': 'dan' })
    },
  )

  test('brings no notes, private or not', async () => {
    const world = await openSmall(server)
    await world.ruby(`
      made = issue['issue']
      made.init_journal(user['dan'], 'a public note').save!
      note = made.init_journal(user['dan'], 'a private note')
      note.private_notes = true
      note.save!`)
    await world.sync()
    expect(world.readable()).toEqual({ issue: 'anne bob dan' })
  })

  test('keeps the document of an issue that moves, and makes another one of a page that is made anew', async () => {
    const world = await openSmall(server)
    await world.ruby(`issue['issue']; write['a', 'Page', 'page']`)
    const before = await world.read()
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    await world.ruby(`
      Issue.first.update!(project: project['b'])
      project['a'].wiki.find_page('Page').destroy
      write['a', 'Page', 'page']`)
    const after = await world.read(before.cursor)
    const [issueBefore, pageBefore] = before.changes.map(({ id }) => id)
    expect(after.changes.map(({ kind, id }) => [kind, id])).toEqual([
      ['deleted', pageBefore],
      ['item', issueBefore],
      ['item', expect.not.stringMatching(`^${pageBefore}$`)],
    ])
  })

  test('tells a page again that was written within the second in which it was read', async () => {
    const world = await openSmall(server)
    const time = `project['a'].wiki.find_page('Page').content.updated_on.iso8601`
    const written = Date.parse(z.string().parse(await world.ruby(`write['a', 'Page', 'first']`, time)))
    world.clock = () => written
    const fresh = await world.read()
    world.clock = () => written + 10_000
    const [again] = (await world.read(fresh.cursor)).changes
    expect(again).toEqual(expect.objectContaining({ kind: 'item', id: fresh.changes[0]?.id }))
    expect((await world.read((await world.read(fresh.cursor)).cursor)).changes).toEqual([])
  })

  test('is nobody who is locked, named twice, unknown, or the source’s own account', async () => {
    const world = await openSmall(server)
    await world.ruby(`user['bob'].lock!; issue['issue']`)
    const { anne, bob, carol, service } = world.ids
    const people = [
      { account: anne, subject: 'user:anne' },
      { account: bob, subject: 'user:bob' },
      { account: carol, subject: 'user:carol' },
      { account: carol, subject: 'user:other' },
      { account: service, subject: 'user:service' },
      { account: 999_999, subject: 'user:ghost' },
    ]
    const source = world.open({ settings: { people } })
    const { accounts, groups } = await source.directory()
    expect(accounts).toEqual([{ id: String(anne), subject: 'user:anne' }])
    expect(groups.flatMap(({ members }) => members)).toEqual(
      expect.arrayContaining([{ account: String(anne) }]),
    )
    const { failed } = await syncOnce(source, openRemit().writer, memoryState())
    expect(failed.map(({ name }) => name)).toEqual([
      `account ${bob}`,
      `account ${carol}`,
      `account ${service}`,
      'account 999999',
    ])
  })

  test.each([
    [
      'the key of somebody who does not administer',
      (world: { readonly anneKey: string }) => ({ key: world.anneKey }),
    ],
    ['a key that does not count any more', () => ({ key: 'x'.repeat(40) })],
  ])('ends as it stands with %s', async (_, options) => {
    const world = await openSmall(server)
    const source = world.open(options(world))
    await expect(source.directory()).rejects.toThrow(SourceUnavailable)
  })

  test('withdraws and hides nothing where all issues fail, or anything that says who may read', async () => {
    const world = await openSmall(server)
    await world.ruby(`issue['issue']; write['a', 'Page', 'page']`)
    await world.sync()
    const failures = [
      ['/issues.json', 500],
      ['/users.json', 500],
      ['/groups.json', 502],
      ['/roles/', 500],
      ['/projects.json', 504],
      ['/memberships.json', 403],
      ['/memberships.json', 500],
      // Something else than was expected.
      ['/memberships.json', 200],
      ['.json?include=trackers', 500],
    ] as const
    for (const [index, [path, status]] of failures.entries()) {
      world.instead = (asked) => (asked.includes(path) ? status : undefined)
      await expect(world.sync({ crawls: index % 2 === 1 }), path).rejects.toThrow(SourceUnavailable)
      expect(world.readable(), path).toEqual({ issue: 'anne bob dan', page: 'anne bob dan' })
    }
  })

  test('passes over an issue that Redmine cannot show, hides it, and deletes nothing', async () => {
    const world = await openSmall(server)
    await world.ruby(`%w[first second third fourth].each { |text| issue[text] }`)
    /** No text that JSON could hold. */
    const spoil = async (text: string) =>
      z.int().parse(
        await world.ruby(
          `id = Issue.find_by(description: '${text}').id
           ActiveRecord::Base.connection.execute("UPDATE issues SET subject = CAST(X'ff' AS TEXT) WHERE id = #{id}")`,
          'id',
        ),
      )
    await world.sync()
    const { cursor } = await world.read()
    const id = await spoil('second')
    // The whole page, and one of them; the database's offset passes over it.
    for (const [query, status] of [
      ['limit=100&offset=0', 500],
      ['limit=1&offset=1', 500],
      ['limit=1&offset=2', 200],
    ] as const)
      expect([query, await world.status(`/issues.json?status_id=*&sort=id&${query}`)]).toEqual([
        query,
        status,
      ])
    await world.ruby(`Issue.find_by(description: 'third').update!(description: 'third, later')`)
    const all = 'anne bob dan'
    for (const crawls of [false, true]) {
      const { failed, withdrawn } = await world.sync({ crawls })
      expect(failed).toMatchObject([{ id: `r/issues/${id}`, isHidden: true }])
      expect(withdrawn).toBe(0)
      expect(world.readable()).toEqual({ first: all, second: '', 'third, later': all, fourth: all })
    }
    const meanwhile = await world.read(cursor)
    // The last ones, of which one was never brought.
    const fourth = await spoil('fourth')
    await world.ruby(`issue['fifth']`)
    await spoil('fifth')
    const { failed } = await world.sync()
    expect(failed.map((item) => item.id)).toEqual([`r/issues/${id}`, `r/issues/${fourth}`])
    // One is told once it is whole, though nothing of it is other than before, and one that it is gone.
    await world.ruby(`
      ActiveRecord::Base.connection.execute("DELETE FROM issues WHERE id = ${fourth}")
      ActiveRecord::Base.connection.execute("UPDATE issues SET subject = 'Issue' WHERE id = ${id}")`)
    expect((await world.sync()).failed.map(({ name }) => name)).toEqual([`issues #${fourth} to the last one`])
    expect(world.readable()).toEqual({ first: all, second: all, 'third, later': all })
    expect(meanwhile.changes.map(({ kind }) => kind)).toEqual(['broken', 'item'])
    const { changes } = await world.read(meanwhile.cursor)
    expect(changes).toContainEqual(expect.objectContaining({ kind: 'item', id: `r/issues/${id}` }))
  })

  test('hides the wiki of a project whose list fails, and no other one', async () => {
    const world = await openSmall(server)
    await world.ruby(`
      issue['issue']
      write['a', 'Page', 'page']
      write['a', 'Other', 'other page']
      write['b', 'Page', 'page of b']`)
    await world.sync()
    const list = `/projects/${await idOf('a')}/wiki/index.json`
    world.instead = (path) => (path === list ? 502 : undefined)
    await world.ruby(`Issue.first.update!(description: 'issue, later')`)
    const hidden = { 'issue, later': 'anne bob dan', page: '', 'other page': '', 'page of b': 'dan' }
    for (const crawls of [false, true]) {
      world.asked.length = 0
      const { failed, withdrawn } = await world.sync({ crawls })
      expect([failed.length, withdrawn, world.readable()]).toEqual([2, 0, hidden])
      // Once, for all of its pages.
      expect(world.asked.filter((path) => path === list).length).toBe(1)
    }
    world.instead = () => undefined
    expect(await world.sync()).toMatchObject({ failed: [] })
    expect(world.readable()).toEqual({ ...hidden, page: 'anne bob dan', 'other page': 'anne bob dan' })
  })

  test('hides a page whose text fails, or the list of whose wiki after it, and brings the others', async () => {
    const world = await openSmall(server)
    await world.ruby(`
      write['a', 'Page', 'page']
      write['a', 'Other', 'other page']
      write['b', 'Page', 'of b']`)
    // No JSON.
    world.instead = (path) => (path.endsWith('/wiki/Other.json') ? 200 : undefined)
    expect(await world.sync()).toMatchObject({ failed: [{ name: expect.stringMatching(/^Other /) }] })
    expect(world.readable()).toEqual({ page: 'anne bob dan', 'of b': 'dan' })
    const list = `/projects/${await idOf('a')}/wiki/index.json`
    const isRead = () => world.asked.some((path) => path.endsWith('/wiki/Other.json'))
    world.instead = (path) => (path === list && isRead() ? 500 : undefined)
    world.asked.length = 0
    expect((await world.sync()).failed.length).toBeGreaterThan(0)
    expect(world.readable()['other page']).toBeUndefined()
    world.instead = () => undefined
    await world.sync()
    expect(world.readable()).toEqual({ page: 'anne bob dan', 'other page': 'anne bob dan', 'of b': 'dan' })
  })

  test('waits for so many texts that do not come and no more, and brings all else', async () => {
    const world = await openSmall(server)
    await world.ruby(`
      issue['open']
      20.times { |index| write['a', "Slow#{index}", "slow #{index}"] }
      write['b', 'Page', 'of b']`)
    let isSlow = true
    world.before = (path) => {
      if (isSlow && path.includes('/wiki/Slow')) throw new Unfinished('')
    }
    const { failed } = await world.sync()
    expect(failed).toHaveLength(21)
    expect(failed.filter(({ problem }) => /16 other texts/.test(problem))).toHaveLength(5)
    expect(world.asked.filter((path) => path.includes('/wiki/Slow'))).toHaveLength(16)
    expect(world.readable()).toMatchObject({ open: 'anne bob dan' })
    isSlow = false
    expect(await world.sync()).toMatchObject({ failed: [] })
    expect(Object.keys(world.readable())).toHaveLength(22)
  })

  test('hides what is archived, closed to its module, or deleted, and keeps what is closed', async () => {
    const world = await openSmall(server)
    await world.ruby(`
      issue['issue']
      issue['other', project: project['b']]
      write['a', 'Page', 'page']`)
    await world.sync()
    await world.ruby(`project['a'].close; project['b'].archive; Issue.find_by(description: 'issue').destroy`)
    await world.sync()
    expect(world.readable()).toEqual({ page: 'anne bob dan' })
    await world.ruby(`Project.find_by(identifier: 'a').disable_module!(:wiki)`)
    await world.sync()
    expect(world.readable()).toEqual({})
  })

  test('asks each reading for no more than its rights and lists where nothing changed', async () => {
    const world = await openSmall(server)
    await world.ruby(`issue['issue']; write['a', 'Page', 'page']`)
    await world.sync()
    world.asked.length = 0
    await world.sync()
    const counts = Map.groupBy(world.asked, (path) => path.replace(/\?.*/, '').replace(/\d+/, 'N'))
    expect(Object.fromEntries([...counts].map(([path, { length }]) => [path, length]))).toEqual({
      '/users/current.json': 1,
      '/users.json': 1,
      '/groups.json': 1,
      '/roles.json': 1,
      '/roles/N.json': 3,
      '/trackers.json': 1,
      '/projects.json': 1,
      '/projects/N/memberships.json': 2,
      // In the place of one who sees no issues, by itself, and in the place of one who holds the role alone.
      '/projects/N.json': 3,
      '/issues.json': 1,
      '/projects/N/wiki/index.json': 2,
    })
  })
})
