import { readFileSync } from 'node:fs'
import { BlockList } from 'node:net'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadConfig, settings } from '../../src/config/config.ts'
import { secretsOf } from '../../src/config/secret-files.ts'
import { hostsOf } from '../../src/http/middleware/frame.ts'
import { composeFile, filled } from '../e2e/production/compose-file.ts'

interface Service {
  readonly environment?: Readonly<Record<string, unknown>>
  readonly volumes?: readonly string[]
  readonly depends_on?: Readonly<Record<string, unknown>>
  readonly extends?: { readonly file: string; readonly service: string }
  readonly entrypoint?: readonly string[]
  readonly networks?: readonly string[] | { readonly outside: { readonly ipv4_address: string } }
  readonly ports?: readonly string[]
}

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const file = parse(read('docker-compose.cluster.yml'), { merge: true }) as {
  readonly services: Readonly<Record<string, Service>>
  readonly volumes: Readonly<Record<string, unknown>>
  readonly networks: {
    readonly outside: { readonly ipam: { readonly config: readonly [{ subnet: string }] } }
  }
}
const { services } = file
const processes = Object.entries(services).filter(([, { environment }]) => environment?.['REMIT_ROLE'])
const envOf = ({ environment = {} }: Service) => filled(environment, { PUBLIC_URL: 'https://remit.example' })

describe('docker-compose.cluster.yml', () => {
  test('starts two processes that answer and one that takes in, with settings that they know and can use', () => {
    expect(processes.map(([name, { environment }]) => [name, environment?.['REMIT_ROLE']])).toEqual([
      ['remit-1', 'api'],
      ['remit-2', 'api'],
      ['worker', 'worker'],
    ])
    for (const [, service] of processes) {
      const env = envOf(service)
      const known = [...Object.keys(settings.shape), ...secretsOf(env).map((name) => `${name}_FILE`)]
      expect(Object.keys(env).filter((name) => !known.includes(name))).toEqual(['NODE_EXTRA_CA_CERTS'])
      const config = loadConfig(env, (path) => (path.endsWith('database_url') ? 'postgres://db/remit' : path))
      expect(config).toMatchObject({
        demo: false,
        openfga: { apiToken: '/run/secrets/openfga_token', maybeSecondary: false },
        searchEngine: {
          urls: ['https://search-1:9200', 'https://search-2:9200', 'https://search-3:9200'],
          authorization: `Basic ${btoa('remit:/run/search/password')}`,
        },
      })
    }
  })

  test('gives each process a home of its own, and all of them the same keys', () => {
    const homes = processes.map(([, { volumes = [] }]) => volumes[0])
    expect(new Set(homes).size).toBe(3)
    for (const [, { volumes = [] }] of processes) {
      expect(volumes[0]).toMatch(/^[a-z0-9-]+:\/var\/lib\/remit$/)
      expect(volumes[1]).toBe('remit-keys:/var/lib/remit/keys')
    }
    expect(services['keys']?.volumes).toEqual(['remit-keys:/keys'])
  })

  test('names volumes and services alone that are there', () => {
    for (const { volumes = [], depends_on: needed = {}, extends: base } of Object.values(services)) {
      for (const volume of volumes.filter((one) => !one.startsWith('.')))
        expect(Object.keys(file.volumes)).toContain(volume.split(':')[0])
      for (const name of Object.keys(needed)) expect(Object.keys(services)).toContain(name)
      if (base) expect(Object.keys(composeFile().services)).toContain(base.service)
    }
  })

  test('publishes the balancer alone, which asks each process by a name that is theirs', () => {
    const published = Object.entries(services).filter(([, { ports }]) => ports)
    expect(published.map(([name]) => name)).toEqual(['balancer'])
    const balancer = read('docker/cluster/haproxy.cfg')
    const asked = [...balancer.matchAll(/^ {2}server (\S+) \1:8787$/gm)].map(([, name]) => name)
    expect(asked).toEqual(['remit-1', 'remit-2'])
    const [, host = ''] = /uri \/readyz hdr Host (\S+)/.exec(balancer) ?? []
    expect(hostsOf('https://remit.example', '0.0.0.0', 8787)).toContain(host)
  })

  test('believes the balancer alone of whom it counts for, by its own address, and not clients who come by the gateway', () => {
    const { networks } = services['balancer'] ?? {}
    if (networks === undefined || !('outside' in networks)) throw new Error('The balancer has no address.')
    const { ipv4_address: address } = networks.outside
    const [subnet = '', prefix] = file.networks.outside.ipam.config[0].subnet.split('/')
    const outside = new BlockList()
    outside.addSubnet(subnet, Number(prefix))
    expect(outside.check(address)).toBe(true)
    for (const [, { environment }] of processes) expect(environment?.['TRUSTED_PROXIES']).toBe(address)
  })

  test('keeps the engine inside, with certificates of its own by which its nodes find each other, and no log of what was asked', () => {
    for (const name of ['search-1', 'search-2', 'search-3']) {
      const { environment, networks } = services[name] ?? {}
      expect(networks).toEqual(['inside'])
      expect(environment).toMatchObject({
        'node.name': name,
        DISABLE_INSTALL_DEMO_CONFIG: 'true',
        'plugins.security.ssl.http.enabled': 'true',
        'plugins.security.nodes_dn': 'CN=remit-search',
        // They know each other by address, and search.sh makes a certificate of names.
        'transport.ssl.enforce_hostname_verification': 'false',
        ...Object.fromEntries(
          ['latency', 'cpu', 'memory'].map((kind) => [
            `search.insights.top_queries.${kind}.enabled`,
            'false',
          ]),
        ),
      })
      expect(read('docker/cluster/search.sh')).toContain(`dns:${name}`)
    }
  })

  test('lets Remit do there what its page says, and no more', () => {
    const { remit } = parse(read('docker/cluster/roles.yml')) as {
      remit: { cluster_permissions: string[]; index_permissions: [{ allowed_actions: string[] }] }
    }
    const [, page = ''] = /## The role\n([\s\S]*?)\n## /.exec(read('docs/search-engine.md')) ?? []
    const said = [...page.matchAll(/`((?:indices|cluster):[^`]+)`/g)].map(([, action]) => action)
    expect([...remit.index_permissions[0].allowed_actions, ...remit.cluster_permissions].sort()).toEqual(
      said.sort(),
    )
    expect(remit.index_permissions).toMatchObject([{ index_patterns: ['remit-*'] }])
  })
})
