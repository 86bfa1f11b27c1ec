import type { parse } from '@bufbuild/cel'
import type { ParamType } from './condition-values.ts'

/** A node of a parsed CEL expression. */
export type Expr = ReturnType<typeof parse>['expr']

/** What is known about the type of an expression before it runs; `dyn` = unknown. */
export type CelKind = 'dyn' | 'null' | 'bytes' | 'type' | ParamType['kind']

/**
 * Refuses what the server's type checker certainly refuses: names that are neither parameters nor loop
 * variables, comparisons and logic over known, different types, and a result that is known not to be bool.
 * Looser than the server: what it cannot tell it lets pass, and evaluation then errs (which denies).
 */
export function checkTypes(expr: Expr, params: ReadonlyMap<string, ParamType>): void {
  const names = new Map<string, ParamType | undefined>(params)
  const result = kindOf(expr, names)
  if (result !== 'bool' && result !== 'dyn' && result !== 'any') {
    throw new Error(`expected a bool condition expression output, but got '${result}'`)
  }
}

type Names = ReadonlyMap<string, ParamType | undefined>

function kindOf(expr: Expr | undefined, names: Names): CelKind {
  const kind = expr?.exprKind
  if (kind === undefined) return 'dyn'
  switch (kind.case) {
    case 'constExpr':
      return constants[kind.value.constantKind.case ?? ''] ?? 'dyn'
    case 'identExpr':
      return identKind(kind.value.name, names)
    case 'selectExpr': {
      const operand = kindOf(kind.value.operand, names)
      if (operand !== 'dyn' && operand !== 'any' && operand !== 'map')
        throw new Error(`type '${operand}' does not support field selection`)
      return kind.value.testOnly ? 'bool' : (memberKind(kind.value.operand, names)?.kind ?? 'dyn')
    }
    case 'listExpr':
      for (const element of kind.value.elements) kindOf(element, names)
      return 'list'
    case 'structExpr':
      for (const entry of kind.value.entries) kindOf(entry.value, names)
      return 'map'
    case 'callExpr':
      return callKind(kind.value, names)
    case 'comprehensionExpr': {
      const range = kindOf(kind.value.iterRange, names)
      const elementType = memberKind(kind.value.iterRange, names)
      const inner = new Map([
        ...names,
        [kind.value.iterVar, range === 'map' ? { kind: 'string' as const } : elementType],
        [kind.value.accuVar, undefined],
      ])
      for (const step of [kind.value.accuInit, kind.value.loopCondition, kind.value.loopStep])
        kindOf(step, inner)
      const accumulated = kindOf(kind.value.accuInit, names)
      const result = kindOf(kind.value.result, inner)
      return result === 'dyn' ? accumulated : result
    }
    default:
      return 'dyn'
  }
}

const constants: Readonly<Record<string, CelKind>> = {
  boolValue: 'bool',
  int64Value: 'int',
  uint64Value: 'uint',
  doubleValue: 'double',
  stringValue: 'string',
  bytesValue: 'bytes',
  nullValue: 'null',
}

function identKind(name: string, names: Names): CelKind {
  if (names.has(name)) return names.get(name)?.kind ?? 'dyn'
  if (typeNames.has(name)) return 'type'
  throw new Error(`undeclared reference to '${name}' (in container '')`)
}

/** Type of the members of a named list or map parameter. */
function memberKind(expr: Expr | undefined, names: Names): ParamType | undefined {
  return expr?.exprKind.case === 'identExpr' ? names.get(expr.exprKind.value.name)?.of : undefined
}

/** A call in a parsed CEL expression. */
export type Call = Extract<NonNullable<Expr['exprKind']>, { case: 'callExpr' }>['value']

const boolCalls = new Set([
  '@in',
  'in_cidr',
  'contains',
  'startsWith',
  'endsWith',
  'matches',
  '@not_strictly_false',
])
const intCalls = new Set([
  'size',
  'getFullYear',
  'getMonth',
  'getDate',
  'getDayOfMonth',
  'getDayOfWeek',
  'getDayOfYear',
  'getHours',
  'getMinutes',
  'getSeconds',
  'getMilliseconds',
])
const casts = [
  'bool',
  'bytes',
  'double',
  'duration',
  'dyn',
  'int',
  'string',
  'timestamp',
  'type',
  'uint',
  'ipaddress',
] as const satisfies readonly CelKind[]
const typeNames = new Set<string>([
  ...casts.filter((kind) => kind !== 'ipaddress'),
  'list',
  'map',
  'null_type',
])

