import { z } from 'zod'
import { httpUrl, list } from './forms.ts'
import { group } from './group.ts'

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
        'Exact origins (https://gitlab.corp.example:8443,http://127.0.0.1:9000) that may be asked although they are http or their addresses are not public: providers, push services and pings of clients inside your network. Default none.',
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
    /** By which push services reach whoever runs this. */
    pushContact:
      value.PUSH_CONTACT ?? (publicUrl.startsWith('https:') ? publicUrl : 'mailto:remit@localhost'),
    otlpEndpoint: value.OTEL_EXPORTER_OTLP_ENDPOINT,
  }),
})
