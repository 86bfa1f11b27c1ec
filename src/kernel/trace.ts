import {
  type Attributes,
  type Context,
  context,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'

/**
 * OpenTelemetry as the service uses it. Without a provider (see src/compose/telemetry.ts) nothing is made or
 * sent, and only the trace id that a caller brought goes on into the record. Attributes hold no token,
 * person, text or query: spans leave for a system that asks nobody's permission.
 */
// Asked for anew each time: one that is kept goes on to a provider that was taken down.
const tracer = () => trace.getTracer('remit')

const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL } as const

/** The kind and the attributes that a span starts with. */
export interface SpanOptions {
  readonly kind: keyof typeof kinds
  readonly attributes: Attributes
}

/**
 * Runs `work` as a step of the trace that is under way; outside of one (background polls) it is no step of
 * anything.
 */
export function step<T>(name: string, options: SpanOptions, task: () => Promise<T>): Promise<T> {
  return trace.getActiveSpan() === undefined ? task() : spanned(name, options, task)
}

/** Runs `work` as the first step here of a trace that a caller may have begun (W3C Trace Context). */
export function traced<T>(
  name: string,
  { carrier, ...options }: SpanOptions & { readonly carrier: Readonly<Record<string, string>> },
  task: (describe: (attributes: Attributes, name?: string) => void) => Promise<T>,
): Promise<T> {
  return spanned(name, options, task, propagation.extract(context.active(), carrier))
}

/** `traceparent` of the step that is under way, for whoever goes on with it; nothing outside of a trace. */
export function traceHeaders(): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {}
  propagation.inject(context.active(), headers)
  return headers
}

/** 32 hexadecimal digits, for the record. */
export function traceId(): string | undefined {
  const found = trace.getActiveSpan()?.spanContext()
  return found !== undefined && isSpanContextValid(found) ? found.traceId : undefined
}

/** The same of a trace that somebody else began; undefined where the carrier names none. */
export function traceIdOf(carrier: Readonly<Record<string, string>>): string | undefined {
  const found = trace.getSpanContext(propagation.extract(ROOT_CONTEXT, carrier))
  return found !== undefined && isSpanContextValid(found) ? found.traceId : undefined
}

function spanned<T>(
  name: string,
  { kind, attributes }: SpanOptions,
  task: (describe: (attributes: Attributes, name?: string) => void) => Promise<T>,
  parent: Context = context.active(),
): Promise<T> {
  return tracer().startActiveSpan(name, { kind: kinds[kind], attributes }, parent, async (span) => {
    try {
      return await task((addAttributes, renamed) => {
        span.setAttributes(addAttributes)
        if (renamed !== undefined) span.updateName(renamed)
      })
    } catch (error) {
      fail(span, error)
      throw error
    } finally {
      span.end()
    }
  })
}

/** By its name alone: a message may quote what was asked. */
function fail(span: Span, error: unknown): void {
  span.setAttribute('error.type', error instanceof Error ? error.name : 'thrown value')
  span.setStatus({ code: SpanStatusCode.ERROR })
}