function callKind(call: Call, names: Names): CelKind {
  const target = call.target === undefined ? undefined : kindOf(call.target, names)
  const args = call.args.map((arg) => kindOf(arg, names))
  const [leftKind = 'dyn', rightKind = 'dyn'] = args
  switch (call.function) {
    case '_&&_':
    case '_||_':
    case '!_':
      for (const arg of args) expect(call.function, arg, 'bool')
      return 'bool'
    case '_==_':
    case '_!=_':
    case '_<_':
    case '_<=_':
    case '_>_':
    case '_>=_':
      if (!isComparable(call.function, leftKind, rightKind)) throw noOverload(call.function, args)
      return 'bool'
    case '_?_:_':
      expect(call.function, leftKind, 'bool')
      return isKnown(rightKind) ? rightKind : (args[2] ?? 'dyn')
    case '_+_':
    case '_-_':
      return timeArithmetic(call.function, leftKind, rightKind, args)
    case '_*_':
    case '_/_':
    case '_%_':
      if (isKnown(leftKind) && isKnown(rightKind) && (leftKind !== rightKind || !isNumber(leftKind)))
        throw noOverload(call.function, args)
      return isKnown(leftKind) ? leftKind : rightKind
    case '_[_]':
      return memberKind(call.args[0], names)?.kind ?? 'dyn'
  }
  return namedCall(call.function, target, args)
}

function isComparable(operator: string, leftKind: CelKind, rightKind: CelKind): boolean {
  const takesNumbers = operator === '_<=_' || operator === '_>=_'
  if (
    isKnown(leftKind) &&
    isKnown(rightKind) &&
    leftKind !== rightKind &&
    !(takesNumbers && isNumber(leftKind) && isNumber(rightKind))
  )
    return false
  const isStrict = operator === '_<_' || operator === '_>_'
  return !isStrict || (leftKind !== 'ipaddress' && leftKind !== 'list' && leftKind !== 'map')
}

function namedCall(name: string, target: CelKind | undefined, args: readonly CelKind[]): CelKind {
  if (name === 'in_cidr' && target !== undefined) expect(name, target, 'ipaddress')
  if (boolCalls.has(name)) return 'bool'
  if (intCalls.has(name)) return 'int'
  const cast = casts.find((kind) => kind === name)
  if (cast !== undefined) return cast
  if (name === '-_') return args[0] ?? 'dyn'
  throw new Error(`undeclared reference to '${name}' (in container '')`)
}

function timeArithmetic(
  operator: string,
  leftKind: CelKind,
  rightKind: CelKind,
  args: readonly CelKind[],
): CelKind {
  if (!isKnown(leftKind) || !isKnown(rightKind)) return 'dyn'
  const times = new Set([leftKind, rightKind])
  if (leftKind === 'timestamp' && rightKind === 'timestamp') {
    if (operator === '_-_') return 'duration'
    throw noOverload(operator, args)
  }
  if (times.has('timestamp') && times.has('duration')) return 'timestamp'
  const joins = leftKind === 'string' || leftKind === 'list' || leftKind === 'bytes'
  if (
    leftKind !== rightKind ||
    !(isNumber(leftKind) || leftKind === 'duration' || (operator === '_+_' && joins))
  )
    throw noOverload(operator, args)
  return leftKind
}

const isKnown = (kind: CelKind): boolean => kind !== 'dyn' && kind !== 'any' && kind !== 'null'
const isNumber = (kind: CelKind): boolean => kind === 'int' || kind === 'uint' || kind === 'double'

function expect(operator: string, found: CelKind, expected: CelKind): void {
  if (isKnown(found) && found !== expected) throw noOverload(operator, [found])
}

const noOverload = (operator: string, args: readonly CelKind[]): Error =>
  new Error(`found no matching overload for '${operator}' applied to '(${args.join(', ')})'`)
