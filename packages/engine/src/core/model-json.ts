import { type Json, type JsonObject, type ParamType, paramKinds } from './condition-values.ts'
import { FgaError, invalidModel, invalidRequest } from './errors.ts'
import {
  entriesOf,
  listMember,
  match,
  member,
  objectMember,
  relationPattern,
  textMember,
  typePattern,
} from './json-members.ts'
import type { Rule } from './rule.ts'

/** A part of a rule that reads tuples or another relation, as it is written. */
export type LeafAst =
  | { readonly kind: 'this' }
  | { readonly kind: 'computed'; readonly relation: string }
  | { readonly kind: 'ttu'; readonly tupleset: string; readonly computed: string }
  | { readonly kind: 'unset' }

/** A rule as it is written, before its names are resolved. */
export type RewriteAst = Rule<LeafAst>

/** One entry of `[user, user:*, group#member with c]`. At most one of `relation` and `wildcard` is set. */
export interface RestrictionAst {
  readonly type: string
  readonly relation?: string
  readonly wildcard?: true
  readonly condition: string
}

/** A type of a model as it is written. */
export interface TypeAst {
  readonly type: string
  readonly relations: ReadonlyMap<string, RewriteAst>
  readonly restrictions: ReadonlyMap<string, readonly RestrictionAst[]>
  readonly metadata: JsonObject | undefined
}

/** A condition of a model as it is written. */
export interface ConditionAst {
  readonly name: string
  readonly expression: string
  readonly params: ReadonlyMap<string, ParamType>
  readonly metadata: Json
}

/** A model as it is written, not yet validated. */
export interface ModelAst {
  readonly schemaVersion: string
  readonly types: readonly TypeAst[]
  readonly conditions: ReadonlyMap<string, ConditionAst>
}

/** What may be assigned, as the DSL has it: `user`, `user:*`, `group#member`. */
export function labelOf({ type, relation, wildcard }: Omit<RestrictionAst, 'condition'>): string {
  if (wildcard !== undefined) return `${type}:*`
  return relation === undefined ? type : `${type}#${relation}`
}

/**
 * Reads an authorization model in OpenFGA's JSON form (names in snake_case or camelCase, as protojson takes
 * them). Throws FgaError for what the server refuses before it looks at the model's meaning.
 */
export function parseModelJson(json: JsonObject): ModelAst {
  const definitions = listMember(json, 'type_definitions')
  const schemaVersion = textMember(json, 'schema_version')
  if (definitions.length === 0)
    throw new FgaError(
      'type_definitions_too_few_items',
      'invalid WriteAuthorizationModelRequest.TypeDefinitions: value must contain at least 1 item(s)',
    )
  if (!['1.0', '1.1', '1.2'].includes(schemaVersion))
    throw invalidRequest(
      'invalid WriteAuthorizationModelRequest.SchemaVersion: value must be in list [1.0 1.1 1.2]',
    )
  if (definitions.length > 100)
    throw new FgaError(
      'exceeded_entity_limit',
      'The number of type definitions in an authorization model exceeds the allowed limit of 100',
    )
  return {
    schemaVersion,
    types: definitions.map(parseType),
    conditions: new Map(
      entriesOf(json, 'conditions').map(([key, condition]) => [
        match(key, relationPattern, 'Conditions'),
        parseCondition(condition),
      ]),
    ),
  }
}

function parseType(json: JsonObject): TypeAst {
  const type = match(textMember(json, 'type'), typePattern, 'TypeDefinition.Type')
  const metadata = objectMember(json, 'metadata')
  const relations = entriesOf(json, 'relations').map(
    ([name, rewrite]) => [relationNamed(name), parseRewrite(rewrite)] as const,
  )
  const restrictions = entriesOf(metadata ?? {}, 'relations').map(
    ([name, relation]) =>
      [name, listMember(relation, 'directly_related_user_types').map(parseRestriction)] as const,
  )
  return { type, relations: new Map(relations), restrictions: new Map(restrictions), metadata }
}

function relationNamed(name: string): string {
  if (relationPattern.test(name)) return name
  throw new FgaError(
    'relations_invalid_pattern',
    `invalid TypeDefinition.Relations[${name}]: value does not match regex pattern`,
  )
}

function parseRestriction(json: JsonObject): RestrictionAst {
  const type = match(textMember(json, 'type'), typePattern, 'Type')
  const condition = textMember(json, 'condition')
  if (member(json, 'wildcard') !== undefined) return { type, wildcard: true, condition }
  if (member(json, 'relation') === undefined) return { type, condition }
  const relation = textMember(json, 'relation')
  return { type, relation: relation === '' ? '' : match(relation, relationPattern, 'Relation'), condition }
}

