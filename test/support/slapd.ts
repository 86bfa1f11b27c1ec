import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Attribute, Change, Client } from 'ldapts'
import { certificateFor } from './certificate.ts'
import { needs } from './native.ts'
import { freePort } from './port.ts'

const program = '/usr/sbin/slapd'

/** Options of a test or suite that runs a server of OpenLDAP. */
export const needsSlapd = needs(spawnSync(program, ['-VV']).status === 0, 'slapd (Debian: slapd)')

const schemaFolder = '/etc/ldap/schema'
const password = 'of the administrator'

/** A server of OpenLDAP with `dc=acme,dc=test`, in which `cn=remit` may read everything. */
export interface Slapd extends AsyncDisposable {
  /** `ldaps://localhost:PORT`, with a certificate that `ca` signs. */
  readonly url: string
  /** `ldap://localhost:PORT`, which takes StartTLS. */
  readonly plainUrl: string
  readonly ca: string
  readonly base: string
  readonly reader: { readonly dn: string; readonly password: string }
  /** As its administrator. */
  readonly client: Client
  add(dn: string, attributes: Readonly<Record<string, string | string[]>>): Promise<void>
  replace(dn: string, attribute: string, values: readonly string[]): Promise<void>
  /** Of an entry one attribute, operational ones too. */
  read(dn: string, attribute: string): Promise<string[]>
  /** Changes the limits of `cn=remit`, such as `size.prtotal=10`. */
  limit(limits: string): Promise<void>
  /** Changes who may read what. */
  allow(rules: readonly string[]): Promise<void>
  stop(): Promise<void>
  start(): Promise<void>
}

/** Who may read what, as a test finds it: `cn=remit` everything. */
export const everything = ['to * by dn.exact="cn=remit,dc=acme,dc=test" read by anonymous auth by * none']

export async function startSlapd(): Promise<Slapd> {
  const folder = await mkdtemp(join(tmpdir(), 'remit-slapd-'))
  const [securePort, plainPort] = [await freePort(), await freePort()]
  const base = 'dc=acme,dc=test'
  const reader = { dn: `cn=remit,${base}`, password: 'of the reader' }
  const { key, cert } = certificateFor('localhost')
  await mkdir(join(folder, 'data'))
  await writeFile(join(folder, 'cert.pem'), cert)
  await writeFile(join(folder, 'key.pem'), key, { mode: 0o600 })
  const schemas = ['core', 'cosine', 'inetorgperson', 'nis']
  await writeFile(
    join(folder, 'slapd.conf'),
    `${schemas.map((name) => `include ${schemaFolder}/${name}.schema`).join('\n')}
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload refint
moduleload ppolicy
pidfile ${folder}/pid
TLSCertificateFile ${folder}/cert.pem
TLSCertificateKeyFile ${folder}/key.pem
database config
rootdn cn=admin,cn=config
rootpw "${password}"
database mdb
suffix ${base}
rootdn cn=admin,${base}
rootpw "${password}"
directory ${folder}/data
dbnosync
maxsize 67108864
limits dn.exact="${reader.dn}" size=unlimited
access ${everything[0]}
overlay refint
refint_attributes member uniqueMember
refint_nothing cn=nobody
overlay ppolicy
`,
  )
  const urls = `ldap://127.0.0.1:${plainPort}/ ldaps://127.0.0.1:${securePort}/`
  let child: ChildProcess | undefined
  const start = async (): Promise<void> => {
    child = spawn(program, ['-f', join(folder, 'slapd.conf'), '-h', urls, '-d', '0'], { stdio: 'ignore' })
    for (let tries = 0; tries < 1_200; tries += 1) {
      if (await answers(plainPort)) return
      await sleep(25)
    }
    throw new Error('slapd does not answer.')
  }
  const stop = async (): Promise<void> => {
    if (child === undefined || child.exitCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    await ended
    child = undefined
  }
  await access(schemaFolder)
  await start()
  const client = new Client({ url: `ldap://127.0.0.1:${plainPort}`, autoRebind: true })
  await client.bind(`cn=admin,${base}`, password)
  const modify = async (dn: string, attribute: string, values: readonly string[], as = client) =>
    as.modify(
      dn,
      new Change({
        operation: 'replace',
        modification: new Attribute({ type: attribute, values: [...values] }),
      }),
    )
  const configure = async (attribute: string, values: readonly string[]): Promise<void> => {
    const config = new Client({ url: `ldap://127.0.0.1:${plainPort}` })
    await config.bind('cn=admin,cn=config', password)
    await modify('olcDatabase={1}mdb,cn=config', attribute, values, config)
    await config.unbind()
  }
  const slapd: Slapd = {
    url: `ldaps://localhost:${securePort}`,
    plainUrl: `ldap://localhost:${plainPort}`,
    ca: cert,
    base,
    reader,
    client,
    add: (dn, attributes) => client.add(dn, { ...attributes }),
    replace: (dn, attribute, values) => modify(dn, attribute, values),
    async read(dn, attribute) {
      const { searchEntries } = await client.search(dn, { scope: 'base', attributes: [attribute] })
      return [searchEntries[0]?.[attribute] ?? []].flat().map(String)
    },
    limit: (limits) => configure('olcLimits', [`{0}dn.exact="${reader.dn}" ${limits}`]),
    allow: (rules) =>
      configure(
        'olcAccess',
        rules.map((rule, index) => `{${index}}${rule}`),
      ),
    start,
    stop,
    async [Symbol.asyncDispose]() {
      await client.unbind().catch(() => undefined)
      await stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
  await slapd.add(base, { objectClass: ['dcObject', 'organization'], dc: 'acme', o: 'Acme' })
  await slapd.add(reader.dn, {
    objectClass: ['organizationalRole', 'simpleSecurityObject'],
    cn: 'remit',
    userPassword: reader.password,
  })
  for (const ou of ['people', 'groups'])
    await slapd.add(`ou=${ou},${base}`, { objectClass: 'organizationalUnit', ou })
  return slapd
}

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
