import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { loadConfig, settings } from '../../src/config/config.ts'
import { secretsOf } from '../../src/config/secret-files.ts'
import { createMetrics } from '../../src/http/metrics.ts'
import { hostsOf } from '../../src/http/middleware/frame.ts'
import { createOps } from '../../src/http/ops.ts'
import { listen } from '../../src/start.ts'
import { needsHelm } from '../support/native.ts'
import { type Manifest, rendered, type Values } from './helm.ts'
import { changed, fewest, fullest } from './values.ts'

const stopped = { ...fullest, stopped: true }

const render = (values: Values): readonly Manifest[] => rendered([values])[0]?.manifests ?? []
const ofKind = (manifests: readonly Manifest[], kind: string) =>
  manifests.filter((manifest) => manifest.kind === kind)

interface EnvVar {
  readonly name: string
  readonly value: string
}

/** The environment of a Deployment's process. */
const envOf = ({ spec }: Manifest): Readonly<Record<string, string>> =>
  Object.fromEntries(
    spec.template.spec.containers[0].env.map(({ name, value }: EnvVar): [string, string] => [name, value]),
  )

/** Which Secret's key a process finds at a path. */
function mounted({ spec }: Manifest): ReadonlyMap<string, string> {
  const { volumes, containers } = spec.template.spec
  const { mountPath } = containers[0].volumeMounts.find(({ name }: { name: string }) => name === 'secrets')
  const { sources } = volumes.find(({ name }: { name: string }) => name === 'secrets').projected
  return new Map(
    sources.map(({ secret }: { secret: { name: string; items: [{ key: string; path: string }] } }) => [
      `${mountPath}/${secret.items[0].path}`,
      `${secret.name} ${secret.items[0].key}`,
    ]),
  )
}

const secretTexts: Readonly<Record<string, string>> = {
  'database-url': 'postgres://remit:secret@db/remit',
  vault_keys: `v1:${Buffer.alloc(32).toString('base64')}`,
}

/** As the process would read it. Throws where it would not start. */
function configOf(deployment: Manifest) {
  const files = mounted(deployment)
  return loadConfig(envOf(deployment), (path) => {
    const key = files.get(path)?.split(' ')[1]
    if (key === undefined) throw new Error(`nothing at ${path}`)
    return secretTexts[key] ?? `the secret ${key}`
  })
}

const isWithin = (part: Readonly<Record<string, string>>, whole: Readonly<Record<string, string>>) =>
  Object.entries(part).every(([name, value]) => whole[name] === value)

