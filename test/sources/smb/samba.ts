import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { type Person, type StatedGroup, serverReader } from '../../../src/sources/kinds/smb/server.ts'
import { openShare, type Share } from '../../../src/sources/kinds/smb/share.ts'
import { createShell, type Shell, type ShellOptions } from '../../../src/sources/kinds/smb/shell.ts'
import { createSmbSource } from '../../../src/sources/kinds/smb/smb-source.ts'
import { needs } from '../../support/native.ts'
import { type Admin, openAdmin, openScript, password, python } from './admin.ts'

const wrapper = 'libnss_wrapper.so'

const has = (program: string, ...args: readonly string[]): boolean => spawnSync(program, args).status === 0

/** Options of a test or suite that runs a file server. */
export const needsSamba = needs(
  process.platform === 'linux' &&
    process.getuid?.() === 0 &&
    has('smbd', '--version') &&
    has('smbclient', '--version') &&
    has(python, '-c', 'import samba.samba3.libsmb_samba_internal') &&
    has('env', `LD_PRELOAD=${wrapper}`, 'sh', '-c', '! LC_ALL=C true 2>&1 | grep -q preload'),
  'Linux, root and the packages samba, samba-vfs-modules, smbclient and libnss-wrapper',
)

/** A standalone server of its own, with the share `docs`, of which `admin` is another door. */
export interface Samba extends AsyncDisposable {
  readonly host: string
  readonly root: string
  /** Its own SID. */
  readonly domain: string
  readonly admin: Admin
  /** The SID of an account or group of the server. */
  sidOf(name: string): string
  /** Unix groups and who is in them: those with a SID of the server's, and `unix`, which has none. */
  setGroups(members: ReadonlyMap<string, readonly string[]>): void
  /** Local groups of the server, and who is in each, by SID. */
  setAliases(members: ReadonlyMap<string, readonly string[]>): Promise<void>
  setDisabled(name: string, isDisabled: boolean): Promise<void>
  /** Who may connect to the share, such as `S-1-1-0:ALLOWED/0x0/READ`. */
  setShare(entries: readonly string[]): void
  /** What smbclient gets as an account: the text of each path, or undefined. */
  getAs(name: string, paths: readonly string[]): readonly (string | undefined)[]
  run(program: string, ...args: readonly string[]): string
}

export interface SambaOptions {
  readonly accounts: readonly string[]
  readonly groups: readonly string[]
  /** Local groups of its own. There is one of Builtin too: `power`. */
  readonly aliases?: readonly string[]
  /** Lines for the share `docs`. */
  readonly lines?: readonly string[]
}

const opened = z.object({
  domain: z.string(),
  sids: z.record(z.string(), z.string()).transform((sids) => new Map(Object.entries(sids))),
})

const firstUid = 70_000
const peopleGid = 80_000

