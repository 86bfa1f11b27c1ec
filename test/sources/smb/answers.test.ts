import { SourceUnavailable } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { isAllowed, parseRule } from '../../../src/sources/kinds/smb/descriptor.ts'
import { serverReader } from '../../../src/sources/kinds/smb/server.ts'
import { openShare } from '../../../src/sources/kinds/smb/share.ts'
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
  accounts: [{ sid: anne, subject: 'user:anne', sids: new Set([anne, 'S-1-1-0']) }],
  problems: [],
  share: { owner: undefined, entries: [] },
}
const options = { prefix: 'smb/', collection: 'closed', groups: [] }
const lets = (text: string) => isAllowed(parseRule(text), { holds: (sid) => [anne, 'S-1-1-0'].includes(sid) })

describe('a security descriptor', () => {
  const all = 0x1f01ff
  test.each([
    ['of which entries are missing', descriptor([[0, 0, all, anne]], 2)],
    ['that does not say that it has a DACL', descriptor([]).replace('0x8004', '0x8000')],
    ['whose DACL is cut short', descriptor([]).replace('\t---\n', '')],
    ['with an entry of another form', descriptor([[0, 0, all, 'anne']])],
    ['that is none', ''],
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
    expect(problemOf(conditional, server, options)).toMatch(/^It is denied to /)
    expect(problemOf(parseRule(descriptor([[0, 0, all, anne]])), server, options)).toBeUndefined()
  })
})

describe('a server', () => {
  const shellOf = (answers: Readonly<Record<string, string>>) => ({
    ask: async (command: string) => answers[command] ?? answers[command.split(' ')[0] ?? ''] ?? '',
  })
  const answers = {
    enumdomains: 'name:[FS] idx:[0x0]\nname:[Builtin] idx:[0x1]\n',
    lookupdomain: `SAMR_LOOKUP_DOMAIN: Domain Name: FS Domain SID: ${domain}\n`,
    lsaquery: 'Domain Name: REMIT\nDomain Sid: (NULL SID)\n',
    queryuser: '\tUser Name   :\tanne\n\tacb_info :\t0x00000010\n',
    queryusergroups: '\tgroup rid:[0x201] attr:[0x7]\n',
    queryuseraliases: '\tgroup rid:[0x220] attr:[0x7]\n',
    netsharegetinfo: descriptor([[0, 0, 0x1f01ff, 'S-1-1-0']]),
  }
  const question = { share: 'docs', people: [{ account: anne, subject: 'user:anne' }], groups: [] }

  test('says who is who by its own groups', async () => {
    const { accounts } = await serverReader(shellOf(answers), question)()
    expect(accounts.map(({ sids }) => [...sids])).toEqual([
      [anne, 'S-1-1-0', 'S-1-5-11', 'S-1-5-2', `${domain}-513`, 'S-1-5-32-544', `${domain}-544`],
    ])
  })

  test.each([
    ['that is a domain controller', { lsaquery: `Domain Name: CORP\nDomain Sid: ${domain}\n` }],
    ['that does not say its own SID', { lookupdomain: 'result was NT_STATUS_NO_SUCH_DOMAIN\n' }],
    ['that does not say who may connect', { netsharegetinfo: 'netname: docs\n' }],
    [
      'that does not say whether an account is disabled',
      { queryuser: 'result was NT_STATUS_ACCESS_DENIED\n' },
    ],
    ['that does not say somebody’s groups', { queryusergroups: 'result was NT_STATUS_ACCESS_DENIED\n' }],
    ['that does not say somebody’s aliases', { queryuseraliases: 'result was NT_STATUS_ACCESS_DENIED\n' }],
  ])('%s is away as a whole', async (_, other) => {
    await expect(serverReader(shellOf({ ...answers, ...other }), question)()).rejects.toBeInstanceOf(
      SourceUnavailable,
    )
  })

  const listing = '\n\t\t100 blocks of size 1024. 50 blocks available\n'
  const atHome = { listconnect: '0:\tserver=fs, share=docs\n' }
  const list = (other: Readonly<Record<string, string>>) =>
    openShare(shellOf({ ...atHome, ...other }), 'fs').list([])

  test('that leads to another server is away as a whole', async () => {
    expect(await list({ ls: listing })).toEqual([])
    const two = `${atHome.listconnect}1:\tserver=elsewhere, share=docs\n`
    await expect(list({ ls: listing, listconnect: two })).rejects.toThrow('led elsewhere')
    await expect(list({ ls: listing, listconnect: '0:\tserver=other, share=docs\n' })).rejects.toThrow(
      'led elsewhere',
    )
  })

  test('that ends in the middle of a listing is away as a whole', async () => {
    const file = 'FILENAME:a.md\nMODE:N\nSIZE:1\nMTIME:Sun Nov 29 06:58:31 2026\n'
    await expect(list({ ls: file })).rejects.toBeInstanceOf(SourceUnavailable)
    await expect(
      list({ ls: `${file}NT_STATUS_CONNECTION_DISCONNECTED listing \\*\n${listing}` }),
    ).rejects.toBeInstanceOf(SourceUnavailable)
    expect(await list({ ls: file + descriptor([]) + listing })).toMatchObject([
      { name: 'a.md', rule: { entries: [] } },
    ])
    expect(await list({ ls: file + listing })).toMatchObject([{ rule: 'Its permissions cannot be read.' }])
  })
})