function parseRewrite(json: JsonObject): RewriteAst {
  if (json['this'] !== undefined) return { kind: 'this' }
  if (member(json, 'computed_userset') !== undefined)
    return { kind: 'computed', relation: relationIn(json, 'computed_userset') }
  const ttu = objectMember(json, 'tuple_to_userset')
  if (ttu !== undefined)
    return {
      kind: 'ttu',
      tupleset: relationIn(ttu, 'tupleset'),
      computed: relationIn(ttu, 'computed_userset'),
    }
  for (const kind of ['union', 'intersection'] as const) {
    const operator = objectMember(json, kind)
    if (operator !== undefined) return { kind, children: listMember(operator, 'child').map(parseRewrite) }
  }
  const difference = objectMember(json, 'difference')
  if (difference === undefined) return { kind: 'unset' }
  return {
    kind: 'exclusion',
    base: parseRewrite(objectMember(difference, 'base') ?? {}),
    subtract: parseRewrite(objectMember(difference, 'subtract') ?? {}),
  }
}

const relationIn = (json: JsonObject, name: string): string =>
  textMember(objectMember(json, name) ?? {}, 'relation')

function parseCondition(json: JsonObject): ConditionAst {
  return {
    name: match(textMember(json, 'name'), relationPattern, 'Name'),
    expression: textMember(json, 'expression'),
    params: new Map(
      entriesOf(json, 'parameters').map(([key, param]) => [
        match(key, relationPattern, 'Parameters'),
        parseParam(param),
      ]),
    ),
    metadata: json['metadata'] ?? null,
  }
}

function parseParam(json: JsonObject): ParamType {
  const declared = member(json, 'type_name')
  const kind = paramKinds.find((candidate) => `TYPE_NAME_${candidate.toUpperCase()}` === declared)
  const generics = listMember(json, 'generic_types').map(parseParam)
  if (kind === undefined) throw invalidModel(`unknown condition parameter type \`${String(declared)}\``)
  const genericCount = kind === 'list' || kind === 'map' ? 1 : 0
  if (generics.length !== genericCount)
    throw invalidModel(
      `condition parameter type \`TYPE_NAME_${kind.toUpperCase()}\` requires ${genericCount} generic types; found ${generics.length}`,
    )
  return generics[0] === undefined ? { kind } : { kind, of: generics[0] }
}

/** The model as the server gives it back: every default written out. */
export function renderModel(id: string, ast: ModelAst): JsonObject {
  return {
    id,
    schema_version: ast.schemaVersion,
    type_definitions: ast.types.map((type) => ({
      type: type.type,
      relations: Object.fromEntries(
        [...type.relations].map(([name, rewrite]) => [name, renderRewrite(rewrite)]),
      ),
      metadata: type.metadata === undefined ? null : renderMetadata(type, type.metadata),
    })),
    conditions: Object.fromEntries(
      [...ast.conditions].map(([key, condition]) => [
        key,
        {
          name: condition.name,
          expression: condition.expression,
          parameters: Object.fromEntries(
            [...condition.params].map(([param, type]) => [param, renderParam(type)]),
          ),
          metadata: condition.metadata,
        },
      ]),
    ),
  }
}

function renderMetadata(type: TypeAst, metadata: JsonObject): JsonObject {
  const origin = (json: JsonObject): JsonObject => ({
    module: json['module'] ?? '',
    source_info: member(json, 'source_info') ?? null,
  })
  const relationsMetadata = new Map(entriesOf(metadata, 'relations'))
  const relations = [...type.restrictions].map(([name, restrictions]) => [
    name,
    {
      directly_related_user_types: restrictions.map(renderRestriction),
      ...origin(relationsMetadata.get(name) ?? {}),
    },
  ])
  return { relations: Object.fromEntries(relations), ...origin(metadata) }
}

const renderRestriction = (restriction: RestrictionAst): JsonObject => ({
  type: restriction.type,
  ...(restriction.relation === undefined ? {} : { relation: restriction.relation }),
  ...(restriction.wildcard === undefined ? {} : { wildcard: {} }),
  condition: restriction.condition,
})

const renderParam = (type: ParamType): JsonObject => ({
  type_name: `TYPE_NAME_${type.kind.toUpperCase()}`,
  generic_types: type.of === undefined ? [] : [renderParam(type.of)],
})

function renderRewrite(rewrite: RewriteAst): JsonObject {
  switch (rewrite.kind) {
    case 'this':
      return { this: {} }
    case 'computed':
      return { computedUserset: { object: '', relation: rewrite.relation } }
    case 'ttu':
      return {
        tupleToUserset: {
          tupleset: { object: '', relation: rewrite.tupleset },
          computedUserset: { object: '', relation: rewrite.computed },
        },
      }
    case 'union':
    case 'intersection':
      return { [rewrite.kind]: { child: rewrite.children.map(renderRewrite) } }
    case 'exclusion':
      return { difference: { base: renderRewrite(rewrite.base), subtract: renderRewrite(rewrite.subtract) } }
    case 'unset':
      return {}
  }
}