export async function openSamba({
  accounts,
  groups,
  aliases = [],
  lines = [],
}: SambaOptions): Promise<Samba> {
  const folder = mkdtempSync(join(tmpdir(), 'remit-samba-'))
  chmodSync(folder, 0o755)
  const at = (name: string) => join(folder, name)
  const root = at('share')
  mkdirSync(root, { mode: 0o777 })
  chmodSync(root, 0o777)
  for (const name of ['private', 'state', 'cache', 'lock', 'pid', 'nc']) mkdirSync(at(name))
  const host = someHost()
  const names = ['root', 'reader', ...accounts]
  // Nobody is in those of the local groups.
  const unixGroups = [...groups, 'unix', ...aliases, 'power']
  writeFileSync(
    at('passwd'),
    [
      'root:x:0:0::/root:/bin/sh',
      'nobody:x:65534:65534::/nonexistent:/bin/false',
      ...names.slice(1).map((name, index) => `${name}:x:${firstUid + index}:${peopleGid}::/:/bin/false`),
      '',
    ].join('\n'),
  )
  let changes = 0
  function setGroups(members: ReadonlyMap<string, readonly string[]>): void {
    const text = unixGroups.map(
      (name, index) => `${name}:x:${peopleGid + 1 + index}:${(members.get(name) ?? []).join(',')}`,
    )
    // At once: a server that reads half of it finds no group of `invalid users`, and refuses everybody.
    writeFileSync(
      at('group.new'),
      ['root:x:0:', 'nogroup:x:65534:', `people:x:${peopleGid}:`, ...text, ''].join('\n'),
    )
    // The wrapper looks at the seconds of its time.
    changes += 1
    const time = Date.now() / 1_000 + changes * 2
    utimesSync(at('group.new'), time, time)
    renameSync(at('group.new'), at('group'))
  }
  setGroups(new Map())
  writeFileSync(at('smb.conf'), configOf(folder, host, lines))
  const env = {
    PATH: process.env['PATH'],
    LD_PRELOAD: wrapper,
    NSS_WRAPPER_PASSWD: at('passwd'),
    NSS_WRAPPER_GROUP: at('group'),
  }
  const run = (program: string, ...args: readonly string[]): string =>
    execFileSync(program, [...args, `--configfile=${at('smb.conf')}`], {
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  const passdb = openScript('accounts.py', [at('smb.conf'), at('private'), password], env)
  const gidOf = (name: string) => peopleGid + 1 + unixGroups.indexOf(name)
  const { domain, sids } = opened.parse(
    await passdb.ask({
      op: 'open',
      accounts: names,
      groups: [
        ...groups.map((name) => ({ name, gid: gidOf(name), kind: 'group' })),
        ...aliases.map((name) => ({ name, gid: gidOf(name), kind: 'alias' })),
        { name: 'power', gid: gidOf('power'), kind: 'alias', sid: 'S-1-5-32-547' },
      ],
    }),
  )
  sids.set('unix', `S-1-22-2-${gidOf('unix')}`)
  const sidOf = (name: string) => sids.get(name) ?? missing(name)
  const inAliases = new Map<string, readonly string[]>()
  async function setAliases(members: ReadonlyMap<string, readonly string[]>): Promise<void> {
    for (const [name, wanted] of members) {
      const had = inAliases.get(name) ?? []
      inAliases.set(name, wanted)
      for (const sid of new Set([...wanted, ...had]))
        if (had.includes(sid) !== wanted.includes(sid))
          await passdb.ask({ op: 'member', alias: sidOf(name), sid, isIn: wanted.includes(sid) })
    }
  }
  let shareEntries = ''
  const server = spawn('smbd', ['--foreground', '--no-process-group', `--configfile=${at('smb.conf')}`], {
    env,
    stdio: 'ignore',
    detached: true,
  })
  const admin = openAdmin(host, domain)
  const close = async (): Promise<void> => {
    await Promise.all([admin.close(), passdb.close()])
    await end(server, at('pid'))
    await rm(folder, { recursive: true, force: true })
  }
  try {
    await answering(admin.admin, at('log'))
  } catch (error) {
    await close()
    throw error
  }
  return {
    host,
    root,
    domain,
    admin: admin.admin,
    run,
    sidOf,
    setGroups,
    setAliases,
    setDisabled: async (name, isDisabled) => void (await passdb.ask({ op: 'disable', name, isDisabled })),
    setShare(entries) {
      if (entries.join(',') === shareEntries) return
      shareEntries = entries.join(',')
      run('sharesec', 'docs', `--replace=${shareEntries}`)
    },
    getAs: (name, paths) => getAs(host, name, paths, folder),
    [Symbol.asyncDispose]: close,
  }
}

/** One of its own, so that all can have SMB's port: the whole of 127/8 is this machine. */
const someHost = (): string => ['127', randomInt(1, 255), randomInt(256), randomInt(1, 255)].join('.')

const configOf = (folder: string, host: string, lines: readonly string[]): string => `[global]
workgroup = REMIT
netbios name = FS
server role = standalone server
bind interfaces only = yes
interfaces = ${host}/8
smb ports = 445
private dir = ${folder}/private
state directory = ${folder}/state
cache directory = ${folder}/cache
lock directory = ${folder}/lock
pid directory = ${folder}/pid
ncalrpc dir = ${folder}/nc
log file = ${folder}/log
log level = 0
passdb backend = tdbsam:${folder}/private/passdb.tdb
load printers = no
disable spoolss = yes
disable netbios = yes
map to guest = never
vfs objects = acl_xattr
acl_xattr:ignore system acls = yes
# Of the file systems on which the tests run not all take security.NTACL.
acl_xattr:security_acl_name = user.NTACL
[docs]
path = ${folder}/share
read only = no
admin users = reader
${lines.join('\n')}
[admin]
path = ${folder}/share
read only = no
admin users = root
valid users = root
`

async function answering(admin: Admin, log: string): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await admin.write('.answers', '')
      return
    } catch (error) {
      if (attempt === 150)
        throw new Error(`smbd does not answer: ${readFileSync(log, 'utf8')}`, { cause: error })
      await sleep(100)
    }
  }
}

