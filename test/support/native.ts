import type { TestOptions } from 'vitest'

/**
 * What a bare machine lacks and `.ci/services` starts. Without them the tests that need them are skipped by
 * name.
 */
export interface NativeServices {
  /** A superuser's URL of a Postgres with pgvector in which tests may create databases. */
  readonly databaseUrl: string | undefined
  /** A real OpenFGA server in which tests may create stores. */
  readonly openfga: { readonly url: string; readonly token: string } | undefined
  /** The program of the OpenFGA server. */
  readonly openfgaProgram: string | undefined
  /** A Keycloak server in which tests may make realms, by its administrator. */
  readonly keycloak: { readonly url: string; readonly user: string; readonly password: string } | undefined
  /** Origin of an OpenSearch with k-NN in which tests may make indices. */
  readonly opensearch: string | undefined
  /** The folder of OpenSearch's program, for nodes of one's own, and a Java of 21 or newer. */
  readonly opensearchProgram: { readonly folder: string; readonly java: string } | undefined
  /** Whether whole services find passages there, in place of Postgres: for runs by hand. */
  readonly isOnOpensearch: boolean
  /** An empty database of Redmine, in SQLite, for Debian's package of it. */
  readonly redmineDatabase: string | undefined
  /** A Chromium's program. */
  readonly chromium: string | undefined
  /** A folder with the Python SDK of MCP and what it needs. */
  readonly mcpPython: string | undefined
  /** A folder with Authlib, FastMCP and scim2-client and what they need. */
  readonly interopPython: string | undefined
  /** A folder with Nimbus' SDK of OAuth and what it needs. */
  readonly interopJava: string | undefined
  /** A folder with the program that go-oidc, x/oauth2 and MCP's SDK for Go are built into. */
  readonly interopGo: string | undefined
  /** A folder with the renderer of Helm and the schemas of Kubernetes. */
  readonly helm: string | undefined
  /** Prometheus' program that checks its rules. */
  readonly promtool: string | undefined
  /** The server of Toxiproxy, which does to connections what networks do. */
  readonly toxiproxy: string | undefined
  /** A folder with LangChain's adapters for MCP and what they need. */
  readonly interopLangchain: string | undefined
  /** A folder with wheels of what the Python client needs, and a folder with what its tests need. */
  readonly pythonClient: string | undefined
  readonly schemathesis: string | undefined
  /** A folder with wardowl's server and what it needs. */
  readonly wardowl: string | undefined
  /** A folder with a package that depends on `@auth0/ai`, installed. */
  readonly auth0: string | undefined
  /** Node's older releases that the packages run on, each its program. */
  readonly olderNodes: Readonly<Record<'20' | '22', string | undefined>>
  /** A folder with the local embedding model. */
  readonly modelFolder: string | undefined
  /** A folder with the programs of Postgres, and who runs them: root may not. */
  readonly postgres:
    | { readonly programs: string; readonly user?: { readonly uid: number; readonly gid: number } }
    | undefined
  /** A folder with Patroni and what it needs. */
  readonly patroni: string | undefined
  /** The folder of the shared data sets (`data/kubernetes`, `data/cranfield`), read only. */
  readonly shared: string | undefined
}

export const native = readServices(process.env)

/** Options of a test or suite that needs native Postgres: `describe('…', needsPostgres, () => …)`. */
export const needsPostgres = needs(native.databaseUrl !== undefined, 'native Postgres (TEST_DATABASE_URL)')

/** Options of a test or suite that needs a real OpenFGA server. */
export const needsOpenfga = needs(native.openfga !== undefined, 'a real OpenFGA server (OPENFGA_TEST_URL)')

/** Options of a test or suite that runs servers of OpenFGA of its own. */
export const needsOpenfgaProgram = needs(
  native.openfgaProgram !== undefined,
  'the program of OpenFGA (OPENFGA_PATH)',
)

