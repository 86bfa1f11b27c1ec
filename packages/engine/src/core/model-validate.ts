import { type FgaError, invalidModel } from './errors.ts'
import { type LeafAst, labelOf, type ModelAst, type RewriteAst, type TypeAst } from './model-json.ts'
import { leavesOf } from './rule.ts'

/**
 * The server's write-time rules (typesystem.NewAndValidate): schema 1.1 or 1.2, unique types, no reserved
 * names, every name defined, tuplesets direct, assignable if and only if type restrictions are given, an
 * entry point for every relation, no relation that is computed from itself. Throws FgaError.
 */
export function validateModel(ast: ModelAst): void {
  if (ast.schemaVersion === '1.0') throw invalidModel('invalid schema version')
  if (new Set(ast.types.map((type) => type.type)).size !== ast.types.length)
    throw invalidModel('an authorization model cannot contain duplicate types')
  const types = new Map(ast.types.map((type) => [type.type, type]))
  validateNames(ast.types)
  for (const type of [...ast.types].sort((a, b) => (a.type < b.type ? -1 : 1))) {
    const clear = new Set<string>()
    const leaves = [...type.relations.values()].flatMap((rewrite) => leafList(rewrite))
    const tuplesets = new Set(leaves.map((leaf) => leaf.kind === 'ttu' && leaf.tupleset))
    for (const [name, rewrite] of [...type.relations].sort(([a], [b]) => (a < b ? -1 : 1))) {
      validateRewrite(rewrite, type, name, types)
      validateRestrictions(type, name, types, ast, tuplesets.has(name))
      validateEntrypoints(type, name, rewrite, types, clear)
    }
  }
  for (const [key, condition] of ast.conditions) {
    if (key !== condition.name)
      throw invalidModel(`condition key '${key}' does not match condition name '${condition.name}'`)
  }
}

type Types = ReadonlyMap<string, TypeAst>

function validateNames(types: readonly TypeAst[]): void {
  const reserved = (name: string): boolean => name === 'self' || name === 'this'
  for (const type of types) {
    if (reserved(type.type))
      throw invalidModel(
        `the definition of type '${type.type}' is invalid: self and this are reserved keywords`,
      )
    for (const name of type.relations.keys()) {
      if (reserved(name)) throw invalidRelation(type.type, name, 'self and this are reserved keywords')
    }
  }
}

function validateRewrite(rewrite: RewriteAst, type: TypeAst, name: string, types: Types): void {
  for (const leaf of leafList(rewrite)) {
    if (leaf.kind === 'unset' || (leaf.kind === 'computed' && leaf.relation === name))
      throw invalidRelation(type.type, name, 'invalid userset rewrite definition')
    if (leaf.kind === 'computed' && !type.relations.has(leaf.relation))
      throw undefinedRelation(type.type, leaf.relation)
    if (leaf.kind === 'ttu') validateTtu(leaf, type, types)
  }
}

function validateTtu(rewrite: { tupleset: string; computed: string }, type: TypeAst, types: Types): void {
  const tupleset = type.relations.get(rewrite.tupleset)
  if (tupleset === undefined) throw undefinedRelation(type.type, rewrite.tupleset)
  if (tupleset.kind !== 'this')
    throw invalidModel(
      `the '${type.type}#${rewrite.tupleset}' relation is referenced in at least one tupleset and thus must be a direct relation`,
    )
  const parents = type.restrictions.get(rewrite.tupleset) ?? []
  if (!parents.some((parent) => types.get(parent.type)?.relations.has(rewrite.computed))) {
    throw invalidModel(
      `undefined relation: ${rewrite.computed} does not appear as a relation in any of the directly related user types [${parents.map(labelOf).join(' ')}]`,
    )
  }
}

function validateRestrictions(
  type: TypeAst,
  name: string,
  types: Types,
  ast: ModelAst,
  isTupleset: boolean,
): void {
  const restrictions = type.restrictions.get(name) ?? []
  const assignable = leafList(type.relations.get(name)).some((leaf) => leaf.kind === 'this')
  if (assignable && restrictions.length === 0)
    throw invalidModel(
      `the assignable relation '${name}' in object type '${type.type}' must contain at least one relation type`,
    )
  if (!assignable && restrictions.length > 0)
    throw invalidModel(
      `the non-assignable relation '${name}' in object type '${type.type}' should not contain a relation type`,
    )
  for (const restriction of restrictions) {
    const target = types.get(restriction.type)
    const faceted = restriction.relation !== undefined || restriction.wildcard !== undefined
    const dangling = restriction.relation !== undefined && !target?.relations.has(restriction.relation)
    if (target === undefined || (faceted && isTupleset) || dangling) {
      throw invalidModel(
        `the relation type '${labelOf(restriction)}' on '${name}' in object type '${type.type}' is not valid`,
      )
    }
    if (restriction.condition !== '' && !ast.conditions.has(restriction.condition)) {
      throw invalidModel(`condition ${restriction.condition} is undefined for relation ${name}`)
    }
  }
}

