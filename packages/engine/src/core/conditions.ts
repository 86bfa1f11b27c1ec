import {
  type CelInput,
  CelScalar,
  celEnv,
  celFunc,
  celMethod,
  isCelError,
  isCelList,
  isCelMap,
  parse,
  plan,
} from '@bufbuild/cel'
import { type Call, checkTypes, type Expr } from './cel-types.ts'
import { ConversionError, convert, type JsonObject, type ParamType } from './condition-values.ts'
import { ConditionError } from './errors.ts'
import { getOrInsert } from './get-or-insert.ts'
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

/**
 * Compiles a condition. Throws Error with the reason when the expression is not a CEL expression over its
 * parameters.
 */
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
  const failed = (reason: string): ConditionError => new ConditionError(name, reason)
  const accepted = new WeakMap<JsonObject, boolean>()
  function assertContext(context: JsonObject): void {
    assertKnownKeys(name, context, params)
    for (const [key, type] of params) if (Object.hasOwn(context, key)) convertKey(key, type, context)
  }
  return {
    name,
    params,
    assertContext,
    accepts: (context) => getOrInsert(accepted, context, () => passes(() => assertContext(context))),
    evaluate(requestContext, tupleContext, tuple) {
      const values: Record<string, CelInput> = Object.create(null)
      try {
        Object.assign(values, converted(requestContext), converted(tupleContext))
      } catch (error) {
        if (error instanceof ConversionError) throw failed(error.message)
        throw error
      }
      const missing = names.filter((key) => !(key in values))
      if (missing.length > 0)
        throw failed(`tuple '${tuple()}' is missing context parameters '[${missing.sort().join(' ')}]'`)
      if (exceedsBudget(parsed.expr, values))
        throw failed(
          'failed to evaluate condition expression: operation cancelled: actual cost limit exceeded',
        )
      const result = run(values)
      if (isCelError(result)) throw failed(`failed to evaluate condition expression: ${result.message}`)
      if (typeof result !== 'boolean') throw failed('failed to convert condition output to bool')
      return result
    },
  }
}

/**
 * Converted contexts are kept per context object: a tuple's is converted once, a request's once per request.
 */
function createConversions(params: ReadonlyMap<string, ParamType>) {
  const convertedContexts = new WeakMap<JsonObject, Record<string, CelInput>>()
  return (context: JsonObject): Record<string, CelInput> =>
    getOrInsert(convertedContexts, context, () => {
      const values: Record<string, CelInput> = Object.create(null)
      for (const [key, type] of params)
        if (Object.hasOwn(context, key)) values[key] = convertKey(key, type, context)
      return values
    })
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

/** The server's limit on the cost of one evaluation (its `max-condition-evaluation-cost`). */
const budget = 100

/**
 * Whether evaluating the expression over these values would cost more than the server allows. An upper
 * bound in the manner of cel-go's tracker (a name 1, a call 1, a membership test one per element, a loop its
 * body per element), without credit for short circuits: near the limit it says "too dear" sooner than the
 * server, which is an error and never a yes.
 */
function exceedsBudget(expr: Expr, values: Readonly<Record<string, CelInput>>): boolean {
  return cost(expr, { values, locals: new Map() }) > budget
}

interface Scope {
  readonly values: Readonly<Record<string, CelInput>>
  /** Sizes are all that is known of a loop variable: 0 stands for unknown. */
  readonly locals: ReadonlyMap<string, number>
}

function cost(expr: Expr | undefined, scope: Scope): number {
  const kind = expr?.exprKind
  if (kind === undefined) return 0
  switch (kind.case) {
    case 'identExpr':
      return 1
    case 'selectExpr':
      return 1 + cost(kind.value.operand, scope)
    case 'listExpr':
      return 10 + kind.value.elements.reduce((sum, element) => sum + cost(element, scope), 0)
    case 'structExpr':
      return 30 + kind.value.entries.reduce((sum, entry) => sum + cost(entry.value, scope), 0)
    case 'callExpr':
      return callCost(kind.value, scope)
    case 'comprehensionExpr': {
      const rounds = sizeOf(kind.value.iterRange, scope)
      const inner = {
        ...scope,
        locals: new Map([...scope.locals, [kind.value.iterVar, 0], [kind.value.accuVar, 0]]),
      }
      const round = cost(kind.value.loopStep, inner) + cost(kind.value.loopCondition, inner)
      return (
        cost(kind.value.iterRange, scope) +
        cost(kind.value.accuInit, scope) +
        rounds * round +
        cost(kind.value.result, inner)
      )
    }
    default:
      return 0
  }
}

function callCost(call: Call, scope: Scope): number {
  const operands = [call.target, ...call.args]
  const inside = operands.reduce((sum, operand) => sum + cost(operand, scope), 0)
  switch (call.function) {
    case '_&&_':
    case '_||_':
      return inside
    case '_?_:_':
      return cost(call.args[0], scope) + Math.max(cost(call.args[1], scope), cost(call.args[2], scope))
    case '@in':
      return inside + Math.max(1, sizeOf(call.args[1], scope))
    case '_==_':
    case '_!=_':
      return inside + Math.max(1, Math.ceil(Math.min(...call.args.map((arg) => sizeOf(arg, scope))) * 0.1))
    case 'contains':
    case 'startsWith':
    case 'endsWith':
    case 'matches':
      return (
        inside + Math.max(1, Math.ceil(Math.max(...operands.map((operand) => sizeOf(operand, scope))) * 0.1))
      )
    default:
      return inside + 1
  }
}

function sizeOf(expr: Expr | undefined, scope: Scope): number {
  const kind = expr?.exprKind
  if (kind?.case === 'identExpr')
    return scope.locals.get(kind.value.name) ?? sizeOfValue(scope.values[kind.value.name])
  if (kind?.case === 'listExpr') return kind.value.elements.length
  if (kind?.case === 'constExpr')
    return kind.value.constantKind.case === 'stringValue' ? kind.value.constantKind.value.length : 1
  if (kind?.case === 'selectExpr') return sizeOfField(kind.value.operand, kind.value.field, scope)
  return 1
}

function sizeOfField(operand: Expr | undefined, field: string, scope: Scope): number {
  const holder =
    operand?.exprKind.case === 'identExpr' ? scope.values[operand.exprKind.value.name] : undefined
  return holder instanceof Map ? sizeOfValue(holder.get(field)) : 1
}

function sizeOfValue(value: unknown): number {
  if (typeof value === 'string' || Array.isArray(value)) return value.length
  if (value instanceof Map || isCelList(value) || isCelMap(value)) return value.size
  return 1
}
