import { SourceUnavailable } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { isAllowed, parseRule } from '../../../src/sources/kinds/smb/descriptor.ts'
import { type ServerQuestion, serverReader } from '../../../src/sources/kinds/smb/server.ts'
import { type Entry, isName, Moved, openShare, type Share } from '../../../src/sources/kinds/smb/share.ts'
import { readTree } from '../../../src/sources/kinds/smb/walk.ts'
import { problemOf } from '../../../src/sources/kinds/smb/zones.ts'

const domain = 'S-1-5-21-7-7-7'
const anne = `${domain}-1001`

/** As Samba's programs print it: type, flags, mask and SID of each entry. */
const descriptor = (
  entries: readonly (readonly [number, number, number, string])[],
  count = entries.length,
) =>
  [
    'revision: 1',
    'type: 0x8004: SEC_DESC_DACL_PRESENT SEC_DESC_SELF_RELATIVE ',
    'DACL',
    `\tACL\tNum ACEs:\t${count}\trevision:\t2`,
    '\t---',
    ...entries.map(
      ([type, flags, mask, sid]) =>
        `\tACE\n\t\ttype: SOME TYPE (${type}) flags: 0x0${flags} \n\t\tSpecific bits: 0x1\n\t\tPermissions: 0x${mask.toString(16)}: SYNCHRONIZE_ACCESS \n\t\tSID: ${sid}\n`,
    ),
    `\tOwner SID:\t${domain}-500`,
    `\tGroup SID:\t${domain}-513`,
    '',
  ].join('\n')

const server = {
  domain,
  isMember: false,
  accounts: [{ sid: anne, subject: 'user:anne', sids: new Set([anne, 'S-1-1-0']) }],
  groups: new Map<string, boolean>(),
  named: new Set(['S-1-1-0', anne]),
  problems: [],
  share: { owner: undefined, entries: [] },
}
const lets = (text: string) => isAllowed(parseRule(text), { holds: (sid) => [anne, 'S-1-1-0'].includes(sid) })

describe('a security descriptor', () => {
  const all = 0x1f01ff
  test.each([
    ['of which entries are missing', descriptor([[0, 0, all, anne]], 2)],
    ['that does not say that it has a DACL', descriptor([]).replace('0x8004', '0x8000')],
    ['whose DACL is cut short', descriptor([]).replace('\t---\n', '')],
    ['with an entry of another form', descriptor([[0, 0, all, 'anne']])],
    ['that is none', ''],
    [
      'with an entry that a name could have written',
      descriptor([[0, 0, all, 'FORGED']]).replace('FORGED', `\u2028\t\tSID: ${anne}`),
    ],
  ])('%s is not read', (_, text) => {
    expect(() => parseRule(text)).toThrow('Its permissions')
  })

  test('without entries lets nobody, and one without a DACL everybody', () => {
    expect(lets(descriptor([]))).toBe(false)
    expect(lets(descriptor([]).replace(/DACL\n[\s\S]*---\n/, ''))).toBe(true)
  })

  test('lets nobody under a condition, and hides what somebody may be denied under one', () => {
    expect(lets(descriptor([[9, 0, all, anne]]))).toBe(false)
    const conditional = parseRule(
      descriptor([
        [10, 0, 1, 'S-1-1-0'],
        [0, 0, all, anne],
      ]),
    )
    expect(problemOf(conditional, server)).toMatch(/^It is denied to /)
    expect(problemOf(parseRule(descriptor([[0, 0, all, anne]])), server)).toBeUndefined()
  })
})

const shellOf = (answers: Readonly<Record<string, string>>) => ({
  asked: new Array<string>(),
  async ask(command: string) {
    this.asked.push(command)
    return answers[command] ?? answers[command.split(' ')[0] ?? ''] ?? ''
  },
})

/** As rpcclient prints an account. */
const account = ({ flags = '0x00000010', end = 'never', change = 'never', description = '' } = {}) =>
  [
    `\tUser Name   :\tanne`,
    `\tDescription :\t${description}`,
    '\tRemote Dial :',
    '\tLogon Time               :\tThu, 01 Jan 1970 00:00:00 UTC',
    '\tLogoff Time              :\tnever',
    `\tKickoff Time             :\t${end}`,
    '\tPassword last set Time   :\tSun, 29 Nov 2026 06:58:31 UTC',
    `\tPassword must change Time:\t${change}`,
    '\tuser_rid :\t0x3e9',
    `\tacb_info :\t${flags}`,
    '\tfields_present:\t0x00ffffff',
    '',
  ].join('\n')

