import { type CelInput, isCelList, isCelMap } from '@bufbuild/cel'
import type { Expr } from './cel-types.ts'

/** The server's limit on the cost of one evaluation (its `max-condition-evaluation-cost`). */
const budget = 100

/**
 * Whether evaluating the expression over these values would cost more than the server allows. An upper
 * bound in the manner of cel-go's tracker (a name 1, a call 1, a membership test one per element, a loop its
 * body per element), without credit for short circuits: near the limit it says "too dear" sooner than the
 * server, which is an error and never a yes.
 */
export function exceedsBudget(expr: Expr, values: Readonly<Record<string, CelInput>>): boolean {
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

type Call = Extract<NonNullable<Expr['exprKind']>, { case: 'callExpr' }>['value']

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
