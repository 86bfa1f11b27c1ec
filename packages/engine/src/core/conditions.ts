import { type CelInput, CelScalar, celEnv, celFunc, celMethod, isCelError, parse, plan } from '@bufbuild/cel'
import { exceedsBudget } from './cel-cost.ts'
import { checkTypes } from './cel-types.ts'
import { ConversionError, convert, type JsonObject, type ParamType } from './condition-values.ts'
import { ConditionError } from './errors.ts'
import { inCidr, parseAddress } from './ip.ts'

/** A named condition of a model, ready to evaluate. */
export interface Condition {
  readonly name: string
  readonly params: ReadonlyMap<string, ParamType>
  /** Whether the stored context of a tuple fits; remembered per context. */
  accepts(context: JsonObject): boolean
  /** Throws ConversionError when the stored context of a tuple does not fit the declared parameters. */
  assertContext(context: JsonObject): void
  /**
   * Evaluates over the request's context overlaid by the tuple's (the tuple wins; undeclared keys are
   * ignored). Any declared parameter missing from both is an error, even where the expression would not
   * look at it: so does the server. Throws ConditionError; `tuple` names the tuple in its message.
   */
  evaluate(requestContext: JsonObject, tupleContext: JsonObject, tuple: () => string): boolean
}

const { STRING, BOOL } = CelScalar

const env = celEnv({
  funcs: [
    celFunc('ipaddress', [STRING], STRING, (text) => {
      const address = parseAddress(text)
      if (address === undefined) throw new Error(`ParseAddr("${text}"): unable to parse IP`)
      return address.text
    }),
    celMethod('in_cidr', STRING, [STRING], BOOL, function (cidr) {
      const found = inCidr(this, cidr)
      if (found === undefined) throw new Error(`'${cidr}' is a malformed CIDR string`)
      return found
    }),
  ],
})

/** Compiles a condition. Throws Error with the reason when the expression is not a CEL expression over its parameters. */
export function compileCondition(
  name: string,
  expression: string,
  params: ReadonlyMap<string, ParamType>,
): Condition {
  const parsed = parse(expression)
  checkTypes(parsed.expr, params)
  const run = plan(env, parsed)
  const converted = createConversions(params)
  const names = [...params.keys()]
  const accepted = new WeakMap<JsonObject, boolean>()
  function assertContext(context: JsonObject): void {
    assertKnownKeys(name, context, params)
    for (const [key, type] of params) if (Object.hasOwn(context, key)) convertKey(key, type, context)
  }
  return {
    name,
    params,
    assertContext,
    accepts(context) {
      const cachedVerdict = accepted.get(context)
      if (cachedVerdict !== undefined) return cachedVerdict
      const isAccepted = passes(() => assertContext(context))
      accepted.set(context, isAccepted)
      return isAccepted
    },
    evaluate(requestContext, tupleContext, tuple) {
      const values: Record<string, CelInput> = Object.create(null)
      try {
        Object.assign(values, converted(requestContext), converted(tupleContext))
      } catch (error) {
        if (error instanceof ConversionError) throw new ConditionError(name, error.message)
        throw error
      }
      const missing = names.filter((key) => !(key in values))
      if (missing.length > 0)
        throw new ConditionError(
          name,
          `tuple '${tuple()}' is missing context parameters '[${missing.sort().join(' ')}]'`,
        )
      if (exceedsBudget(parsed.expr, values))
        throw new ConditionError(
          name,
          'failed to evaluate condition expression: operation cancelled: actual cost limit exceeded',
        )
      const result = run(values)
      if (isCelError(result))
        throw new ConditionError(name, `failed to evaluate condition expression: ${result.message}`)
      if (typeof result !== 'boolean')
        throw new ConditionError(name, 'failed to convert condition output to bool')
      return result
    },
  }
}

/** Converted contexts are kept per context object: a tuple's is converted once, a request's once per request. */
function createConversions(params: ReadonlyMap<string, ParamType>) {
  const convertedContexts = new WeakMap<JsonObject, Record<string, CelInput>>()
  return (context: JsonObject): Record<string, CelInput> => {
    const converted = convertedContexts.get(context)
    if (converted !== undefined) return converted
    const values: Record<string, CelInput> = Object.create(null)
    for (const [key, type] of params)
      if (Object.hasOwn(context, key)) values[key] = convertKey(key, type, context)
    convertedContexts.set(context, values)
    return values
  }
}

function convertKey(key: string, type: ParamType, context: JsonObject): CelInput {
  try {
    return convert(type, context[key] ?? null)
  } catch (error) {
    if (!(error instanceof ConversionError)) throw error
    throw new ConversionError(`failed to convert context parameter '${key}': ${error.message}`)
  }
}

function assertKnownKeys(name: string, context: JsonObject, params: ReadonlyMap<string, ParamType>): void {
  const keys = Object.keys(context)
  if (keys.length > 0 && params.size === 0)
    throw new ConversionError(
      `parameter type error on condition '${name}' - no parameters defined for the condition`,
    )
  const unknown = keys.find((key) => !params.has(key))
  if (unknown !== undefined) throw new ConversionError(`found invalid context parameter: ${unknown}`)
}

function passes(assertion: () => void): boolean {
  try {
    assertion()
    return true
  } catch (error) {
    if (error instanceof ConversionError) return false
    throw error
  }
}