const answers = {
  'netsharegetinfo docs 1005': 'flags: 0x30\ncsc caching: 0\n',
  enumdomains: 'name:[FS] idx:[0x0]\nname:[Builtin] idx:[0x1]\n',
  lookupdomain: `SAMR_LOOKUP_DOMAIN: Domain Name: FS Domain SID: ${domain}\n`,
  lsaquery: 'Domain Name: REMIT\nDomain Sid: (NULL SID)\n',
  queryuser: account(),
  queryusergroups: '\tgroup rid:[0x201] attr:[0x7]\n',
  queryuseraliases: '\tgroup rid:[0x220] attr:[0x7]\n',
  netsharegetinfo: descriptor([[0, 0, 0x1f01ff, 'S-1-1-0']]),
}
const now = Date.parse('2026-11-29T12:00:00Z')
const question = {
  share: 'docs',
  people: [{ account: anne, subject: 'user:anne' }],
  groups: [],
  now: () => now,
}
const readWith = (other: Readonly<Record<string, string>>, more: Partial<ServerQuestion> = {}) =>
  serverReader(shellOf({ ...answers, ...other }), { ...question, ...more })()

describe('a server', () => {
  test('says who is who by its own groups, and then by those of Builtin', async () => {
    const shell = shellOf({
      ...answers,
      [`queryuseraliases domain ${anne} S-1-1-0 S-1-5-11 S-1-5-2 ${domain}-513`]: '\tgroup rid:[0x3e8]\n',
      [`queryuseraliases builtin ${anne} S-1-1-0 S-1-5-11 S-1-5-2 ${domain}-513 ${domain}-1000`]:
        '\tgroup rid:[0x223]\n',
    })
    const { accounts } = await serverReader(shell, question)()
    expect(accounts.map(({ sids }) => [...sids])).toEqual([
      [anne, 'S-1-1-0', 'S-1-5-11', 'S-1-5-2', `${domain}-513`, `${domain}-1000`, 'S-1-5-32-547'],
    ])
  })

  test.each([
    ['that is a domain controller', { lsaquery: `Domain Name: CORP\nDomain Sid: ${domain}\n` }],
    ['that does not say of which domain it is', { lsaquery: 'Domain Name: CORP\n' }],
    ['that does not say its own SID', { lookupdomain: 'result was NT_STATUS_NO_SUCH_DOMAIN\n' }],
    ['whose share is a root of DFS', { 'netsharegetinfo docs 1005': 'flags: 0x3\ncsc caching: 0\n' }],
    ['that does not say whether it is one', { 'netsharegetinfo docs 1005': 'csc caching: 0\n' }],
    ['that does not say who may connect', { netsharegetinfo: 'netname: docs\n' }],
    ['that does not list its local groups', { enumalsgroups: 'result was NT_STATUS_ACCESS_DENIED\n' }],
    ['that lists one without a number', { enumalsgroups: 'group:[a] rid:[0x3e8]\ngroup:[b] rid:[\n' }],
    ['that goes away meanwhile', { queryuser: 'result was NT_STATUS_CONNECTION_DISCONNECTED\n' }],
  ])('%s is away as a whole', async (_, other) => {
    await expect(readWith(other)).rejects.toBeInstanceOf(SourceUnavailable)
  })

  test.each([
    ['is not there', { queryuser: 'result was NT_STATUS_NO_SUCH_USER\n' }],
    ['has no account of Unix any more', { queryusergroups: 'result was NT_STATUS_NO_SUCH_USER\n' }],
    ['is not shown', { queryuser: 'result was NT_STATUS_ACCESS_DENIED\n' }],
    ['has groups that are not shown', { queryusergroups: 'result was NT_STATUS_ACCESS_DENIED\n' }],
    ['has local groups that are not shown', { queryuseraliases: 'result was NT_STATUS_ACCESS_DENIED\n' }],
    ['is disabled', { queryuser: account({ flags: '0x00000011' }) }],
    ['is locked', { queryuser: account({ flags: '0x00000410' }) }],
    ['has a password that ended', { queryuser: account({ flags: '0x00020010' }) }],
    ['is that of a machine', { queryuser: account({ flags: '0x00000080' }) }],
    ['has ended', { queryuser: account({ end: 'Sun, 29 Nov 2026 11:59:59 UTC' }) }],
    ['ends at a time that cannot be read', { queryuser: account({ end: 'soon' }) }],
    ['has to change its password', { queryuser: account({ change: 'Thu, 01 Jan 1970 00:00:00 UTC' }) }],
    ['had to change its password', { queryuser: account({ change: 'Sun, 29 Nov 2026 11:59:59 UTC' }) }],
    ['does not say when it ends', { queryuser: account().replace('Kickoff', 'Other') }],
    [
      'is disabled, and describes itself as if it were not',
      { queryuser: account({ flags: '0x00000011', description: account() }) },
    ],
  ])('lets nobody else wait for an account that %s: it is nobody', async (_, other) => {
    const bob = `${domain}-1002`
    const rids = Object.entries(other).map(([command, answer]) => [`${command} 1001`, answer])
    const aliases = Object.entries(other).map(([command, answer]) => [
      `${command} domain ${anne} S-1-1-0 S-1-5-11 S-1-5-2 ${domain}-513`,
      answer,
    ])
    const { accounts, problems } = await readWith(Object.fromEntries([...rids, ...aliases]), {
      people: [...question.people, { account: bob, subject: 'user:bob' }],
    })
    expect(accounts.map(({ sid }) => sid)).toEqual([bob])
    expect(problems).toEqual([{ name: `account ${anne}`, problem: expect.any(String) }])
  })

  test.each([
    'never',
    'Thu, 01 Jan 1970 00:00:00 UTC',
    'Wed, 31 Dec 1969 23:59:59 UTC',
    'Sun, 29 Nov 2026 12:00:01 UTC',
    'Thu, 14 Sep 30828 02:48:05 UTC',
  ])('lets an account in that ends at %s', async (end) => {
    expect((await readWith({ queryuser: account({ end }) })).accounts).toHaveLength(1)
  })

  test('lets an account in whose password has no end', async () => {
    const queryuser = account({ flags: '0x00000210', change: 'Sun, 29 Nov 2026 11:59:59 UTC' })
    expect((await readWith({ queryuser })).accounts).toHaveLength(1)
  })

  test('knows nobody of a domain that is not its own, unless it has joined it or the settings name it', async () => {
    const people = ['S-1-5-21-1-1-1', 'S-1-5-21-2-2-2', 'S-1-5-21-3-3-3', `${domain}-1`].map(
      (other, index) => ({
        account: `${other}-1001`,
        subject: `user:${index}`,
      }),
    )
    const known = async (lsaquery: string, domains: readonly string[]) =>
      (await readWith({ lsaquery }, { people, domains })).accounts.map(({ sid }) => sid)
    expect(await known(answers.lsaquery, ['S-1-5-21-1-1-1'])).toEqual([])
    expect(await known('Domain Sid: S-1-5-21-1-1-1\n', [])).toEqual(['S-1-5-21-1-1-1-1001'])
    expect(await known('Domain Sid: S-1-5-21-1-1-1\n', ['S-1-5-21-2-2-2'])).toEqual([
      'S-1-5-21-1-1-1-1001',
      'S-1-5-21-2-2-2-1001',
    ])
  })
})