/** Options of a test or suite that needs a live Keycloak. */
export const needsKeycloak = needs(native.keycloak !== undefined, 'a live Keycloak (KEYCLOAK_TEST_URL)')

/** Options of a test or suite that searches in OpenSearch. */
export const needsOpensearch = needs(
  native.opensearch !== undefined,
  'an OpenSearch with k-NN (OPENSEARCH_TEST_URL)',
)

/** Options of a test of what only the index in Postgres promises: skipped in runs on OpenSearch alone. */
export const needsEmbeddedIndex = needs(!native.isOnOpensearch, 'the index in Postgres')

/** Options of a test or suite that runs servers of Redmine of its own. */
export const needsRedmine = needs(
  native.redmineDatabase !== undefined,
  'Debian’s Redmine and an empty database of it (REDMINE_TEST_DATABASE)',
)

/** Options of a test or suite that looks at pages in a real browser. */
export const needsChromium = needs(native.chromium !== undefined, 'Chromium (CHROMIUM_PATH)')

/** Options of a test or suite that runs MCP's Python SDK. */
export const needsMcpPython = needs(native.mcpPython !== undefined, 'the Python SDK of MCP (MCP_PYTHON_PATH)')

/** Options of a test or suite that runs libraries of others for Python. */
export const needsInteropPython = needs(
  native.interopPython !== undefined,
  'Authlib, FastMCP and scim2-client (INTEROP_PYTHON_PATH)',
)

/** Options of a test or suite that runs a library of others for Java. */
export const needsInteropJava = needs(native.interopJava !== undefined, 'Nimbus (INTEROP_JAVA_PATH)')

/** Options of a test or suite that runs libraries of others for Go. */
export const needsInteropGo = needs(
  native.interopGo !== undefined,
  'go-oidc and the Go MCP SDK (INTEROP_GO_PATH)',
)

/** Options of a test or suite that renders a chart. */
export const needsHelm = needs(native.helm !== undefined, 'the renderer of Helm (HELM_PATH)')

/** Options of a test or suite that checks rules for Prometheus. */
export const needsPromtool = needs(native.promtool !== undefined, 'promtool (PROMTOOL_PATH)')

/** Options of a test or suite that disturbs connections. */
export const needsToxiproxy = needs(native.toxiproxy !== undefined, 'Toxiproxy (TOXIPROXY_PATH)')

/** Options of a test or suite that runs LangChain's adapters for MCP. */
export const needsInteropLangchain = needs(
  native.interopLangchain !== undefined,
  'langchain-mcp-adapters (INTEROP_LANGCHAIN_PATH)',
)

/** Options of a test or suite that installs the Python client. */
export const needsPythonClient = needs(
  native.pythonClient !== undefined,
  'the libraries of the Python client and of its tests (PYTHON_CLIENT_PATH)',
)

/** Options of a test or suite that lets Schemathesis read the contract. */
export const needsSchemathesis = needs(native.schemathesis !== undefined, 'Schemathesis (SCHEMATHESIS_PATH)')

/** Options of a test or suite that runs wardowl's server. */
export const needsWardowl = needs(native.wardowl !== undefined, 'wardowl (WARDOWL_PATH)')

/** Options of a test or suite that asks Auth0's filter. */
export const needsAuth0 = needs(native.auth0 !== undefined, '@auth0/ai (AUTH0_PATH)')

/** Options of a test or suite that embeds text. */
export const needsModel = needs(
  native.modelFolder !== undefined,
  'the embedding model (EMBEDDINGS_MODEL_PATH)',
)

/** Options of a test or suite that reads the shared data sets. */
export const needsShared = needs(native.shared !== undefined, 'the shared data sets (REMIT_SHARED)')

/** Options that skip unless `present`, and tell the report what was missing. */
export function needs(present: boolean, what: string): TestOptions {
  return present ? {} : { skip: true, meta: { needs: what } }
}

