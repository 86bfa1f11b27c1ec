import type { JsonObject } from './condition-values.ts'
import { type Condition, compileCondition } from './conditions.ts'
import { FgaError, invalidModel } from './errors.ts'
import { getOrInsert } from './get-or-insert.ts'
import {
  type LeafAst,
  type ModelAst,
  parseModelJson,
  type RestrictionAst,
  type RewriteAst,
  renderModel,
} from './model-json.ts'
import { validateModel } from './model-validate.ts'
import { isOperator, type Rule } from './rule.ts'
import { analyseModel, type Strategy } from './strategy.ts'

/** A part of a rule that reads tuples or another relation, its names resolved to the relations they mean. */
export type Leaf =
  | { readonly kind: 'this' }
  | { readonly kind: 'computed'; readonly relation: Relation }
  | Ttu

/** `computed from tupleset`. */
export interface Ttu {
  readonly kind: 'ttu'
  readonly tupleset: string
  readonly computed: string
  /** By the type of the parent. */
  readonly targets: ReadonlyMap<string, Relation>
}

/** A rewrite with its names resolved to the relations they mean. */
export type Rewrite = Rule<Leaf>

/** A relation of a compiled model. */
export interface Relation {
  readonly type: string
  readonly name: string
  /** `type#name`. */
  readonly key: string
  /** Counts from 0 over the whole model: half of a memo key. */
  readonly index: number
  readonly rewrite: Rewrite
  /** The types that may be assigned directly; empty for a relation that only computes. */
  readonly restrictions: readonly RestrictionAst[]
  /** Whether some `x from y` uses this relation as its y. */
  readonly isTupleset: boolean
  /** By subject label: `user`, or `group#member` for a userset subject. */
  strategy(label: string): Strategy
}

/** A validated, immutable authorization model. */
export interface Model {
  readonly id: string
  readonly schemaVersion: string
  readonly types: ReadonlyMap<string, ReadonlyMap<string, Relation>>
  readonly conditions: ReadonlyMap<string, Condition>
  readonly ast: ModelAst
  /** Whether the server plans by weights for this model (see `findWeightedProblems`). */
  readonly isWeighted: boolean
  /** The model as `GET /authorization-models/{id}` shows it. */
  readonly json: JsonObject
}

/**
 * Compiles a model in OpenFGA's JSON form and validates it as the server does at write time. Throws FgaError
 * (`invalid_authorization_model` for what the model means, other codes for its shape).
 * CEL is type-checked more loosely than by the server: what slips through errs when evaluated, which denies.
 * `$expression` conditions are an experiment of the server and are refused.
 */
export function compileModel(json: object, id = ''): Model {
  // A copy as plain JSON: what an SDK or a transformer hands over may hold undefined members, and may change
  // later.
  const plainJson: JsonObject = JSON.parse(JSON.stringify(json))
  const ast = parseModelJson(plainJson)
  validateModel(ast)
  const conditions = new Map(
    [...ast.conditions.values()].map((condition) => [condition.name, compile(condition)]),
  )
  return {
    id,
    schemaVersion: ast.schemaVersion,
    conditions,
    ast,
    ...linkModel(ast),
    json: renderModel(id, ast),
  }
}

function compile(condition: { name: string; expression: string; params: Condition['params'] }): Condition {
  try {
    return compileCondition(condition.name, condition.expression, condition.params)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw invalidModel(`failed to compile expression on condition '${condition.name}' - ${reason}`)
  }
}

/** Resolves the names in a model's rules to the relations they mean. Validates nothing. */
export function linkModel(ast: ModelAst): Pick<Model, 'types' | 'isWeighted'> {
  const analysis = analyseModel(ast)
  const types = new Map<string, Map<string, Relation>>()
  const pending: (() => void)[] = []
  let index = 0
  for (const type of ast.types) {
    const relations = new Map<string, Relation>()
    types.set(type.type, relations)
    for (const [name, rewrite] of type.relations) {
      const key = `${type.type}#${name}`
      const relation: { -readonly [K in keyof Relation]: Relation[K] } = {
        type: type.type,
        name,
        key,
        index: index++,
        rewrite: { kind: 'this' },
        restrictions: type.restrictions.get(name) ?? [],
        isTupleset: analysis.isTupleset(key),
        strategy: remembered((label) => analysis.strategy(key, label)),
      }
      relations.set(name, relation)
      pending.push(() => {
        relation.rewrite = resolve(rewrite, relation, types)
      })
    }
  }
  for (const finish of pending) finish()
  return { types, isWeighted: analysis.isWeighted }
}

/** By the label alone: every question asks this of every relation that it meets. */
function remembered(find: (label: string) => Strategy): (label: string) => Strategy {
  const found = new Map<string, Strategy>()
  return (label) => getOrInsert(found, label, () => find(label))
}

function resolve(ast: RewriteAst, owner: Relation, types: Model['types']): Rewrite {
  if (!isOperator(ast)) return resolveLeaf(ast, owner, types)
  const resolveChild = (child: RewriteAst): Rewrite => resolve(child, owner, types)
  return ast.kind === 'exclusion'
    ? { kind: 'exclusion', base: resolveChild(ast.base), subtract: resolveChild(ast.subtract) }
    : { kind: ast.kind, children: ast.children.map(resolveChild) }
}

function resolveLeaf(leaf: LeafAst, owner: Relation, types: Model['types']): Leaf {
  switch (leaf.kind) {
    case 'this':
      return { kind: 'this' }
    case 'computed':
      return { kind: 'computed', relation: required(types.get(owner.type)?.get(leaf.relation)) }
    case 'ttu': {
      const { tupleset, computed } = leaf
      const targets = [...types].flatMap(([type, relations]): [string, Relation][] => {
        const target = relations.get(computed)
        return target === undefined ? [] : [[type, target]]
      })
      return { kind: 'ttu', tupleset, computed, targets: new Map(targets) }
    }
    case 'unset':
      return required<Leaf>(undefined)
  }
}

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new FgaError('internal_error', 'a validated model lacks what it refers to')
  return value
}