describe('a deny for a local group', () => {
  const contractors = 'S-1-5-21-9-9-9-1104'
  const group = `${domain}-1000`
  const joined = { lsaquery: 'Domain Sid: S-1-5-21-9-9-9\n' }
  const rule = (sid: string) =>
    parseRule(
      descriptor([
        [1, 0, 1, sid],
        [0, 0, 0x1f01ff, 'S-1-1-0'],
      ]),
    )
  const local = {
    'queryuseraliases domain': '',
    queryuseraliases: '',
    'enumalsgroups domain': 'group:[a] rid:[0x3e8]\ngroup:[b] rid:[0x3ea]\n',
    'enumalsgroups builtin': 'group:[Users] rid:[0x221]\n',
  }
  const hides = async (
    sid: string,
    members: Readonly<Record<string, string>>,
    more: Partial<ServerQuestion> = {},
  ) => problemOf(rule(sid), await readWith({ ...local, ...members }, more)) !== undefined

  test.each([
    ['a group of a domain', `\tsid:[${contractors}]\n`],
    ['a group of Unix', '\tsid:[S-1-22-2-1001]\n'],
    ['somebody besides, after those who are known', `\tsid:[${anne}]\n\tsid:[${contractors}]\n`],
    ['whom it does not show', 'result was NT_STATUS_ACCESS_DENIED\n'],
  ])('hides the file where it holds %s', async (_, members) => {
    expect(await hides(group, { 'queryaliasmem domain 1000': members })).toBe(true)
    expect(await hides(group, { ...joined, 'queryaliasmem domain 1000': members })).toBe(true)
  })

  test('hides the file where it holds another one that does', async () => {
    const nested = {
      'queryaliasmem domain 1000': `\tsid:[${domain}-1002]\n`,
      'queryaliasmem domain 1002': `\tsid:[${contractors}]\n`,
      'queryaliasmem builtin 545': `\tsid:[${group}]\n`,
    }
    expect(await hides(group, nested)).toBe(true)
    expect(await hides('S-1-5-32-545', nested)).toBe(true)
    const stated = { groups: [{ sid: contractors, members: [] }] }
    expect(await hides(group, nested, stated)).toBe(false)
    expect(await hides('S-1-5-32-545', nested, stated)).toBe(false)
  })

  test('is known only where all are whom the settings put into a group', async () => {
    const inside = 'S-1-5-21-9-9-9-1105'
    const outer = { sid: contractors, members: [inside] }
    for (const sid of [contractors, group]) {
      const members = { 'queryaliasmem domain 1000': `\tsid:[${contractors}]\n` }
      expect(await hides(sid, members, { groups: [outer] })).toBe(true)
      expect(await hides(sid, members, { groups: [outer, { sid: inside, members: [] }] })).toBe(false)
    }
  })

  test('counts where everybody in it is known', async () => {
    const members = `\tsid:[${anne}]\n\tsid:[${domain}-513]\n\tsid:[S-1-5-11]\n\tsid:[${domain}-1002]\n`
    expect(await hides(group, { 'queryaliasmem domain 1000': members })).toBe(false)
  })

  test('hides the file where it is of Builtin and not listed by a server of a domain', async () => {
    expect(await hides('S-1-5-32-544', joined)).toBe(true)
    const members = { 'queryaliasmem domain 1000': '\tsid:[S-1-5-32-544]\n' }
    expect(await hides(group, { ...joined, ...members })).toBe(true)
    expect(await hides('S-1-5-32-544', {})).toBe(false)
    // Samba puts guests into it, though nobody lists it.
    expect(await hides('S-1-5-32-546', {})).toBe(true)
  })

  test('of the share, or among its invalid users, counts as one of a file', async () => {
    const members = { 'queryaliasmem domain 1000': `\tsid:[${contractors}]\n` }
    const { share, ...others } = await readWith({ ...local, ...members }, { invalidUsers: [group] })
    expect(problemOf(share, { share, ...others })).toContain(group)
    const asked = await readWith({ ...local, ...members }, { invalidUsers: [group], connect: ['S-1-1-0'] })
    expect(problemOf(asked.share, asked)).toContain(group)
  })
})