function readServices(env: NodeJS.ProcessEnv): NativeServices {
  const { TEST_DATABASE_URL, OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN, EMBEDDINGS_MODEL_PATH, REMIT_SHARED } = env
  const { OPENFGA_PATH, CHROMIUM_PATH, MCP_PYTHON_PATH, INTEROP_PYTHON_PATH } = env
  const { INTEROP_JAVA_PATH, INTEROP_GO_PATH, INTEROP_LANGCHAIN_PATH } = env
  const { NODE_20_PATH, NODE_22_PATH } = env
  const { KEYCLOAK_TEST_URL, KEYCLOAK_TEST_USER, KEYCLOAK_TEST_PASSWORD } = env
  // A server without its token would fail every test with 401s: half a setting is a mistake, not an absence.
  if (Boolean(OPENFGA_TEST_URL) !== Boolean(OPENFGA_TEST_TOKEN))
    throw new Error('OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN belong together: set both or neither.')
  if (Boolean(KEYCLOAK_TEST_URL) !== Boolean(KEYCLOAK_TEST_USER && KEYCLOAK_TEST_PASSWORD))
    throw new Error('KEYCLOAK_TEST_URL, _USER and _PASSWORD belong together: set all or none.')
  return {
    databaseUrl: TEST_DATABASE_URL || undefined,
    openfga:
      OPENFGA_TEST_URL && OPENFGA_TEST_TOKEN
        ? { url: OPENFGA_TEST_URL, token: OPENFGA_TEST_TOKEN }
        : undefined,
    openfgaProgram: OPENFGA_PATH || undefined,
    keycloak:
      KEYCLOAK_TEST_URL && KEYCLOAK_TEST_USER && KEYCLOAK_TEST_PASSWORD
        ? { url: KEYCLOAK_TEST_URL, user: KEYCLOAK_TEST_USER, password: KEYCLOAK_TEST_PASSWORD }
        : undefined,
    opensearch: env['OPENSEARCH_TEST_URL'] || undefined,
    opensearchProgram:
      env['OPENSEARCH_PATH'] && env['OPENSEARCH_JAVA']
        ? { folder: env['OPENSEARCH_PATH'], java: env['OPENSEARCH_JAVA'] }
        : undefined,
    isOnOpensearch: Boolean(env['OPENSEARCH_TEST_URL'] && env['TEST_ON_OPENSEARCH']),
    redmineDatabase: env['REDMINE_TEST_DATABASE'] || undefined,
    chromium: CHROMIUM_PATH || undefined,
    mcpPython: MCP_PYTHON_PATH || undefined,
    interopPython: INTEROP_PYTHON_PATH || undefined,
    interopJava: INTEROP_JAVA_PATH || undefined,
    interopGo: INTEROP_GO_PATH || undefined,
    helm: env['HELM_PATH'] || undefined,
    promtool: env['PROMTOOL_PATH'] || undefined,
    toxiproxy: env['TOXIPROXY_PATH'] || undefined,
    interopLangchain: INTEROP_LANGCHAIN_PATH || undefined,
    pythonClient: env['PYTHON_CLIENT_PATH'] || undefined,
    schemathesis: env['SCHEMATHESIS_PATH'] || undefined,
    wardowl: env['WARDOWL_PATH'] || undefined,
    auth0: env['AUTH0_PATH'] || undefined,
    olderNodes: { '20': NODE_20_PATH || undefined, '22': NODE_22_PATH || undefined },
    postgres: readPostgres(env),
    patroni: env['PATRONI_PATH'] || undefined,
    modelFolder: EMBEDDINGS_MODEL_PATH || undefined,
    shared: REMIT_SHARED || undefined,
  }
}

function readPostgres({ POSTGRES_PATH, POSTGRES_USER }: NodeJS.ProcessEnv): NativeServices['postgres'] {
  if (!POSTGRES_PATH) return undefined
  const [uid, gid] = POSTGRES_USER?.split(':').map(Number) ?? []
  return { programs: POSTGRES_PATH, ...(uid !== undefined && gid !== undefined && { user: { uid, gid } }) }
}
