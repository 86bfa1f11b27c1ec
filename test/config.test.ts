import { describe, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../src/config/config.ts'
import { slips } from '../src/config/secret-files.ts'

const issuer = {
  issuer: 'https://login.example/realms/a',
  audiences: { api: 'https://remit.example', mcp: 'https://remit.example/mcp' },
  namespace: 'a',
  preset: 'generic',
}
const issuers = (...changes: readonly object[]): string =>
  JSON.stringify(changes.map((change) => ({ ...issuer, ...change })))

function problemsOf(env: Readonly<Record<string, string>>): readonly string[] {
  try {
    loadConfig(env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

const about = (problems: readonly string[]): string[] =>
  problems.map((problem) => problem.split(' ')[0] ?? '').sort()

describe('the configuration', () => {
  test('needs nothing: everything embedded, on loopback, with the demo', () => {
    const config = loadConfig({})
    expect(config).toMatchObject({
      host: '127.0.0.1',
      port: 8787,
      publicUrl: 'http://localhost:8787',
      ops: { host: '127.0.0.1', port: 8788 },
      databaseUrl: undefined,
      openfga: undefined,
      trustedIssuers: [],
      embeddings: { kind: 'local', modelPath: undefined },
      requestDeadlineMs: 5_000,
      demo: true,
    })
    expect(config.home).toMatch(/\/\.remit$/)
  })

  test('believes proxies only that are named, as addresses or as ranges that are not everybody', () => {
    expect(loadConfig({}).trustedProxies).toEqual([])
    expect(loadConfig({ TRUSTED_PROXIES: '10.0.0.0/8, ::1,192.0.2.7,2001:db8::/32' }).trustedProxies).toEqual(
      ['10.0.0.0/8', '::1', '192.0.2.7', '2001:db8::/32'],
    )
    for (const wrong of [
      '0.0.0.0/0',
      '::/0',
      '10.0.0.0/33',
      '10.0.0.0/',
      '10.0.0.1/8/8',
      'proxy',
      '10.0.0.1,',
      '*',
    ])
      expect(about(problemsOf({ TRUSTED_PROXIES: wrong })), wrong).toEqual(['TRUSTED_PROXIES'])
    expect(about(problemsOf({ TRUSTED_PROXIES: 'fe80::1%eth0' }))).toEqual(['TRUSTED_PROXIES'])
  })

  test('asks an inside address only where an exact origin is named', () => {
    expect(loadConfig({})).toMatchObject({ outboundAllowedOrigins: [], pushAllowedOrigins: [] })
    expect(
      loadConfig({ OUTBOUND_ALLOWED_ORIGINS: 'http://127.0.0.1:9000, https://git.corp.example' })
        .outboundAllowedOrigins,
    ).toEqual(['http://127.0.0.1:9000', 'https://git.corp.example'])
    for (const wrong of [
      '*',
      'https://*.corp.example',
      'git.corp.example',
      'https://git.corp.example/',
      'https://git.corp.example/api',
      'https://git.corp.example:443',
      'https://GIT.corp.example',
      'https://me@git.corp.example',
      'ftp://git.corp.example',
      'https://git.corp.example,',
    ])
      for (const name of ['OUTBOUND_ALLOWED_ORIGINS', 'PUSH_ALLOWED_ORIGINS'])
        expect(about(problemsOf({ [name]: wrong })), wrong).toEqual([name])
  })

  test('does one thing only where it is said, and not beside an embedded database', () => {
    const url = { DATABASE_URL: 'postgres://db/remit', REMIT_DEMO: 'false', TRUSTED_ISSUERS: '[]' }
    expect(loadConfig({}).roles).toEqual({ api: true, worker: true, nominator: false })
    expect(loadConfig({ ...url, REMIT_ROLE: 'worker' }).roles).toEqual({
      api: false,
      worker: true,
      nominator: false,
    })
    expect(loadConfig({ ...url, REMIT_ROLE: 'api' }).roles).toEqual({
      api: true,
      worker: false,
      nominator: false,
    })
    expect(loadConfig({ REMIT_ROLE: 'worker, api' }).roles).toEqual({
      api: true,
      worker: true,
      nominator: false,
    })
    for (const wrong of ['workers', 'api,', 'API', 'api;worker'])
      expect(about(problemsOf({ ...url, REMIT_ROLE: wrong })), wrong).toEqual(['REMIT_ROLE'])
    expect(about(problemsOf({ REMIT_ROLE: 'worker' }))).toEqual(['REMIT_ROLE'])
  })

  test('lets nominators hold the tuples, of the share that each is given', () => {
    const apart = {
      DATABASE_URL: 'postgres://db/remit',
      OPENFGA_API_URL: 'http://127.0.0.1:8080',
      REMIT_DEMO: 'false',
      TRUSTED_ISSUERS: '[]',
    }
    const tls = { NOMINATOR_TLS_CERT: 'c.pem', NOMINATOR_TLS_KEY: 'k.pem', NOMINATOR_TLS_CA: 'ca.pem' }
    const nominator = { ...apart, ...tls, REMIT_ROLE: 'nominator' }
    expect(loadConfig({ ...apart })).toMatchObject({
      nominatorShares: undefined,
      nominatorShare: { number: 1, of: 1 },
    })
    expect(loadConfig({ ...nominator, NOMINATOR_SHARE: '2/3' })).toMatchObject({
      roles: { api: false, worker: false, nominator: true },
      nominatorShare: { number: 2, of: 3 },
    })
    const urls = 'https://n1:8787, https://n2:8787/;https://n3:8787'
    expect(loadConfig({ ...apart, ...tls, NOMINATOR_URLS: urls })).toMatchObject({
      nominatorShares: [['https://n1:8787', 'https://n2:8787'], ['https://n3:8787']],
      nominatorTls: { cert: 'c.pem', key: 'k.pem', ca: 'ca.pem' },
    })
    for (const wrong of ['0/3', '4/3', '1', '1/0', '1/2/3', 'a/b'])
      expect(about(problemsOf({ ...nominator, NOMINATOR_SHARE: wrong })), wrong).toEqual(['NOMINATOR_SHARE'])
    for (const wrong of ['http://n1:8787', 'https://n1/path', 'https://a:b@n1', 'n1', 'https://n1;'])
      expect(problemsOf({ ...apart, ...tls, NOMINATOR_URLS: wrong }).join(), wrong).toContain(
        'NOMINATOR_URLS.',
      )
    const problems = (env: Record<string, string>) => problemsOf(env).join()
    expect(problems({ ...nominator, REMIT_ROLE: 'api,nominator' })).toContain('REMIT_ROLE')
    expect(problems({ ...nominator, NOMINATOR_URLS: urls })).toContain('a nominator holds the tuples itself')
    expect(problems({ ...apart, NOMINATOR_SHARE: '1/2' })).toContain('NOMINATOR_SHARE is for')
    for (const name of Object.keys(tls)) {
      const { [name]: _, ...rest } = { ...nominator } as Record<string, string>
      expect(problems(rest), name).toContain('are required')
      const { [name]: __, ...others } = { ...apart, ...tls, NOMINATOR_URLS: urls } as Record<string, string>
      expect(problems(others), name).toContain('are required')
    }
    for (const name of ['DATABASE_URL', 'OPENFGA_API_URL']) {
      const { [name]: _, ...rest } = { ...nominator } as Record<string, string>
      expect(problems(rest), name).toContain('belongs to one process')
    }
  })

  test('tells push services whom to write to: the operator’s address, else our own', () => {
    const https = { HOST: '127.0.0.1', PUBLIC_URL: 'https://localhost:8443' }
    expect(loadConfig({}).pushContact).toBe('mailto:remit@localhost')
    expect(loadConfig(https).pushContact).toBe('https://localhost:8443')
    expect(loadConfig({ ...https, PUSH_CONTACT: 'mailto:ops@corp.example' }).pushContact).toBe(
      'mailto:ops@corp.example',
    )
    for (const wrong of ['ops@corp.example', 'http://corp.example', 'mailto:ops', 'https:// x'])
      expect(about(problemsOf({ PUSH_CONTACT: wrong })), wrong).toEqual(['PUSH_CONTACT'])
  })

  test('takes an empty setting for one that was left out, and looks at no others', () => {
    expect(loadConfig({ PORT: '', DATABASE_URL: '', PATH: '/bin', toString: 'x' })).toEqual(loadConfig({}))
  })

  test('gives an issuer only the read scopes and the strong algorithms unless told otherwise', () => {
    expect(loadConfig({ TRUSTED_ISSUERS: issuers({}) }).trustedIssuers).toEqual([
      {
        ...issuer,
        person_clients: [],
        service_clients: {},
        exchange_clients: {},
        standing: false,
        scopes_allowed: ['docs.search', 'docs.read'],
        algorithms: ['ES256', 'RS256', 'PS256', 'EdDSA'],
      },
    ])
  })

  test('derives PUBLIC_URL from the port', () => {
    expect(loadConfig({ PORT: '9000' }).publicUrl).toBe('http://localhost:9000')
  })
})

describe('a configuration that cannot be used', () => {
  test('is refused with every problem at once: unreadable settings and contradictions between the others', () => {
    const problems = problemsOf({
      PORT: 'many',
      REQUEST_DEADLINE_MS: '1',
      RATE_PER_MINUTE: '0',
      DATABASE_URL: 'mysql://db',
      REMIT_DEMO: 'true',
      HOST: '0.0.0.0',
      PUBLIC_URL: 'http://remit.example/',
      OPENFGA_API_URL: 'https://openfga.example',
      EMBEDDINGS_BASE_URL: 'https://models.example/v1',
    })
    expect(about(problems)).toEqual([
      'DATABASE_URL',
      'EMBEDDINGS_DIMENSIONS',
      'EMBEDDINGS_MODEL',
      'OPENFGA_API_TOKEN',
      'PORT',
      'PUBLIC_URL',
      'PUBLIC_URL',
      'RATE_PER_MINUTE',
      'REMIT_DEMO',
      'REMIT_DEMO',
      'REQUEST_DEADLINE_MS',
    ])
  })

  test('says each problem in the message as well, one a line', () => {
    const message = () => loadConfig({ PORT: 'many', SEARCH_THREADS: 'two', RATE_PER_MINUTE: '0' })
    expect(message).toThrow(
      /\n {2}PORT must be a port.*\n {2}SEARCH_THREADS must be a number\n {2}RATE_PER_MINUTE must be at least 1/,
    )
  })

  test('says once what is wrong with a setting, not also what would follow from its absence', () => {
    expect(about(problemsOf({ TRUSTED_ISSUERS: 'not json' }))).toEqual(['TRUSTED_ISSUERS'])
    expect(about(problemsOf({ PUBLIC_URL: 'nonsense', TRUSTED_ISSUERS: issuers({}) }))).toEqual([
      'PUBLIC_URL',
    ])
  })

  test.each([
    ['PORT', '65536'],
    ['PORT', '-1'],
    ['PORT', '0'],
    ['PORT', '80.5'],
    ['OPS_PORT', 'x'],
    ['REMIT_DEMO', 'yes'],
    ['DATABASE_URL', 'file:///tmp/db'],
    ['OPENFGA_API_URL', 'openfga'],
    ['OPENFGA_API_URL', 'ftp://127.0.0.1'],
    ['PUBLIC_URL', 'javascript:0'],
    ['EMBEDDINGS_DIMENSIONS', '2001'],
    ['REQUEST_DEADLINE_MS', '60001'],
    ['BODY_BYTES_MAX', '0'],
    ['AUDIT_RETENTION_DAYS', '29'],
    ['TRUSTED_ISSUERS', '{}'],
  ])('is refused for %s=%s, by name', (name, value) => {
    expect(problemsOf({ [name]: value })[0]).toContain(name)
  })
})

test('records are kept for a hundred years at most', () => {
  expect(loadConfig({ AUDIT_RETENTION_DAYS: '3000000' }).auditRetentionDays).toBe(36_500)
})

describe('a variable that is no setting', () => {
  test.each([
    ['DATABSE_URL', 'DATABASE_URL'],
    ['RATE_PER_MINUT', 'RATE_PER_MINUTE'],
    ['RATE_PER_MINUTES', 'RATE_PER_MINUTE'],
    ['REMIT_DEM0', 'REMIT_DEMO'],
    ['REMIT_HMOE', 'REMIT_HOME'],
    ['database_url', 'DATABASE_URL'],
    ['DATABASE_URL_FIL', 'DATABASE_URL_FILE'],
  ])('but %s, one slip away from %s, is refused with that name', (given, meant) => {
    expect(problemsOf({ [given]: 'x' })).toEqual([`${given} is no setting. Did you mean ${meant}?`])
  })

  test('is another program’s where the setting is short, where it is empty, and where a setting names it as a secret', () => {
    const others = { HOSTS: 'x', OPS_POST: 'x', REMIT_PORT: '8787', REMIT_OPS_PORT: '8788', REMIT_TOKEN: 'x' }
    expect(problemsOf({ ...others, DATABSE_URL: '', VAULT_KEY: '' })).toEqual([])
    const named = '[{"client_secret_env":"REMIT_DEMOS"}]'
    for (const name of ['REMIT_DEMOS', 'REMIT_DEMOS_FILE'])
      expect(slips({ TRUSTED_ISSUERS: named, [name]: 'x' }, ['REMIT_DEMO', 'REMIT_DEMO_FILE'])).toEqual([])
    expect(slips({ REMIT_DEMOS: 'x' }, ['REMIT_DEMO'])).toHaveLength(1)
  })
})

describe('REMIT_DEMO', () => {
  test.each([
    ['DATABASE_URL', 'postgres://db/remit'],
    ['OPENFGA_API_URL', 'http://127.0.0.1:8080'],
    ['TRUSTED_ISSUERS', issuers({})],
  ])('never goes with %s', (name, value) => {
    expect(problemsOf({ REMIT_DEMO: 'true', [name]: value })).toEqual([
      expect.stringContaining('REMIT_DEMO needs everything embedded'),
    ])
  })

  test.each([
    ['HOST', { HOST: '0.0.0.0' }],
    ['PUBLIC_URL', { PUBLIC_URL: 'https://remit.example' }],
    ['HOST', { HOST: '192.168.1.4' }],
    ['OPS_HOST', { OPS_HOST: '0.0.0.0' }],
  ])('never goes with a %s that is not loopback', (_, env) => {
    expect(problemsOf({ REMIT_DEMO: '1', ...env })).toContainEqual(
      expect.stringContaining('REMIT_DEMO needs HOST, OPS_HOST and PUBLIC_URL on loopback'),
    )
  })

  test('brings its company unless DEMO_SAMPLE=false, which makes no demo of what is none', () => {
    expect(loadConfig({ REMIT_DEMO: 'true' })).toMatchObject({ demo: true, demoSample: true })
    const empty = { DEMO_SAMPLE: 'false' }
    expect(loadConfig({ REMIT_DEMO: 'true', ...empty })).toMatchObject({ demo: true, demoSample: false })
    expect(loadConfig({ TRUSTED_ISSUERS: issuers({}) })).toMatchObject({ demo: false, demoSample: false })
  })

  test('is not taken in silence for a listener of operators that everybody reaches: such a start is refused, and in words', () => {
    expect(problemsOf({ OPS_HOST: '0.0.0.0', OPS_BEARER_FILE: '/bearer' })).toEqual([
      expect.stringContaining('HOST, OPS_HOST and PUBLIC_URL are on loopback'),
    ])
    // No token travels there: PUBLIC_URL may be what it was.
    expect(
      loadConfig({ OPS_HOST: '0.0.0.0', OPS_BEARER_FILE: '/bearer', TRUSTED_ISSUERS: issuers({}) }),
    ).toMatchObject({
      publicUrl: 'http://localhost:8787',
      demo: false,
      ops: { host: '0.0.0.0', loopback: false, bearerFile: '/bearer' },
    })
  })

  test.each(['0.0.0.0', '::', '10.0.0.5'])(
    'is not needed for a listener of operators at %s to be refused that demands no token',
    (OPS_HOST) => {
      const said = expect.stringContaining(
        'OPS_BEARER_FILE is required with an OPS_HOST that is not loopback',
      )
      expect(problemsOf({ OPS_HOST, TRUSTED_ISSUERS: issuers({}) })).toEqual([said])
      expect(problemsOf({ OPS_HOST, TRUSTED_ISSUERS: issuers({}), OPS_BEARER_FILE: '/bearer' })).toEqual([])
    },
  )

  test('is where one person may go over failed tests of a model, and nowhere else', () => {
    const one = { MODEL_APPLY_APPROVERS: '1' }
    const demo = { modelApplyApprovers: 1, modelApplyApproversDespiteTests: 1 }
    expect(loadConfig({ REMIT_DEMO: 'true' })).toMatchObject(demo)
    expect(loadConfig({ TRUSTED_ISSUERS: issuers({}), ...one })).toMatchObject({
      modelApplyApprovers: 1,
      modelApplyApproversDespiteTests: 2,
    })
  })

  test.each(['127.0.0.1', '::1', 'localhost', 'LOCALHOST'])('may go with HOST=%s', (host) => {
    expect(loadConfig({ REMIT_DEMO: 'true', HOST: host }).demo).toBe(true)
  })

  test.each([
    ['an outer database', { DATABASE_URL: 'postgres://db/remit' }],
    ['a HOST for everybody', { HOST: '0.0.0.0', PUBLIC_URL: 'https://remit.example' }],
    ['an OPS_HOST for everybody', { OPS_HOST: '::', OPS_BEARER_FILE: '/bearer' }],
    ['trusted issuers', {}],
  ])('is off by itself with %s', (_, env) => {
    expect(loadConfig({ TRUSTED_ISSUERS: issuers({}), ...env }).demo).toBe(false)
  })

  test.each([{ REMIT_DEMO: 'false' }, { DATABASE_URL: 'postgres://db/remit' }])(
    'off without TRUSTED_ISSUERS does not start: nobody could get a token (%o)',
    (env) => {
      expect(problemsOf(env)).toEqual([expect.stringContaining('TRUSTED_ISSUERS is required')])
    },
  )

  test.each([{ REMIT_DEMO: 'false' }, { DATABASE_URL: 'postgres://db/remit' }, {}])(
    'off without an identity provider starts as the refusal says: TRUSTED_ISSUERS=[] is our own accounts alone (%o)',
    (env) => {
      const ways = problemsOf({ DATABASE_URL: 'postgres://db/remit' }).map((said) =>
        /TRUSTED_ISSUERS=\S+/.exec(said),
      )
      const named = ways.map((way) => way?.[0].split('=')[1] ?? '')
      expect(named).toEqual(['[]'])
      const config = loadConfig({ ...env, TRUSTED_ISSUERS: named.join('') })
      expect(config).toMatchObject({ demo: false, trustedIssuers: [] })
    },
  )
})

describe('a secret in a file', () => {
  const read = (path: string): string => {
    if (path === '/none') throw new Error('ENOENT')
    return path === '/empty' ? '\n' : `in ${path}\n`
  }
  const sign_in = { client_id: 'c', client_secret_env: 'IDP_SECRET' }

  test('is read from where NAME_FILE says, for every setting that is one and every variable that one names', () => {
    const config = loadConfig(
      {
        TRUSTED_ISSUERS: issuers({ sign_in }),
        IDP_SECRET_FILE: '/idp',
        OPENFGA_API_URL: 'http://openfga:8080',
        OPENFGA_API_TOKEN_FILE: '/token',
        EMBEDDINGS_BASE_URL: 'https://e.example',
        EMBEDDINGS_MODEL: 'm',
        EMBEDDINGS_DIMENSIONS: '3',
        EMBEDDINGS_API_KEY_FILE: '/key',
      },
      read,
    )
    expect(config.openfga?.apiToken).toBe('in /token')
    expect(config.embeddings).toMatchObject({ apiKey: 'in /key' })
    expect([...config.signInSecrets.values()]).toEqual(['in /idp'])
  })

  test.each([
    [{ OPENFGA_API_TOKEN_FILE: '/none' }, 'OPENFGA_API_TOKEN_FILE names /none, which cannot be read'],
    [{ VAULT_KEYS_FILE: '/empty' }, 'VAULT_KEYS_FILE names /empty, which is empty'],
    [
      { EMBEDDINGS_API_KEY: 'k', EMBEDDINGS_API_KEY_FILE: '/key' },
      'EMBEDDINGS_API_KEY and EMBEDDINGS_API_KEY_FILE are both set',
    ],
  ])('that cannot be taken refuses the start, by name (%o)', (env, says) => {
    expect(() => loadConfig(env, read)).toThrow(says)
  })
})

describe('PUBLIC_URL', () => {
  const outer = { HOST: '0.0.0.0', TRUSTED_ISSUERS: issuers({}) }

  test('without https is refused where others can reach the service, however it is spelled', () => {
    for (const url of ['http://remit.example', 'HTTP://remit.example', 'http://localhost:8787']) {
      expect(problemsOf({ ...outer, PUBLIC_URL: url })).toEqual([
        expect.stringContaining('PUBLIC_URL must be https'),
      ])
    }
    expect(problemsOf({ ...outer, PUBLIC_URL: 'https://remit.example' })).toEqual([])
  })

  test('with a trailing slash is refused, since audiences are compared as exact strings', () => {
    expect(problemsOf({ PUBLIC_URL: 'http://localhost:8787/' })).toEqual([expect.stringContaining('slash')])
  })
})

describe('OPENFGA_API_URL', () => {
  const trusted = { TRUSTED_ISSUERS: issuers({}) }

  test('needs a key unless it is loopback', () => {
    expect(problemsOf({ ...trusted, OPENFGA_API_URL: 'http://openfga:8080' })).toEqual([
      expect.stringContaining('OPENFGA_API_TOKEN'),
    ])
    expect(problemsOf({ ...trusted, OPENFGA_API_URL: 'http://127.0.0.1:8080' })).toEqual([])
    expect(
      loadConfig({ ...trusted, OPENFGA_API_URL: 'http://openfga:8080', OPENFGA_API_TOKEN: 'k' }).openfga,
    ).toEqual({
      apiUrl: 'http://openfga:8080',
      storeId: undefined,
      apiToken: 'k',
      maybeSecondary: true,
    })
  })

  test('may have a secondary of its database behind it unless it is said that it has none', () => {
    const maybe = (value?: string) =>
      loadConfig({
        ...trusted,
        OPENFGA_API_URL: 'http://127.0.0.1:8080',
        ...(value !== undefined && { OPENFGA_SECONDARY: value }),
      }).openfga?.maybeSecondary
    expect([maybe(), maybe('unknown'), maybe('present'), maybe('none')]).toEqual([true, true, true, false])
    expect(loadConfig({}).openfga).toBeUndefined()
  })
})

describe('SEARCH_ENGINE_URLS', () => {
  const user = { SEARCH_ENGINE_USER: 'remit', SEARCH_ENGINE_PASSWORD: 'p:w' }
  const nodes = 'https://search-1:9200,https://search-2:9200/'

  test('left out or empty leaves passages to Postgres', () => {
    expect(loadConfig({}).searchEngine).toBeUndefined()
    expect(loadConfig({ SEARCH_ENGINE_URLS: '' }).searchEngine).toBeUndefined()
  })

  test('names every node, and goes with who Remit is there', () => {
    expect(
      loadConfig({ ...user, SEARCH_ENGINE_URLS: nodes, SEARCH_ENGINE_SHARDS: '6' }).searchEngine,
    ).toEqual({
      urls: ['https://search-1:9200', 'https://search-2:9200'],
      // RFC 7617: what stands after the first colon is the password.
      authorization: `Basic ${Buffer.from('remit:p:w').toString('base64')}`,
      shards: 6,
      refreshMs: 1_000,
      width: 1_000_000,
    })
    expect(
      loadConfig({ SEARCH_ENGINE_URLS: 'http://127.0.0.1:9200' }).searchEngine?.authorization,
    ).toBeUndefined()
  })

  test('takes the password from a file', () => {
    const env = { SEARCH_ENGINE_URLS: nodes, SEARCH_ENGINE_USER: 'remit', SEARCH_ENGINE_PASSWORD_FILE: '/p' }
    const { searchEngine } = loadConfig(env, () => 'secret\n')
    expect(searchEngine?.authorization).toBe(`Basic ${Buffer.from('remit:secret').toString('base64')}`)
  })

  test.each([
    [
      'http where others hear it',
      { ...user, SEARCH_ENGINE_URLS: 'http://search:9200' },
      'SEARCH_ENGINE_URLS',
    ],
    ['one such node', { ...user, SEARCH_ENGINE_URLS: `${nodes},http://search:9200` }, 'SEARCH_ENGINE_URLS'],
    ['a path', { ...user, SEARCH_ENGINE_URLS: 'https://search:9200/engine' }, 'SEARCH_ENGINE_URLS'],
    ['a password in an address', { ...user, SEARCH_ENGINE_URLS: 'https://a:b@search' }, 'SEARCH_ENGINE_URLS'],
    ['an empty node', { ...user, SEARCH_ENGINE_URLS: 'https://search,' }, 'SEARCH_ENGINE_URLS'],
    ['something else', { ...user, SEARCH_ENGINE_URLS: 'search' }, 'SEARCH_ENGINE_URLS'],
    ['nobody, off loopback', { SEARCH_ENGINE_URLS: nodes }, 'SEARCH_ENGINE_PASSWORD'],
    ['a user alone', { SEARCH_ENGINE_URLS: nodes, SEARCH_ENGINE_USER: 'remit' }, 'SEARCH_ENGINE_USER'],
    ['a password alone', { SEARCH_ENGINE_URLS: nodes, SEARCH_ENGINE_PASSWORD: 'p' }, 'SEARCH_ENGINE_USER'],
    ['a colon in the user', { ...user, SEARCH_ENGINE_USER: 'a:b' }, 'SEARCH_ENGINE_USER'],
    ['no parts', { SEARCH_ENGINE_SHARDS: '0' }, 'SEARCH_ENGINE_SHARDS'],
    ['more parts than are of use', { SEARCH_ENGINE_SHARDS: '65' }, 'SEARCH_ENGINE_SHARDS'],
    [
      'a publication that waits for minutes',
      { SEARCH_ENGINE_REFRESH_MS: '10001' },
      'SEARCH_ENGINE_REFRESH_MS',
    ],
    [
      'words that are weighed by collection',
      { ...user, SEARCH_ENGINE_URLS: nodes, RANKING_STATISTICS: 'collection' },
      'RANKING_STATISTICS=collection',
    ],
  ])('with %s is refused by name', (_, env, name) => {
    // Of a list, with its place there: `SEARCH_ENGINE_URLS.0`.
    expect(about(problemsOf({ ...env })).join(' ')).toContain(name)
  })
})

describe('TRUSTED_ISSUERS', () => {
  test.each([
    ['an unknown preset', { preset: 'homegrown' }, 'TRUSTED_ISSUERS.0.preset is not a known preset'],
    ['no preset', { preset: undefined }, 'TRUSTED_ISSUERS.0.preset'],
    ['the empty namespace, which is the built-in issuer', { namespace: '' }, 'TRUSTED_ISSUERS.0.namespace'],
    ['a namespace with a slash', { namespace: 'a/b' }, 'TRUSTED_ISSUERS.0.namespace'],
    ['plain http', { issuer: 'http://login.example' }, 'TRUSTED_ISSUERS.0.issuer must be https'],
    ['ftp, even on loopback', { issuer: 'ftp://127.0.0.1' }, 'TRUSTED_ISSUERS.0.issuer must be https'],
    ['no URL', { issuer: 'login' }, 'TRUSTED_ISSUERS.0.issuer must be https'],
    [
      'keys over plain http',
      { jwks_uri: 'http://login.example/jwks' },
      'TRUSTED_ISSUERS.0.jwks_uri must be https',
    ],
    ['a symmetric algorithm', { algorithms: ['HS256'] }, 'TRUSTED_ISSUERS.0.algorithms.0'],
    ['the algorithm none', { algorithms: ['none'] }, 'TRUSTED_ISSUERS.0.algorithms.0'],
    [
      'scopes of administrators',
      { scopes_allowed: ['security.write'] },
      'TRUSTED_ISSUERS.0.scopes_allowed.0',
    ],
    ['no audience', { audiences: { api: '', mcp: 'm' } }, 'TRUSTED_ISSUERS.0.audiences.api'],
    [
      'a client secret itself instead of its variable',
      { sign_in: { client_id: 'remit', client_secret_env: 'p4ssw0rd' } },
      'TRUSTED_ISSUERS.0.sign_in.client_secret_env must be the name',
    ],
    [
      'a client secret that is not there',
      { sign_in: { client_id: 'remit', client_secret_env: 'LOGIN_SECRET' } },
      'TRUSTED_ISSUERS.0.sign_in.client_secret_env names LOGIN_SECRET, which is not set',
    ],
    ['an unknown member', { trust_everybody: true }, 'TRUSTED_ISSUERS.0 Unrecognized key'],
  ])('with %s refuses to start', (_, change, problem) => {
    expect(problemsOf({ TRUSTED_ISSUERS: issuers(change) })).toEqual([expect.stringContaining(problem)])
  })

  test('may use plain http on loopback', () => {
    expect(problemsOf({ TRUSTED_ISSUERS: issuers({ issuer: 'http://127.0.0.1:9/realm' }) })).toEqual([])
  })

  test('refuses a namespace that two share: they would share people', () => {
    expect(problemsOf({ TRUSTED_ISSUERS: issuers({}, { issuer: 'https://b.example' }) })).toEqual([
      expect.stringContaining('namespaces must be unique'),
    ])
  })

  test('refuses an issuer that is named twice', () => {
    expect(problemsOf({ TRUSTED_ISSUERS: issuers({}, { namespace: 'b' }) })).toEqual([
      expect.stringContaining('names an issuer twice'),
    ])
  })
})

describe('EMBEDDINGS_BASE_URL', () => {
  test('needs the model and its dimensions', () => {
    expect(about(problemsOf({ EMBEDDINGS_BASE_URL: 'https://models.example' }))).toEqual([
      'EMBEDDINGS_DIMENSIONS',
      'EMBEDDINGS_MODEL',
    ])
    const env = {
      EMBEDDINGS_BASE_URL: 'https://models.example',
      EMBEDDINGS_MODEL: 'm',
      EMBEDDINGS_DIMENSIONS: '768',
    }
    expect(loadConfig(env).embeddings).toEqual({
      kind: 'remote',
      baseUrl: 'https://models.example',
      model: 'm',
      apiKey: undefined,
      dimensions: 768,
      limits: {},
    })
  })

  test('goes with the limits of a call', () => {
    const env = {
      EMBEDDINGS_BASE_URL: 'https://models.example',
      EMBEDDINGS_MODEL: 'm',
      EMBEDDINGS_DIMENSIONS: '768',
    }
    const limits = {
      EMBEDDINGS_CALL_INPUTS: '2048',
      EMBEDDINGS_CALL_TOKENS: '300000',
      EMBEDDINGS_CALL_BYTES: '5000000',
    }
    expect(loadConfig({ ...env, ...limits }).embeddings).toMatchObject({
      limits: { inputs: 2_048, tokens: 300_000, bytes: 5_000_000 },
    })
    for (const name of Object.keys(limits)) expect(about(problemsOf({ ...env, [name]: '0' }))).toEqual([name])
  })

  test('reads the secret of a client of ours from the variable that it names', () => {
    const sign_in = { client_id: 'remit', client_secret_env: 'LOGIN_SECRET' }
    const config = loadConfig({ TRUSTED_ISSUERS: issuers({ sign_in }), LOGIN_SECRET: 'told to nobody' })
    expect(config.signInSecrets.get(issuer.issuer)).toBe('told to nobody')
    expect(JSON.stringify(config.trustedIssuers)).not.toContain('told to nobody')
  })
})

describe('the vault’s settings', () => {
  const entry = {
    provider: 'openid',
    issuer: 'https://id.example',
    api_origins: ['https://api.example'],
    client_id: 'remit',
    client_secret_env: 'API_SECRET',
  }
  const vault = (...changes: readonly object[]) => ({
    VAULT_PROVIDERS: JSON.stringify(changes.map((change) => ({ ...entry, ...change }))),
    API_SECRET: 'told to nobody',
  })
  const key = (version: string, byte: number) => `${version}:${Buffer.alloc(32, byte).toString('base64')}`

  test('are providers by name, whose secrets stand elsewhere, and keys, the current one first', () => {
    const config = loadConfig({
      ...vault({}, { name: 'narrow', token_exchange: { audience: 'reports' } }),
      VAULT_KEYS: `${key('two', 2)}, ${key('one', 1)}`,
      VAULT_LOST_KEYS: 'zero',
    })
    expect(config.vaultKeys.map(({ version }) => version)).toEqual(['two', 'one'])
    expect(config.vaultLostKeys).toEqual(['zero'])
    expect(JSON.stringify(config.vaultProviders)).not.toContain('told to nobody')
  })

  test.each<[string, Record<string, string>, string]>([
    [
      'a provider whose secret is not there',
      { ...vault({}), API_SECRET: '' },
      'VAULT_PROVIDERS.0.client_secret_env',
    ],
    ['two providers of one name', vault({}, {}), 'VAULT_PROVIDERS'],
    [
      'an API in the clear',
      vault({ api_origins: ['http://api.example'] }),
      'VAULT_PROVIDERS.0.api_origins.0',
    ],
    [
      'an API that is more than an origin',
      vault({ api_origins: ['https://api.example/v1'] }),
      'VAULT_PROVIDERS.0.api_origins.0',
    ],
    [
      'an exchange that makes nothing narrower',
      vault({ token_exchange: {} }),
      'VAULT_PROVIDERS.0.token_exchange',
    ],
    ['a member that nobody knows', vault({ scope: 'x' }), 'VAULT_PROVIDERS.0'],
    [
      'a rule for every method',
      vault({ rules: [{ title: 'All', methods: ['*'], paths: ['/**'] }] }),
      'VAULT_PROVIDERS.0.rules.0.methods.0',
    ],
    ['a key of 16 bytes', { VAULT_KEYS: `one:${Buffer.alloc(16).toString('base64')}` }, 'VAULT_KEYS'],
    ['two keys of one version', { VAULT_KEYS: `${key('one', 1)},${key('one', 2)}` }, 'VAULT_KEYS'],
    ['a key by the name of the file’s', { VAULT_KEYS: key('home', 1) }, 'VAULT_KEYS'],
    ['a lost key that is no version', { VAULT_LOST_KEYS: 'a b' }, 'VAULT_LOST_KEYS'],
  ])('refuse %s', (_, env, named) => {
    expect(problemsOf(env).join('\n')).toContain(named)
    expect(problemsOf(env).join('\n')).not.toContain('told to nobody')
  })
})