describe('a share', () => {
  const end = '\n\t\t100 blocks of size 1024. 50 blocks available\n'
  const line = (name: string, { mode = 'N', size = '1', time = 'Sun Nov 29 06:58:31 2026' } = {}) =>
    `  ${name}${' '.repeat(Math.max(0, 30 - Buffer.byteLength(name)))}${mode.padStart(7)} ${size.padStart(8)}  ${time}\n`
  const file = (name: string, rule = descriptor([])) =>
    `FILENAME:${name}\nMODE:N\nSIZE:1\nMTIME:Sun Nov 29 06:58:31 2026\n${rule}`
  const times = [
    ...['altname: A.MD', 'create_time:    Sun Nov 29 06:58:31 AM 2026 UTC', 'access_time:    now'],
    ...['write_time:     Sun Nov 29 06:58:32 AM 2026 UTC', 'change_time:    Sun Nov 29 06:58:33 AM 2026 UTC'],
    'attributes: A (20)',
    '',
  ].join('\n')
  const atHome = { listconnect: '0:\tserver=fs, share=docs\n' }
  const open = (other: Readonly<Record<string, string>>) => {
    const shell = shellOf({ ...atHome, allinfo: times, ...other })
    return openShare({ names: shell, files: shell, host: 'fs' })
  }
  const list = (ls: string) => open({ ls }).list(['dir'])
  const look = (ls: string, allinfo = times) => open({ ls, allinfo }).look(['a.md'])

  test('that leads to another server is away as a whole', async () => {
    expect(await list(end)).toEqual([])
    const two = `${atHome.listconnect}1:\tserver=elsewhere, share=docs\n`
    for (const listconnect of [two, '0:\tserver=other, share=docs\n']) {
      await expect(open({ ls: end, listconnect }).list([])).rejects.toThrow('led elsewhere')
      await expect(open({ ls: file('a.md') + end, listconnect }).look(['a.md'])).rejects.toThrow(
        'led elsewhere',
      )
    }
  })

  test('lists names of any length with what stands behind them', async () => {
    const names = [
      'a.md',
      'x'.repeat(29),
      'x'.repeat(30),
      `${'x'.repeat(60)} .md`,
      'ünï 1 cödé.md',
      '7 12  D',
    ]
    const listed = await list(names.map((name) => line(name)).join('') + end)
    expect(listed).toEqual(names.map((name) => ({ name, isFolder: false, isReparsePoint: false, bytes: 1 })))
    const hard = line('..', { mode: 'D' }) + line('x'.repeat(40), { mode: 'DAHSRsr', size: '123456789012' })
    expect(await list(hard + end)).toEqual([
      { name: 'x'.repeat(40), isFolder: true, isReparsePoint: true, bytes: 123_456_789_012 },
    ])
  })

  test('names a line that cannot be read, and lists the others', async () => {
    const odd = line('a\u2028NT_STATUS_ACCESS_DENIED listing x') + line('b.md', { time: 'unknown time' })
    expect(await list(odd + line('c.md') + end)).toEqual([
      expect.objectContaining({ name: 'a\u2028NT_STATUS_ACCESS_DENIED listing x' }),
      expect.stringContaining('b.md'),
      expect.objectContaining({ name: 'c.md' }),
    ])
  })

  test.each([
    ['without its end', line('a.md')],
    ['whose end is a name', `${line('a.md')}  ${end.trim()}\n`],
    ['that failed behind its end', `do_list: [\\dir\\*] NT_STATUS_ACCESS_DENIED\n${end}`],
    ['that failed in the middle', `${line('a.md')}NT_STATUS_ACCESS_DENIED listing \\dir\\*\n${end}`],
  ])('does not take a listing %s for one', async (_, ls) => {
    await expect(list(ls)).rejects.toThrow('It cannot be read')
    await expect(list(ls)).rejects.not.toBeInstanceOf(SourceUnavailable)
  })

  test.each([
    ...['VIRUS_INFECTED', 'FILE_IS_OFFLINE', 'DATA_ERROR', 'FILE_CORRUPT_ERROR', 'ACCESS_DENIED'],
    ...['SHARING_VIOLATION', 'IO_DEVICE_ERROR', 'NOT_FOUND_AT_ALL', 'INVALID_NETWORK_RESPONSE'],
  ])('is not away for one file of which it says %s', async (status) => {
    const share = open({ get: `NT_STATUS_${status} opening remote file \\a.md\n` })
    await expect(share.content(['a.md'])).rejects.toThrow(`NT_STATUS_${status}`)
    await expect(share.content(['a.md'])).rejects.not.toBeInstanceOf(SourceUnavailable)
    const other = open({ get: `Failed to open \\a.md: NT_STATUS_${status}\n` })
    await expect(other.content(['a.md'])).rejects.toThrow(`NT_STATUS_${status}`)
    await expect(other.content(['a.md'])).rejects.not.toBeInstanceOf(SourceUnavailable)
    expect(await look(`NT_STATUS_${status} listing \\a.md\n`)).toMatchObject({
      rule: expect.stringContaining(status),
      written: 'Sun Nov 29 06:58:32 AM 2026 UTC',
    })
  })

  test.each([
    ...['CONNECTION_DISCONNECTED', 'NETWORK_NAME_DELETED', 'USER_SESSION_DELETED', 'BAD_NETWORK_NAME'],
    ...['LOGON_FAILURE', 'NETWORK_SESSION_EXPIRED', 'ACCOUNT_DISABLED', 'PASSWORD_EXPIRED'],
  ])('is away as a whole where it says %s', async (status) => {
    const failed = `NT_STATUS_${status} listing \\*\n`
    for (const promise of [list(failed), look(failed), open({ get: failed }).content(['a.md'])])
      await expect(promise).rejects.toBeInstanceOf(SourceUnavailable)
  })

  test.each(['OBJECT_NAME_NOT_FOUND', 'OBJECT_PATH_NOT_FOUND', 'DELETE_PENDING', 'NO_SUCH_FILE'])(
    'takes what is there no more, since it says %s, for moved',
    async (status) => {
      const failed = `NT_STATUS_${status} listing \\a.md\n`
      await expect(list(failed)).rejects.toBeInstanceOf(Moved)
      await expect(look(failed, failed)).rejects.toBeInstanceOf(Moved)
      await expect(open({}).content(['a.md'])).rejects.toThrow('unknown reason')
    },
  )

  test('says who may read a file by the one entry of its answer', async () => {
    expect(await look(file('a.md') + end)).toMatchObject({ name: 'a.md', bytes: 1, rule: { entries: [] } })
    expect(await look(file('a.md', '') + end)).toMatchObject({ rule: 'Its permissions cannot be read.' })
    expect(await look(file('A.MD') + end)).toMatchObject({ rule: expect.stringContaining('moved') })
    expect(await look(file('a.md') + file('a.md') + end)).toMatchObject({
      rule: 'The server lists what cannot be read.',
    })
  })

  test('says its times whatever streams are called', async () => {
    const stream = 'stream: [:x\ncreate_time: yesterday:$DATA], 3 bytes\ncreate_time: tomorrow\n'
    expect(await look(file('a.md') + end, times + stream)).toMatchObject({
      created: 'Sun Nov 29 06:58:31 AM 2026 UTC',
    })
    const early = `NT_STATUS_ACCESS_DENIED getting pathinfo for \\a.md\n${stream}`
    await expect(look(file('a.md') + end, early)).rejects.toThrow('NT_STATUS_ACCESS_DENIED')
  })

  test.each([
    'a\u2028b.md',
    'a\u2029b.md',
    'a\nb.md',
    '@GMT-2024.01.01-00.00.00',
    '@gmt-x',
    '..',
    'a"b',
    'a\\b',
  ])('is never asked for %j', (name) => {
    expect(isName(name)).toBe(false)
  })
})

