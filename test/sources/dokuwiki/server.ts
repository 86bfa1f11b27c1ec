import { execFileSync, spawn, spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { OutboundResponse } from '../../../src/outbound/guarded-fetch.ts'
import type { SourceFetch } from '../../../src/sources/fetch.ts'
import { needs } from '../../support/native.ts'

/** As Debian installs it. */
const installed = '/usr/share/dokuwiki'

/** Options of a test or suite that runs a DokuWiki of its own. */
export const needsDokuwiki = needs(
  existsSync(`${installed}/inc/init.php`) && spawnSync('php', ['--version']).status === 0,
  'DokuWiki and PHP (the packages dokuwiki and php-cli)',
)

/** The same, as another account than this process. */
export const needsRootAndDokuwiki = needsDokuwiki.skip
  ? needsDokuwiki
  : needs(process.getuid?.() === 0, 'root')

export interface WikiUser {
  readonly name: string
  readonly groups: readonly string[]
}

/** A DokuWiki of its own, with the plugin of Remit. Everybody's password is `pw`. */
export interface WikiServer extends AsyncDisposable {
  /** Of the wiki, `http://127.0.0.1:PORT`. */
  readonly url: string
  readonly secret: string
  readonly fetch: SourceFetch
  /** Lines of acl.auth.php. */
  setAcl(lines: readonly string[]): void
  /** All users but those of the machine: `remit`, which has no rights, and `root`, a superuser. */
  setUsers(users: readonly WikiUser[]): void
  /** Settings in PHP: `$conf['hidepages'] = 'x';` */
  setConf(php: string): void
  readonly folder: string
  /** Writes a file below the data folder. */
  write(path: string, content: string | Buffer): void
  put(page: string, text: string): Promise<void>
  removePlugin(name: string): void
  addPlugin(name: string, file: string, php: string): void
  /** The pages that the wiki itself lists for somebody who signs in; undefined: for who does not. */
  readable(user: string | undefined): Promise<ReadonlySet<string>>
}

/** A wiki with no pages, in which nobody may read anything. It runs as the account of this number. */
export async function openWikiServer({ uid }: { readonly uid?: number } = {}): Promise<WikiServer> {
  const folder = mkdtempSync(join(tmpdir(), 'remit-dokuwiki-'))
  furnish(folder)
  if (uid !== undefined) execFileSync('chown', ['-R', String(uid), folder])
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const prelude = fileURLToPath(new URL('prelude.php', import.meta.url))
  const settings = [`auto_prepend_file=${prelude}`, 'opcache.revalidate_freq=0', `sys_temp_dir=${folder}`]
  const child = spawn(
    'php',
    [...settings.flatMap((setting) => ['-d', setting]), '-S', `127.0.0.1:${port}`, '-t', installed],
    {
      stdio: 'ignore',
      ...(uid !== undefined && { uid, gid: uid }),
      env: { ...process.env, DOKUWIKI_TEST_FOLDER: folder },
    },
  )
  const exited = new Promise((resolve) => child.once('exit', resolve))
  const write = (path: string, content: string | Buffer) => writeFileSync(join(folder, path), content)

  const server: WikiServer = {
    url,
    secret: 'remit:pw',
    folder,
    fetch: async (path, { headers, body, method, signal } = {}) => {
      const response = await fetch(new URL(path, url), {
        ...(method !== undefined && { method }),
        ...(headers !== undefined && { headers }),
        ...(body !== undefined && { body }),
        signal: signal ?? null,
      })
      const answer: OutboundResponse = {
        status: response.status,
        headers: response.headers,
        body: new Uint8Array(await response.arrayBuffer()),
      }
      return answer
    },
    setAcl: (lines) => write('conf/acl.auth.php', ['# <?php exit()?>', ...lines, ''].join('\n')),
    setUsers: (users) =>
      write(
        'conf/users.auth.php',
        [{ name: 'remit', groups: [] }, { name: 'root', groups: ['admin'] }, ...users]
          .map(({ name, groups }) => `${name}:${md5OfPw}:Name:mail@wiki.example:${groups.join(',')}\n`)
          .join(''),
      ),
    setConf: (php) => write('conf/local.php', `<?php\n${confOf(folder)}\n${php}\n`),
    write: (path, content) => {
      mkdirSync(join(folder, 'data', path, '..'), { recursive: true })
      write(`data/${path}`, content)
    },
    removePlugin: (name) => unlinkSync(join(folder, 'plugins', name)),
    addPlugin(name, file, php) {
      mkdirSync(join(folder, 'plugins', name))
      write(`plugins/${name}/${file}`, php)
    },
    async put(page, text) {
      const answer = await callAs(
        url,
        'root',
        `<methodName>wiki.putPage</methodName><params>${[page, text].map((value) => `<param>${xmlOf(value)}</param>`).join('')}<param><value><struct><member><name>sum</name>${xmlOf('x')}</member><member><name>minor</name><value><boolean>0</boolean></value></member></struct></value></param></params>`,
      )
      if (!answer.includes('<boolean>1</boolean>')) throw new Error(`The wiki refuses ${page}: ${answer}`)
    },
    async readable(user) {
      const answer = await callAs(
        url,
        user,
        `<methodName>dokuwiki.getPagelist</methodName><params><param>${xmlOf('')}</param><param><value><struct></struct></value></param></params>`,
      )
      if (!answer.includes('<array>')) throw new Error(`The wiki does not answer: ${answer}`)
      const ids = answer.matchAll(/<name>id<\/name>\s*<value>\s*<string>([^<]*)<\/string>/g)
      return new Set([...ids].map(([, id = '']) => id))
    },
    async [Symbol.asyncDispose]() {
      child.kill()
      await exited
      await rm(folder, { recursive: true, force: true })
    },
  }
  server.setConf('')
  server.setUsers([])
  server.setAcl(['*\t@ALL\t0'])
  await answering(url)
  return server
}

function furnish(folder: string): void {
  for (const name of ['conf', 'plugins']) mkdirSync(join(folder, name))
  for (const name of 'pages attic media media_attic media_meta meta cache index locks tmp log'.split(' '))
    mkdirSync(join(folder, 'data', name), { recursive: true })
  cpSync('/etc/dokuwiki/mime.conf', join(folder, 'conf/mime.conf'))
  for (const name of readdirSync(`${installed}/lib/plugins`))
    symlinkSync(`${installed}/lib/plugins/${name}`, join(folder, 'plugins', name))
  const plugin = new URL('../../../src/sources/kinds/dokuwiki/plugin', import.meta.url)
  symlinkSync(fileURLToPath(plugin), join(folder, 'plugins/remit'))
}

const confOf = (folder: string): string => `$conf['savedir'] = '${folder}/data';
$conf['useacl'] = 1;
$conf['superuser'] = '@admin';
$conf['remote'] = 1;
$conf['remoteuser'] = '';
$conf['plugin']['remit']['account'] = 'remit';`

// Of `pw`, without salt: the wiki tells the kind of a digest by its length.
const md5OfPw = '8fe4c11451281c094a6578e6ddbf5eed'

const xmlOf = (text: string): string =>
  `<value><string>${text.replace(/[<>&]/g, (character) => `&#${character.charCodeAt(0)};`)}</string></value>`

async function callAs(url: string, user: string | undefined, call: string): Promise<string> {
  const response = await fetch(`${url}/lib/exe/xmlrpc.php`, {
    method: 'POST',
    headers: {
      'content-type': 'text/xml',
      ...(user !== undefined && {
        authorization: `Basic ${Buffer.from(`${user}:pw`).toString('base64')}`,
      }),
    },
    body: `<?xml version="1.0"?><methodCall>${call}</methodCall>`,
  })
  return response.text()
}

async function answering(url: string): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt += 1) {
    const isUp = await fetch(`${url}/lib/exe/xmlrpc.php`).then(
      () => true,
      () => false,
    )
    if (isUp) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('DokuWiki does not start.')
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