function validateEntrypoints(
  type: TypeAst,
  name: string,
  rewrite: RewriteAst,
  types: Types,
  clear: Set<string>,
): void {
  const entry = findEntry(types, type.type, name, rewrite, new Map())
  if (!entry.found)
    throw invalidRelation(type.type, name, entry.loop ? 'potential loop' : 'no entrypoints defined')
  if (hasCycle(type, name, new Set(), clear))
    throw invalidRelation(type.type, name, 'an authorization model cannot contain a cycle')
}

interface Entry {
  readonly found: boolean
  readonly loop: boolean
}

const noEntry: Entry = { found: false, loop: false }
const plainEntry: Entry = { found: true, loop: false }

/**
 * The server's walk, kept as it is (also that visited relations are shared between the branches of one type,
 * since its copy is shallow): other walks accept models that the server refuses, or the reverse.
 */
function findEntry(
  types: Types,
  typeName: string,
  name: string,
  rewrite: RewriteAst,
  visited: ReadonlyMap<string, Map<string, boolean>>,
): Entry {
  const visitedByType = new Map(visited)
  const visitedRelations = visitedByType.get(typeName) ?? new Map<string, boolean>()
  visitedRelations.set(name, false)
  visitedByType.set(typeName, visitedRelations)
  const type = types.get(typeName)
  const entryOf = (operand: RewriteAst): Entry => findEntry(types, typeName, name, operand, visited)
  switch (rewrite.kind) {
    case 'this':
      for (const ref of type?.restrictions.get(name) ?? []) {
        if (ref.relation === undefined) {
          visitedRelations.set(name, true)
          return plainEntry
        }
        if (visitedByType.get(ref.type)?.has(ref.relation)) continue
        const target = types.get(ref.type)?.relations.get(ref.relation)
        if (target === undefined)
          throw invalidModel(`undefined type definition for '${ref.type}#${ref.relation}'`)
        if (findEntry(types, ref.type, ref.relation, target, visitedByType).found) return plainEntry
      }
      return noEntry
    case 'computed': {
      const cached = visitedRelations.get(rewrite.relation)
      if (cached !== undefined) return { found: cached, loop: true }
      const target = type?.relations.get(rewrite.relation)
      if (target === undefined)
        throw invalidModel(`undefined type definition for '${typeName}#${rewrite.relation}'`)
      return findEntry(types, typeName, rewrite.relation, target, visitedByType)
    }
    case 'ttu':
      for (const parent of type?.restrictions.get(rewrite.tupleset) ?? []) {
        const target = types.get(parent.type)?.relations.get(rewrite.computed)
        if (target === undefined) continue
        const cached = visitedByType.get(parent.type)?.get(rewrite.computed)
        if (cached === true) return plainEntry
        if (
          cached === undefined &&
          findEntry(types, parent.type, rewrite.computed, target, visitedByType).found
        )
          return plainEntry
      }
      return noEntry
    case 'union':
    case 'intersection':
      if (rewrite.children.length < 2)
        throw invalidModel(
          `invalid relation: '${typeName}#${name}' as ${rewrite.kind} has less than 2 children`,
        )
      return rewrite.kind === 'union'
        ? anyEntry(rewrite.children, entryOf)
        : everyEntry(rewrite.children, entryOf)
    case 'exclusion':
      return everyEntry([rewrite.base, rewrite.subtract], entryOf)
    case 'unset':
      throw invalidRelation(typeName, name, 'invalid userset rewrite definition')
  }
}

function anyEntry(operands: readonly RewriteAst[], entryOf: (operand: RewriteAst) => Entry): Entry {
  let loop = false
  for (const operand of operands) {
    const entry = entryOf(operand)
    if (entry.found) return plainEntry
    loop ||= entry.loop
  }
  return { found: false, loop }
}

function everyEntry(operands: readonly RewriteAst[], entryOf: (operand: RewriteAst) => Entry): Entry {
  for (const operand of operands) {
    const entry = entryOf(operand)
    if (!entry.found) return entry
  }
  return plainEntry
}

/**
 * Whether relations of one type that name each other lead from this one into a circle. `clear` grows by those
 * from which none does: looked into anew on every way to them, a text of forty lines would keep the process
 * for ever.
 */
function hasCycle(type: TypeAst, name: string, path: Set<string>, clear: Set<string>): boolean {
  if (path.has(name)) return true
  if (clear.has(name)) return false
  path.add(name)
  const found = leafList(type.relations.get(name)).some(
    (leaf) => leaf.kind === 'computed' && hasCycle(type, leaf.relation, path, clear),
  )
  path.delete(name)
  if (!found) clear.add(name)
  return found
}

const leafList = (rewrite: RewriteAst = { kind: 'unset' }): LeafAst[] =>
  leavesOf(rewrite).map(({ leaf }) => leaf)

const invalidRelation = (type: string, relation: string, cause: string): FgaError =>
  invalidModel(`the definition of relation '${relation}' in object type '${type}' is invalid: ${cause}`)
const undefinedRelation = (type: string, relation: string): FgaError =>
  invalidModel(`'${type}#${relation}' relation is undefined`)