describe('the walk through a share', () => {
  const entry = (name: string, isFolder = false) => ({ name, isFolder, isReparsePoint: false, bytes: 1 })
  const share = (list: Share['list'], look?: Share['look']): Share => ({
    list,
    look: look ?? (async () => Promise.reject(new Moved('It was moved.'))),
    above: async () => [],
    content: async () => Buffer.from(''),
  })

  test('ends where folders lead back into themselves', async () => {
    const loop = share(async () => [entry('x', true), entry('y', true)])
    await expect(readTree(loop, { countMax: 500 })).rejects.toThrow('more than 500 files and folders')
  })

  test('names what vanishes while it is read, and takes nothing of its folder for gone', async () => {
    const folders: Readonly<Record<string, readonly Entry[]>> = {
      '': [entry('sub', true)],
      sub: [entry('a.md'), entry('b.md')],
    }
    const { problems } = await readTree(share(async (folder) => folders[folder.join('/')] ?? []))
    expect(problems).toEqual([
      { beginning: expect.stringMatching(/^[\w-]{3}\.$/), name: 'sub/a.md', problem: 'It was moved.' },
      // The folder is hidden by one of them: of each, all that is known is looked through.
      { name: 'sub/b.md', problem: 'It was moved.' },
    ])
    const closed = share(async (folder) => {
      if (folder.length > 0) throw new Error('It cannot be read.')
      return [entry('sub', true)]
    })
    expect(await readTree(closed)).toMatchObject({
      problems: [
        { beginning: expect.stringMatching(/^[\w-]{3}$/), name: 'sub', problem: 'It cannot be read.' },
      ],
    })
  })
})
