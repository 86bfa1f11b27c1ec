import type { Values } from './helm.ts'

/** As few values as an install needs. */
export const fewest = {
  image: { repository: 'registry.corp.example/remit' },
  settings: {
    PUBLIC_URL: 'https://remit.example.com',
    TRUSTED_ISSUERS: [],
    OPENFGA_API_URL: 'http://openfga.openfga:8080',
  },
  secrets: {
    DATABASE_URL: { secret: 'remit', key: 'database-url' },
    OPENFGA_API_TOKEN: { secret: 'remit', key: 'openfga-token' },
    OPS_BEARER: { secret: 'remit', key: 'ops-bearer' },
  },
  keysSecret: 'remit-keys',
  network: {
    clients: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ingress' } } }],
    egress: {
      postgres: { to: [{ ipBlock: { cidr: '10.1.0.0/24' } }], ports: [5432] },
      openfga: { to: [{ podSelector: { matchLabels: { app: 'openfga' } } }], ports: [8080] },
    },
  },
}

const elsewhere = (...ports: number[]) => ({ to: [{ ipBlock: { cidr: '192.0.2.0/24' } }], ports })

/** Much of what the chart knows: an issuer, a search engine, linked accounts, sources apart, autoscaling. */
export const fullest = {
  ...fewest,
  image: {
    repository: 'registry.corp.example/remit',
    digest: `sha256:${'0'.repeat(64)}`,
    pullSecrets: ['pull'],
  },
  settings: {
    ...fewest.settings,
    TRUSTED_ISSUERS: [
      {
        issuer: 'https://sso.corp.example',
        audiences: { api: 'remit', mcp: 'remit-mcp' },
        namespace: 'corp',
        preset: 'generic',
        sign_in: { client_id: 'remit', client_secret_env: 'SSO_SECRET' },
      },
    ],
    VAULT_PROVIDERS: '[{"provider": "github", "client_id": "c", "client_secret_env": "GITHUB_SECRET"}]',
    SEARCH_ENGINE_URLS: 'https://search-1:9200,https://search-2:9200',
    SEARCH_ENGINE_USER: 'remit',
    SOURCE_ORIGINS: 'https://wiki.corp.example',
    SOURCE_SECRETS: [
      { name: 'wiki', kind: 'dokuwiki', origin: 'https://wiki.corp.example', secret_env: 'WIKI_TOKEN' },
    ],
    BODY_BYTES_MAX: 30_000_000,
    AUDIT_QUERY_TEXT: true,
  },
  secrets: {
    ...fewest.secrets,
    ...Object.fromEntries(
      ['VAULT_KEYS', 'SEARCH_ENGINE_PASSWORD', 'SSO_SECRET', 'GITHUB_SECRET', 'WIKI_TOKEN'].map((name) => [
        name,
        { secret: 'remit-more', key: name.toLowerCase() },
      ]),
    ),
  },
  network: {
    ...fewest.network,
    operators: [{ podSelector: { matchLabels: { app: 'prometheus' } } }],
    egress: { ...fewest.network.egress, issuers: elsewhere(443), search: elsewhere(9200) },
  },
  roles: {
    api: {
      role: 'api',
      autoscaling: { minReplicas: 2, maxReplicas: 8, cpuPercent: 70 },
      settings: { SEARCH_THREADS: 4 },
      podAnnotations: { note: 'x' },
      nodeSelector: { disk: 'fast' },
      tolerations: [{ key: 'fast', operator: 'Exists' }],
      whenUnsatisfiable: 'DoNotSchedule',
    },
    worker: { role: 'worker', readsSources: false },
    sources: { role: 'worker', readsSources: true, egress: { wiki: elsewhere(443) } },
  },
  extraEnv: { NODE_EXTRA_CA_CERTS: '/etc/remit/ca.pem' },
  volumes: [{ name: 'ca', configMap: { name: 'ca' } }],
  volumeMounts: [{ name: 'ca', mountPath: '/etc/remit' }],
} satisfies Values

/** The values with one member changed, by its path; undefined takes it out. */
export function changed(values: Values, path: readonly string[], to: unknown): Values {
  const [first = '', ...rest] = path
  const { [first]: old, ...others } = values
  if (rest.length === 0) return to === undefined ? others : { ...others, [first]: to }
  return { ...others, [first]: changed((old ?? {}) as Values, rest, to) }
}
