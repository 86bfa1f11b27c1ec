import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { defineKind, type SourceKind } from '../../kind.ts'
import { peopleOf, subject } from '../settings.ts'
import { serverReader } from './server.ts'
import { openShare } from './share.ts'
import { createShell } from './shell.ts'
import { createSmbSource } from './smb-source.ts'

const sid = z.string().regex(/^S-1-\d{1,15}(-\d{1,10}){1,14}$/, 'must be a SID')

const person = z.strictObject({ account: sid, subject })

const settings = z.strictObject({
  server: z
    .string()
    .max(253)
    .regex(
      /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/,
      'must be a host name in lower case',
    ),
  share: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,78}\$?$/, 'must be the name of a share'),
  /** Whom Remit signs in as. Its password is the source's secret. */
  account: z
    .string()
    .regex(/^[\p{L}\p{N}._-]+([\\/][\p{L}\p{N}._ -]+)?$/u, 'must be an account, or DOMAIN\\account'),
  /** Who the accounts are. Whoever is not here is nobody. */
  people: peopleOf(person),
  /** Groups of which the server does not say who is in them. */
  groups: z
    .array(z.strictObject({ sid, members: z.array(sid).max(20_000) }))
    .max(20_000)
    .default([]),
  /** Who may connect to the share: whoever its server says, or whoever is one of these. */
  connect: z.union([z.literal('ask'), z.array(sid).max(20_000)]),
  /** And is one of these: `valid users` of smb.conf, which the server does not tell. */
  valid_users: z.array(sid).max(20_000).optional(),
  /** But none of these: `invalid users`. */
  invalid_users: z.array(sid).max(20_000).default([]),
  /** What the SIDs of accounts begin with that may sign in, besides the server's own domain. */
  domains: z.array(sid).max(1_000).default([]),
  /** You state that whatever the ACL of a file lets a person do, the server does. */
  acl_alone_decides: z.literal(true),
  base_url: z
    .url({ protocol: /^https?$/ })
    .max(1_000)
    .optional(),
})

/**
 * The files of a share of SMB, filed in the source's first collection; everybody reads what the server lets
 * them read: NT ACLs, and who may connect to the share (docs/sources-smb.md).
 */
export const smbKind: SourceKind = defineKind({
  id: 'smb',
  settings,
  // Each reading lists all of it.
  untold: [],
  credential: 'required',
  originOf: ({ server, share }) => `smb://${server}/${share}`,
  open: (chosen, { prefix, collections: [collection = ''], secret = '', titleOf }) => {
    const { server, share, people, groups, connect, domains, base_url: baseUrl } = chosen
    const { valid_users: validUsers, invalid_users: invalidUsers } = chosen
    const session = { account: chosen.account.replace('\\', '/'), password: secret }
    const shellOf = (begin: string) =>
      createShell({
        ...{ ...session, program: 'smbclient', target: `//${server}/${share}` },
        ...{ begin, probe: 'allinfo "\\"' },
      })
    return createSmbSource(
      {
        prefix,
        collection,
        ...(validUsers !== undefined && { validUsers }),
        ...(baseUrl !== undefined && { baseUrl }),
      },
      {
        share: openShare({ names: shellOf(''), files: shellOf('showacls'), host: server }),
        readServer: serverReader(
          createShell({ ...session, program: 'rpcclient', target: server, probe: 'enumdomains' }),
          {
            share,
            people,
            groups,
            domains,
            invalidUsers,
            ...(connect !== 'ask' && { connect }),
            now: Date.now,
          },
        ),
        titleOf,
        now: Date.now,
        elapsed: () => performance.now(),
        wait: (ms, signal) => sleep(ms, undefined, { signal }),
      },
    )
  },
})
