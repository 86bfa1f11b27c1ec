import { context, propagation, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'

/** Where traces are sent; undefined: nowhere. */
export interface TelemetryOptions {
  /**
   * Base URL of an OTLP/HTTP receiver, to which `/v1/traces` is added. Left out: nothing is sent anywhere.
   */
  readonly endpoint: string | undefined
  /** `service.version` */
  readonly version: string
}

/**
 * Sets OpenTelemetry up for this process; disposal sends what is left and takes it down again. Every trace is
 * kept: whoever calls us must not be able to switch it off, so that sampling is the receiver's. Its headers
 * come from the standard variables (`OTEL_EXPORTER_OTLP_HEADERS`), which the exporter reads itself.
 */
export async function openTelemetry({ endpoint, version }: TelemetryOptions): Promise<AsyncDisposable> {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  propagation.setGlobalPropagator(new W3CTraceContextPropagator())
  const provider = endpoint === undefined ? undefined : await sendTo(endpoint, version)
  if (provider !== undefined) trace.setGlobalTracerProvider(provider)
  return {
    async [Symbol.asyncDispose]() {
      await provider?.shutdown()
      trace.disable()
      propagation.disable()
      context.disable()
    },
  }
}

/** Loaded only where it is used: most installations send nothing. */
async function sendTo(endpoint: string, version: string) {
  const [
    { AlwaysOnSampler, BatchSpanProcessor, TracerProvider },
    { OTLPTraceExporter },
    { resourceFromAttributes },
  ] = await Promise.all([
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
  ])
  const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/\/$/, '')}/v1/traces` })
  return new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'remit', 'service.version': version }),
    sampler: new AlwaysOnSampler(),
    spanProcessors: [new BatchSpanProcessor({ exporter })],
  })
}