/** With the other server that it began for RPC, which ends its own. */
async function end(server: ChildProcess, pids: string): Promise<void> {
  const exited = new Promise((resolve) => server.once('exit', resolve))
  if (server.pid !== undefined && server.exitCode === null) {
    process.kill(-server.pid, 'SIGTERM')
    await exited
  }
  const file = join(pids, 'samba-dcerpcd.pid')
  if (existsSync(file)) process.kill(Number(readFileSync(file, 'utf8')), 'SIGTERM')
}

function getAs(host: string, name: string, paths: readonly string[], folder: string) {
  const files = paths.map((_, index) => join(folder, `got-${name}-${index}`))
  const commands = paths.map((path, index) => `get "${path.replaceAll('/', '\\')}" ${files[index]}`)
  const { stdout } = spawnSync(
    'smbclient',
    ['--configfile=/dev/null', `--user=FS/${name}`, `//${host}/docs`],
    {
      env: { PATH: process.env['PATH'], PASSWD: password },
      input: `${commands.join('\n')}\n`,
      encoding: 'utf8',
    },
  )
  const odd = /NT_STATUS_(?!ACCESS_DENIED|ACCOUNT_DISABLED)\w+/.exec(stdout)
  if (odd !== null) throw new Error(`smbclient says ${odd[0]}.`)
  return files.map((file) => {
    try {
      return readFileSync(file, 'utf8')
    } catch {
      return undefined
    } finally {
      rmSync(file, { force: true })
    }
  })
}

function missing(name: string): never {
  throw new Error(`The server has no ${name}.`)
}

export interface SourceOptions {
  readonly people: readonly Person[]
  readonly groups?: readonly StatedGroup[]
  readonly validUsers?: readonly string[]
  readonly invalidUsers?: readonly string[]
  /** Left out: the server is asked. */
  readonly connect?: readonly string[]
  /** Whom Remit signs in as. Default root: Samba 4.17 tells nobody else who may connect to a share. */
  readonly account?: string
  readonly password?: string
  readonly now?: () => number
  /** Until folders have stood for a second. Default: not at all. */
  readonly wait?: (ms: number) => Promise<void>
  /** Stands before the share. */
  readonly wrap?: (share: Share) => Share
}

/** The share `docs` as a source. */
export function openSource(samba: Samba, options: SourceOptions) {
  const { people, groups = [], validUsers, invalidUsers, connect, account = 'root', wrap } = options
  const now = options.now ?? Date.now
  const session = { account: `FS/${account}`, password: options.password ?? password }
  const share = openShareOf(samba, session)
  return createSmbSource(
    { prefix: 'smb/', collection: 'closed', ...(validUsers && { validUsers }) },
    {
      share: wrap?.(share) ?? share,
      readServer: serverReader(shellOf({ ...session, program: 'rpcclient', target: samba.host }), {
        share: 'docs',
        people,
        groups,
        ...(connect && { connect }),
        ...(invalidUsers && { invalidUsers }),
        now,
      }),
      titleOf: async () => undefined,
      now,
      elapsed: () => performance.now(),
      wait: options.wait ?? (async () => undefined),
    },
  )
}

export function openShareOf(
  { host }: Pick<Samba, 'host'>,
  session: { readonly account: string; readonly password: string } = { account: 'FS/root', password },
) {
  const client = { ...session, program: 'smbclient', target: `//${host}/docs` }
  return openShare({ names: shellOf(client), files: shellOf({ ...client, begin: 'showacls' }), host })
}

const shells = new Map<string, Shell>()

/** The sources of a file of tests ask in the same sessions: to begin one costs more than to ask. */
function shellOf(options: ShellOptions): Shell {
  const key = JSON.stringify(options)
  const shell = shells.get(key) ?? createShell(options)
  shells.set(key, shell)
  return shell
}
