import { isJsonObject, type Json, type JsonObject, type ParamType, paramKinds } from './condition-values.ts'
import { FgaError, invalidRequest } from './errors.ts'

/** A rule as it is written, before its names are resolved. */
export type RewriteAst =
  | { readonly kind: 'this' }
  | { readonly kind: 'computed'; readonly relation: string }
  | { readonly kind: 'ttu'; readonly tupleset: string; readonly computed: string }
  | { readonly kind: 'union' | 'intersection'; readonly children: readonly RewriteAst[] }
  | { readonly kind: 'exclusion'; readonly base: RewriteAst; readonly subtract: RewriteAst }
  | { readonly kind: 'unset' }

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

const relationName = /^[^:#@\s]{1,50}$/
const typeName = /^[^:#@\s]{1,254}$/

/**
 * Reads an authorization model in OpenFGA's JSON form (names in snake_case or camelCase, as protojson takes
 * them). Throws FgaError for what the server refuses before it looks at the model's meaning.
 */
export function parseModelJson(json: JsonObject): ModelAst {
  const definitions = list(field(json, 'type_definitions', 'typeDefinitions'), 'type_definitions')
  const schemaVersion = text(field(json, 'schema_version', 'schemaVersion'), 'schema_version')
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
  const conditions = entries(field(json, 'conditions'), 'conditions')
  return {
    schemaVersion,
    types: definitions.map((definition) => parseType(object(definition, 'type_definitions'))),
    conditions: new Map(
      conditions.map(([key, value]) => [
        named(key, relationName, 'Conditions'),
        parseCondition(object(value, 'conditions')),
      ]),
    ),
  }
}

function parseType(json: JsonObject): TypeAst {
  const type = text(json['type'], 'type')
  if (!typeName.test(type))
    throw new FgaError(
      'type_invalid_pattern',
      'invalid TypeDefinition.Type: value does not match regex pattern "^[^:#@\\\\s]{1,254}$"',
    )
  const metadata = optionalObject(json['metadata'], 'metadata')
  const relations = entries(json['relations'], 'relations').map(
    ([name, value]) => [relationNamed(name), parseRewrite(object(value, `relations.${name}`))] as const,
  )
  const restrictions = entries(metadata?.['relations'], 'metadata.relations').map(([name, value]) => {
    const refs = field(object(value, name), 'directly_related_user_types', 'directlyRelatedUserTypes')
    return [
      name,
      list(refs, 'directly_related_user_types').map((ref) =>
        parseRestriction(object(ref, 'directly_related_user_types')),
      ),
    ] as const
  })
  return { type, relations: new Map(relations), restrictions: new Map(restrictions), metadata }
}

function relationNamed(name: string): string {
  if (relationName.test(name)) return name
  throw new FgaError(
    'relations_invalid_pattern',
    `invalid TypeDefinition.Relations[${name}]: value does not match regex pattern`,
  )
}

function parseRestriction(json: JsonObject): RestrictionAst {
  const type = named(text(json['type'], 'type'), typeName, 'Type')
  const condition =
    json['condition'] === undefined || json['condition'] === null ? '' : text(json['condition'], 'condition')
  if (json['wildcard'] !== undefined && json['wildcard'] !== null) return { type, wildcard: true, condition }
  if (json['relation'] === undefined || json['relation'] === null) return { type, condition }
  const relation = text(json['relation'], 'relation')
  return { type, relation: relation === '' ? '' : named(relation, relationName, 'Relation'), condition }
}

function parseRewrite(json: JsonObject): RewriteAst {
  if (json['this'] !== undefined) return { kind: 'this' }
  const computed = field(json, 'computedUserset', 'computed_userset')
  if (computed !== undefined) return { kind: 'computed', relation: relationOf(computed) }
  const ttu = field(json, 'tupleToUserset', 'tuple_to_userset')
  if (ttu !== undefined) {
    const members = object(ttu, 'tupleToUserset')
    return {
      kind: 'ttu',
      tupleset: relationOf(members['tupleset']),
      computed: relationOf(field(members, 'computedUserset', 'computed_userset')),
    }
  }
  for (const kind of ['union', 'intersection'] as const) {
    if (json[kind] === undefined) continue
    const children = list(field(object(json[kind], kind), 'child'), 'child')
    return { kind, children: children.map((child) => parseRewrite(object(child, 'child'))) }
  }
  if (json['difference'] === undefined) return { kind: 'unset' }
  const difference = object(json['difference'], 'difference')
  return {
    kind: 'exclusion',
    base: parseRewrite(object(difference['base'] ?? {}, 'base')),
    subtract: parseRewrite(object(difference['subtract'] ?? {}, 'subtract')),
  }
}

function parseCondition(json: JsonObject): ConditionAst {
  const params = entries(json['parameters'], 'parameters')
  return {
    name: named(text(json['name'], 'name'), relationName, 'Name'),
    expression: text(json['expression'], 'expression'),
    params: new Map(
      params.map(([key, value]) => [
        named(key, relationName, 'Parameters'),
        parseParam(object(value, 'parameters')),
      ]),
    ),
    metadata: json['metadata'] ?? null,
  }
}

function parseParam(json: JsonObject): ParamType {
  const declared = field(json, 'type_name', 'typeName')
  const kind = paramKinds.find((candidate) => `TYPE_NAME_${candidate.toUpperCase()}` === declared)
  const generics = list(field(json, 'generic_types', 'genericTypes'), 'generic_types').map((generic) =>
    parseParam(object(generic, 'generic_types')),
  )
  if (kind === undefined)
    throw new FgaError(
      'invalid_authorization_model',
      `unknown condition parameter type \`${String(declared)}\``,
    )
  const genericCount = kind === 'list' || kind === 'map' ? 1 : 0
  if (generics.length !== genericCount) {
    throw new FgaError(
      'invalid_authorization_model',
      `condition parameter type \`TYPE_NAME_${kind.toUpperCase()}\` requires ${genericCount} generic types; found ${generics.length}`,
    )
  }
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
    source_info: field(json, 'source_info', 'sourceInfo') ?? null,
  })
  const relationsMetadata = optionalObject(metadata['relations'], 'relations') ?? {}
  const relations = [...type.restrictions].map(([name, restrictions]) => [
    name,
    {
      directly_related_user_types: restrictions.map(renderRestriction),
      ...origin(object(relationsMetadata[name] ?? {}, name)),
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

function field(json: JsonObject, ...names: readonly string[]): Json | undefined {
  const found = names.map((name) => json[name]).find((value) => value !== undefined)
  return found === null ? undefined : found
}

const relationOf = (json: Json | undefined): string =>
  text(object(json ?? {}, 'relation')['relation'], 'relation')

function text(value: Json | undefined, name: string): string {
  if (value === undefined || value === null) return ''
  if (typeof value !== 'string')
    throw invalidRequest(`invalid value for string field ${name}: ${JSON.stringify(value)}`)
  return value
}

function list(value: Json | undefined, name: string): readonly Json[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw invalidRequest(`syntax error: unexpected token for field ${name}`)
  return value
}

function object(value: Json | undefined, name: string): JsonObject {
  if (!isJsonObject(value)) throw invalidRequest(`syntax error: unexpected token for field ${name}`)
  return value
}

const optionalObject = (value: Json | undefined, name: string): JsonObject | undefined =>
  value === undefined || value === null ? undefined : object(value, name)

const entries = (value: Json | undefined, name: string): [string, Json][] =>
  Object.entries(optionalObject(value, name) ?? {})

function named(value: string, pattern: RegExp, name: string): string {
  if (!pattern.test(value))
    throw invalidRequest(`invalid ${name}: value does not match regex pattern "${pattern.source}"`)
  return value
}