describe('the chart', needsHelm, () => {
  test('makes what Kubernetes takes, of the fewest values and of the most, stopped too', () => {
    for (const { refused, invalid, manifests } of rendered([fewest, fullest, stopped])) {
      expect(refused).toBeUndefined()
      expect(invalid).toEqual([])
      expect(manifests.length).toBeGreaterThan(8)
    }
    // The schemas do hold: a field that nobody knows.
    const [wrong] = rendered([changed(fewest, ['roleDefaults', 'resources'], { request: { cpu: '1' } })])
    expect(wrong?.invalid.join()).toMatch(/deployment\.yaml.*additional properties 'request' not allowed/s)
  })

  test('gives each process settings alone that src/config knows, with which it starts', () => {
    for (const values of [fewest, fullest]) {
      const deployments = ofKind(render(values), 'Deployment')
      expect(deployments.length).toBe(values === fewest ? 2 : 3)
      for (const deployment of deployments) {
        const config = configOf(deployment)
        expect(config).toMatchObject({ demo: false, publicUrl: 'https://remit.example.com' })
        expect(config.ops.bearerFile).toBe('/run/secrets/remit/OPS_BEARER')
        const env = envOf(deployment)
        const known = [...Object.keys(settings.shape), ...secretsOf(env).map((name) => `${name}_FILE`)]
        expect(Object.keys(env).filter((name) => !known.includes(name))).toEqual(
          values === fewest ? [] : ['NODE_EXTRA_CA_CERTS'],
        )
      }
    }
    const sources = ofKind(render(fullest), 'Deployment').map((one) => configOf(one))
    expect(sources.map(({ bodyBytesMax }) => bodyBytesMax)).toEqual([30_000_000, 30_000_000, 30_000_000])
  })

  test('holds its list of settings to src/config', () => {
    const schema = JSON.parse(
      readFileSync(new URL('../../deploy/helm/remit/values.schema.json', import.meta.url), 'utf8'),
    )
    const own = [
      ...'HOST PORT OPS_HOST OPS_PORT OPS_BEARER_FILE REMIT_HOME EMBEDDINGS_CACHE'.split(' '),
      ...'REMIT_ROLE REMIT_DEMO DEMO_SAMPLE'.split(' '),
      ...'NOMINATOR_TLS_CERT NOMINATOR_TLS_KEY NOMINATOR_TLS_CA'.split(' '),
      ...secretsOf({}),
    ]
    const names = Object.keys(schema.$defs.settings.properties)
    expect([...names, ...own].sort()).toEqual(Object.keys(settings.shape).sort())
    // Nobody gives one of them, a secret, or what the chart says itself, beside the settings.
    const refused = [...names, ...own, ...secretsOf({}).map((name) => `${name}_FILE`)]
    expect(schema.properties.extraEnv.properties).toEqual(
      Object.fromEntries([...refused, 'NODE_TLS_REJECT_UNAUTHORIZED'].map((name) => [name, false])),
    )
  })

  test('keeps the credentials of sources to those processes that read them', () => {
    const [api, sources, worker] = ofKind(render(fullest), 'Deployment')
    for (const deployment of [api, worker]) {
      if (deployment === undefined) throw new Error('a Deployment is missing')
      expect([...mounted(deployment).values()]).not.toContain('remit-more wiki_token')
      expect(configOf(deployment).sourceSecrets).toMatchObject([{ name: 'wiki', value: undefined }])
    }
    if (sources === undefined) throw new Error('a Deployment is missing')
    expect(configOf(sources).sourceSecrets).toMatchObject([{ value: 'the secret wiki_token' }])
    const [first, second] = ofKind(render(fullest), 'NetworkPolicy')
    const ways = (policy?: Manifest) => policy?.spec.egress.length
    expect([ways(first), ways(second)]).toEqual([5, 6])
  })

  test('holds no secret, and shows a process none but as a file of a Secret', () => {
    for (const values of [fewest, fullest])
      for (const manifest of render(values)) {
        expect(manifest.kind).not.toBe('Secret')
        if (manifest.kind !== 'Deployment') continue
        const env = envOf(manifest)
        for (const name of secretsOf(env)) expect(env[name]).toBeUndefined()
        expect(JSON.stringify(manifest)).not.toMatch(/secretKeyRef|envFrom/)
      }
  })

  test('gives each role probes, a budget, a policy and a place that is its own, and confines it', () => {
    for (const values of [fewest, fullest]) {
      const manifests = render(values)
      for (const deployment of ofKind(manifests, 'Deployment')) {
        const { metadata, spec } = deployment.spec.template
        const [container] = spec.containers
        expect(container).toMatchObject({
          startupProbe: { failureThreshold: expect.any(Number) },
          livenessProbe: {},
          readinessProbe: {},
          resources: { requests: {}, limits: { memory: expect.any(String) } },
        })
        expect(isWithin(deployment.spec.selector.matchLabels, metadata.labels)).toBe(true)
        for (const kind of ['PodDisruptionBudget', 'NetworkPolicy']) {
          const choosing = ofKind(manifests, kind).filter(({ spec: { selector, podSelector } }) =>
            isWithin((selector ?? podSelector).matchLabels, metadata.labels),
          )
          expect(choosing.map(({ metadata: { name } }) => name)).toEqual([deployment.metadata.name])
        }
        expect(spec).toMatchObject({
          automountServiceAccountToken: false,
          securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
        })
        expect(spec.topologySpreadConstraints.length).toBe(2)
        for (const one of [...spec.initContainers, ...spec.containers]) {
          expect(one.securityContext).toEqual({
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          })
          const volumes = spec.volumes.map(({ name }: { name: string }) => name)
          for (const mount of one.volumeMounts) {
            expect(volumes).toContain(mount.name)
            if (!['home', 'models', 'tmp'].includes(mount.name)) expect(mount.readOnly).toBe(true)
          }
        }
      }
      expect(ofKind(manifests, 'ServiceAccount')).toMatchObject([{ automountServiceAccountToken: false }])
    }
  })

  test('has the public Service lead to those alone that answer, and no way in but those of the values', () => {
    const manifests = render(fullest)
    const [service, operators] = ofKind(manifests, 'Service')
    const chosen = (selector: Readonly<Record<string, string>>) =>
      ofKind(manifests, 'Deployment')
        .filter(({ spec }) => isWithin(selector, spec.template.metadata.labels))
        .map(({ metadata }) => metadata.name)
    expect(chosen(service?.spec.selector)).toEqual(['docs-remit-api'])
    expect(chosen(operators?.spec.selector).length).toBe(3)
    const ways = ofKind(manifests, 'NetworkPolicy').map(({ spec }) =>
      spec.ingress.map(({ ports, from }: { ports: [{ port: string }]; from: unknown[] }) => [
        ports[0].port,
        from,
      ]),
    )
    const monitoring = ['operators', fullest.network.operators]
    expect(ways).toEqual([[['http', fullest.network.clients], monitoring], [monitoring], [monitoring]])
    // Without operators nobody reaches them, where an empty list would be everybody.
    for (const { spec } of ofKind(render(fewest), 'NetworkPolicy'))
      for (const { from } of spec.ingress) expect(from).toEqual(fewest.network.clients)
  })

  test('gives a nominator the tuples of its share alone: no key, no other secret, one way in', () => {
    const urls = 'https://docs-remit-first:8787;https://docs-remit-second:8787'
    const manifests = render({
      ...fullest,
      roles: {
        ...fullest.roles,
        api: { ...fullest.roles.api, nominatorTls: 'api-tls', settings: { NOMINATOR_URLS: urls } },
        first: { role: 'nominator', nominatorTls: 'first-tls', settings: { NOMINATOR_SHARE: '1/2' } },
        second: { role: 'nominator', nominatorTls: 'second-tls', settings: { NOMINATOR_SHARE: '2/2' } },
      },
    })
    const [api, first] = ofKind(manifests, 'Deployment')
    if (api === undefined || first === undefined) throw new Error('a Deployment is missing')
    expect(configOf(first)).toMatchObject({
      roles: { api: false, worker: false, nominator: true },
      nominatorShare: { number: 1, of: 2 },
      nominatorShares: undefined,
      trustedIssuers: [],
      host: '0.0.0.0',
    })
    expect(configOf(api).nominatorShares).toHaveLength(2)
    expect([...mounted(first).values()].toSorted()).toEqual([
      'remit database-url',
      'remit openfga-token',
      'remit ops-bearer',
    ])
    const { initContainers, containers, volumes } = first.spec.template.spec
    expect(initContainers).toBeUndefined()
    expect(containers[0].ports).toContainEqual({ name: 'nominator', containerPort: 8787 })
    expect(JSON.stringify(volumes)).not.toContain('remit-keys')
    expect(volumes).toContainEqual({
      name: 'nominator-tls',
      secret: { secretName: 'first-tls', defaultMode: 0o440 },
    })
    const service = ofKind(manifests, 'Service').find(({ metadata }) => metadata.name === 'docs-remit-first')
    expect(isWithin(service?.spec.selector, first.spec.template.metadata.labels)).toBe(true)
    const [policyOfApi, policyOfFirst] = ofKind(manifests, 'NetworkPolicy')
    const asking = { 'remit/asks': 'true' }
    const [wayIn] = policyOfFirst?.spec.ingress ?? []
    expect(wayIn).toMatchObject({ ports: [{ port: 'nominator' }] })
    expect(wayIn.from[0].podSelector.matchLabels).toMatchObject(asking)
    expect(api.spec.template.metadata.labels).toMatchObject(asking)
    expect(first.spec.template.metadata.labels).not.toMatchObject(asking)
    expect(JSON.stringify(policyOfApi?.spec.egress)).toContain('remit/nominates')
  })

  test('waits for the drain, and longer for what proxies still send', () => {
    for (const seconds of [5, 60])
      for (const { spec } of ofKind(render({ ...fewest, preStopSeconds: seconds }), 'Deployment')) {
        expect(spec.template.spec.terminationGracePeriodSeconds).toBe(seconds + 30)
        expect(spec.template.spec.containers[0].lifecycle.preStop.sleep.seconds).toBe(seconds)
      }
  })

  test('runs nothing while it is stopped', () => {
    const manifests = render(stopped)
    for (const { spec } of ofKind(manifests, 'Deployment')) expect(spec.replicas).toBe(0)
    expect(ofKind(manifests, 'HorizontalPodAutoscaler')).toEqual([])
    expect(ofKind(render(fullest), 'HorizontalPodAutoscaler').length).toBe(1)
  })

  test('asks who answers by a name that is theirs', () => {
    const [api] = ofKind(render(fewest), 'Deployment')
    const config = configOf(api as Manifest)
    const [container] = api?.spec.template.spec.containers ?? []
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
      const [header] = container[probe].httpGet.httpHeaders
      expect(hostsOf(config.publicUrl, config.host, config.port)).toContain(header.value)
    }
  })

  test('knows a worker that lives from one that is ready, and from one that is gone', async () => {
    const deployments = ofKind(render(fewest), 'Deployment')
    const worker = deployments.find(({ metadata }) => metadata.name === 'docs-remit-worker')
    const [container] = worker?.spec.template.spec.containers ?? []
    const folder = mkdtempSync(join(tmpdir(), 'remit-test-'))
    const bearerFile = join(folder, 'bearer')
    const bearer = 'b'.repeat(32)
    writeFileSync(bearerFile, `${bearer}\n`)
    let ready = true
    const ops = createOps({
      hosts: new Set(),
      bearer,
      metrics: createMetrics(),
      readiness: async () => ({ ready, details: {} }),
    })
    const probe = async (name: string, port: number): Promise<boolean> => {
      const [program, ...args] = container[name].exec.command.map((text: string) =>
        text.replace(':8788', `:${port}`),
      )
      return promisify(execFile)(program, args, {
        env: { ...process.env, OPS_BEARER_FILE: bearerFile },
      }).then(
        () => true,
        () => false,
      )
    }
    try {
      let port: number
      {
        await using server = await listen({ fetch: ops.fetch, host: '127.0.0.1', port: 0 })
        port = server.port
        expect(await probe('readinessProbe', port)).toBe(true)
        ready = false
        expect(await probe('readinessProbe', port)).toBe(false)
        expect(await probe('livenessProbe', port)).toBe(true)
      }
      expect(await probe('livenessProbe', port)).toBe(false)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('gives a process its keys as files of its own, and starts none that would make one', () => {
    const folder = mkdtempSync(join(tmpdir(), 'remit-test-'))
    try {
      const [api] = ofKind(render(fewest), 'Deployment')
      const [init] = api?.spec.template.spec.initContainers ?? []
      const [shell, flags, script] = init.command
      const home = join(folder, 'home')
      const local = script
        .replaceAll('/run/keys', join(folder, 'secret'))
        .replaceAll('/var/lib/remit/home', home)
      const run = () => execFileSync(shell, [flags, local], { stdio: 'pipe' })
      execFileSync('node', ['scripts/keys.ts', join(folder, 'secret')])
      run()
      const names = readdirSync(join(folder, 'secret'))
      expect(readdirSync(join(home, 'keys'))).toEqual(names)
      for (const name of names) {
        expect(statSync(join(home, 'keys', name)).mode & 0o777).toBe(0o600)
        expect(readFileSync(join(home, 'keys', name))).toEqual(readFileSync(join(folder, 'secret', name)))
      }
      // As when a node starts the pod anew.
      run()
      for (const name of names) {
        const kept = readFileSync(join(folder, 'secret', name))
        rmSync(join(folder, 'secret', name))
        expect(run).toThrow(`has no ${name}`)
        writeFileSync(join(folder, 'secret', name), kept)
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  const refusals: readonly (readonly [string, Values, string])[] = [
    [
      'no database',
      changed(fewest, ['secrets', 'DATABASE_URL'], undefined),
      'secrets.DATABASE_URL is needed',
    ],
    [
      'no key of OpenFGA',
      changed(fewest, ['secrets', 'OPENFGA_API_TOKEN'], undefined),
      'secrets.OPENFGA_API_TOKEN is needed',
    ],
    ['open metrics', changed(fewest, ['secrets', 'OPS_BEARER'], undefined), 'secrets.OPS_BEARER is needed'],
    [
      'an embedded OpenFGA',
      changed(fewest, ['settings', 'OPENFGA_API_URL'], undefined),
      'settings.OPENFGA_API_URL is needed',
    ],
    [
      'nobody to trust',
      changed(fewest, ['settings', 'TRUSTED_ISSUERS'], undefined),
      'TRUSTED_ISSUERS is needed',
    ],
    ['keys of each process', changed(fewest, ['keysSecret'], undefined), 'keysSecret is needed'],
    ['no image', changed(fewest, ['image'], undefined), 'image.repository is needed'],
    ['nobody who may ask', changed(fewest, ['network', 'clients'], []), 'network.clients is needed'],
    ['a peer that is everybody', changed(fewest, ['network', 'clients'], [{}]), 'network/clients/0'],
    [
      'no way to the database',
      changed(fewest, ['network', 'egress', 'postgres'], undefined),
      'network.egress.postgres',
    ],
    [
      'no way to an issuer',
      changed(fullest, ['network', 'egress', 'issuers'], undefined),
      'network.egress.issuers',
    ],
    [
      'no way to the engine',
      changed(fullest, ['network', 'egress', 'search'], undefined),
      'network.egress.search',
    ],
    [
      'a way to everywhere',
      changed(fewest, ['network', 'egress', 'any'], { to: [], ports: [443] }),
      'network.egress.any.to is empty',
    ],
    [
      'a way to everywhere for one of the roles',
      changed(fewest, ['roles', 'worker', 'egress'], { any: { to: [], ports: [443] } }),
      'roles.worker.egress.any.to is empty',
    ],
    [
      'a way to everywhere for all of them',
      changed(fewest, ['roleDefaults', 'egress'], { any: { to: [], ports: [443] } }),
      'roles.api.egress.any.to is empty',
    ],
    ['names from everywhere', changed(fewest, ['network', 'dns'], []), 'network.dns is empty'],
    ['names from nowhere', changed(fewest, ['network', 'dns'], null), 'network.dns is empty'],
    [
      'an engine without a password',
      changed(fullest, ['secrets', 'SEARCH_ENGINE_PASSWORD'], undefined),
      'secrets.SEARCH_ENGINE_PASSWORD is needed',
    ],
    [
      'a secret that a setting names',
      changed(fullest, ['secrets', 'SSO_SECRET'], undefined),
      'secrets.SSO_SECRET is needed',
    ],
    [
      'a secret that nobody reads',
      changed(fewest, ['secrets', 'DATABSE_URL'], { secret: 'a', key: 'b' }),
      'secrets.DATABSE_URL is read by nobody',
    ],
    [
      'a secret by its value',
      changed(fewest, ['secrets', 'DATABASE_URL'], 'postgres://x:y@z/a'),
      'secrets/DATABASE_URL',
    ],
    [
      'a secret as a setting',
      changed(fewest, ['settings', 'OPENFGA_API_TOKEN'], 'x'),
      "'/settings': additional properties 'OPENFGA_API_TOKEN' not allowed",
    ],
    [
      'a secret beside the settings',
      changed(fewest, ['extraEnv', 'DATABASE_URL'], 'x'),
      '/extraEnv/DATABASE_URL',
    ],
    [
      'a named secret beside them',
      changed(fullest, ['extraEnv', 'SSO_SECRET'], 'x'),
      'extraEnv.SSO_SECRET is a secret',
    ],
    [
      'certificates that nobody looks at',
      changed(fewest, ['extraEnv', 'NODE_TLS_REJECT_UNAUTHORIZED'], '0'),
      '/extraEnv/NODE_TLS',
    ],
    [
      'the demo',
      changed(fewest, ['settings', 'REMIT_DEMO'], true),
      "'/settings': additional properties 'REMIT_DEMO'",
    ],
    [
      'a setting that is none',
      changed(fewest, ['settings', 'RATE_PER_MINUT'], 1),
      "'/settings': additional properties 'RATE_PER_MINUT'",
    ],
    [
      'tokens in the clear',
      changed(fewest, ['settings', 'PUBLIC_URL'], 'http://remit.corp.example'),
      'settings/PUBLIC_URL',
    ],
    ['no process', changed(fewest, ['roles', 'api', 'replicas'], 0), 'roles/api/replicas'],
    ['nobody who answers', changed(fewest, ['roles', 'api'], null), 'nobody would answer'],
    ['nobody who takes in', changed(fewest, ['roles', 'worker'], null), 'documents would wait for ever'],
    ['an unknown role', changed(fewest, ['roles', 'other'], { role: 'judge' }), 'roles/other/role'],
    [
      'a nominator that shows nobody what it is',
      changed(fewest, ['roles', 'other'], { role: 'nominator' }),
      'roles.other.nominatorTls is needed',
    ],
    [
      'who asks nominators and shows them nothing',
      changed(fewest, ['roles', 'api', 'settings'], { NOMINATOR_URLS: 'https://n:8787' }),
      'roles.api.nominatorTls is needed',
    ],
    [
      'a certificate for nobody',
      changed(fewest, ['roles', 'worker', 'nominatorTls'], 'tls'),
      'roles.worker.nominatorTls is read by nobody',
    ],
    [
      'who answers with the credentials of sources',
      changed(fewest, ['roles', 'api', 'readsSources'], true),
      'roles.api.readsSources is for a worker',
    ],
    [
      'two search engines',
      changed(fewest, ['roles', 'api', 'settings'], { SEARCH_ENGINE_URLS: 'https://a' }),
      'roles.api.settings.SEARCH_ENGINE_URLS would split the service',
    ],
    [
      'a volume in the place of the program',
      changed(fewest, ['volumeMounts'], [{ name: 'a', mountPath: '/app/src' }]),
      'volumeMounts/0/mountPath',
    ],
    ['a member that is none', changed(fewest, ['networks'], {}), 'networks'],
  ]
  test('refuses to render what is not safe, and says why', () => {
    const outcomes = rendered(refusals.map(([, values]) => values))
    expect(
      outcomes.map(({ refused, manifests }, index) => [refusals[index]?.[0], refused, manifests]),
    ).toEqual(refusals.map(([what, , why]) => [what, expect.stringContaining(why), []]))
    const [all] = rendered([{}])
    expect(all?.refused?.match(/is needed/g)?.length).toBe(11)
  })
})
