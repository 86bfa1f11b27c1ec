import { isIP } from 'node:net'
import { z } from 'zod'
import { httpUrl, isLoopback, list, text } from './forms.ts'
import { group } from './group.ts'

const allRoles = ['api', 'worker']
const roleRule = 'must be api, worker, or both with a comma between; or nominator'

/** What this process does of all that the service does. */
export const roles = group({
  settings: {
    REMIT_ROLE: list
      .refine(
        (names) =>
          names.every((name) => allRoles.includes(name)) || (names.length === 1 && names[0] === 'nominator'),
        { message: roleRule },
      )
      .default(allRoles)
      .describe(
        'What this process does, with a comma between: `api` answers requests on PORT, `worker` takes documents in and reads sources. Default both. Each has to run somewhere. `nominator`, alone, holds OpenFGA’s tuples for processes with NOMINATOR_URLS and answers them on PORT. docs/scaling.md.',
      ),
  },
  read: ({ REMIT_ROLE: chosen }) => ({
    roles: {
      api: chosen.includes('api'),
      worker: chosen.includes('worker'),
      nominator: chosen.includes('nominator'),
    },
  }),
  contradictions: ({ REMIT_ROLE: chosen }, _, env) => [
    {
      isSo: !env.DATABASE_URL && allRoles.some((role) => !chosen.includes(role)),
      of: ['REMIT_ROLE', 'DATABASE_URL'],
      problem: 'REMIT_ROLE needs DATABASE_URL: an embedded database has one process, which does everything',
    },
  ],
})

// Not 0, any free port: PUBLIC_URL, by which tokens are bound, could not name it.
const portRule = 'must be a port, 1 to 65535'
const port = z.coerce.number(portRule).int(portRule).min(1, portRule).max(65_535, portRule)

/** An address, or a range in CIDR form that is not everybody. */
function isAddressRange(value: string): boolean {
  const [, address = '', prefix] = /^([^/%]+)(?:\/([1-9]\d{0,2}))?$/.exec(value) ?? []
  const bits = { 4: 32, 6: 128 }[isIP(address)]
  return bits !== undefined && Number(prefix ?? bits) <= bits
}

const addressRanges = list.refine((ranges) => ranges.every(isAddressRange), {
  message: 'must be addresses or ranges like 10.0.0.0/8, with commas between them',
})

/** Where the service is reached. */
export const listening = group({
  settings: {
    HOST: text.default('127.0.0.1').describe('Address to listen on.'),
    PORT: port.default(8787).describe('Port to listen on.'),
    PUBLIC_URL: httpUrl
      .optional()
      .describe(
        'Address by which clients reach the service, without a trailing slash. Default http://localhost:PORT.',
      ),
    OPS_HOST: text
      .default('127.0.0.1')
      .describe(
        "Address of the operators' listener (/metrics, /readyz with details). Not on loopback, the demo is off.",
      ),
    OPS_PORT: port.default(8788).describe("Port of the operators' listener."),
    OPS_BEARER_FILE: text
      .optional()
      .describe(
        "File with the token, 32 characters at least, that the operators' listener demands as `Authorization: Bearer`. Read at the start. Required with an OPS_HOST that is not loopback. Default none: whoever reaches it reads it.",
      ),
    TRUSTED_PROXIES: addressRanges
      .optional()
      .describe(
        'Addresses and ranges (10.0.0.0/8,::1) of proxies that set X-Forwarded-For: limits then count the client, not the proxy. Default none.',
      ),
  },
  read: (value, { publicUrl }) => ({
    host: value.HOST,
    port: value.PORT,
    publicUrl,
    ops: {
      host: value.OPS_HOST,
      port: value.OPS_PORT,
      /** Nobody but this machine reaches it. */
      loopback: isLoopback(value.OPS_HOST),
      bearerFile: value.OPS_BEARER_FILE,
    },
    trustedProxies: value.TRUSTED_PROXIES ?? [],
  }),
  contradictions: ({ HOST, OPS_HOST, OPS_BEARER_FILE }, { publicUrl }) => [
    {
      isSo: !isLoopback(OPS_HOST) && OPS_BEARER_FILE === undefined,
      of: ['OPS_HOST', 'OPS_BEARER_FILE'],
      problem:
        'OPS_BEARER_FILE is required with an OPS_HOST that is not loopback: whoever reaches it would read /metrics and /readyz',
    },
    {
      isSo: publicUrl.endsWith('/'),
      of: ['PUBLIC_URL'],
      problem: 'PUBLIC_URL must not end with a slash: it is compared as an exact string',
    },
    {
      // What the operators' listener tells is no token.
      isSo:
        ![HOST, new URL(publicUrl).hostname].every(isLoopback) && new URL(publicUrl).protocol !== 'https:',
      of: ['HOST', 'PUBLIC_URL'],
      problem:
        'PUBLIC_URL must be https unless HOST and PUBLIC_URL are loopback: tokens would travel in the clear',
    },
  ],
})

/** `https://host:port` as URLs spell it: no path, no user, nothing that is compared in two ways. */
const isOrigin = (value: string): boolean =>
  /^https?:[^*]+$/.test(value) && URL.parse(value)?.origin === value

const origins = list.refine((urls) => urls.every(isOrigin), {
  message: 'must be origins like https://gitlab.corp.example:8443, with commas between them and no path',
})

/** Whom the service asks or tells by itself. */
export const outbound = group({
  settings: {
    OUTBOUND_ALLOWED_ORIGINS: origins
      .optional()
      .describe(
        'Exact origins (https://gitlab.corp.example:8443,http://127.0.0.1:9000) that may be asked although they are http or their addresses are not public: providers, sources, directories and pings of clients inside your network. Default none.',
      ),
    PUSH_ALLOWED_ORIGINS: origins
      .optional()
      .describe(
        'The same for push services inside your network. Apart, since any person who signs in names a push service, with any path. Default none.',
      ),
    PUSH_CONTACT: z
      .string()
      .regex(/^(https:\/\/[^\s/]+|mailto:[^\s@]+@[^\s@]+$)/, 'must be an https: or mailto: address')
      .optional()
      .describe(
        'Where push services reach whoever runs this (RFC 8292): an https: or mailto: address. Default PUBLIC_URL; where that is not https, mailto:remit@localhost, which some of them refuse.',
      ),
    OTEL_EXPORTER_OTLP_ENDPOINT: httpUrl
      .optional()
      .describe(
        'Receiver of traces (OpenTelemetry, OTLP over HTTP; /v1/traces is added). Left out: none are sent.',
      ),
  },
  read: (value, { publicUrl }) => ({
    outboundAllowedOrigins: value.OUTBOUND_ALLOWED_ORIGINS ?? [],
    pushAllowedOrigins: value.PUSH_ALLOWED_ORIGINS ?? [],
    /** By which push services reach whoever runs this. */
    pushContact:
      value.PUSH_CONTACT ?? (publicUrl.startsWith('https:') ? publicUrl : 'mailto:remit@localhost'),
    otlpEndpoint: value.OTEL_EXPORTER_OTLP_ENDPOINT,
  }),
})
