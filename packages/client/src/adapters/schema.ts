/**
 * A schema that says what it is as JSON Schema as well (Standard Schema, with its JSON Schema part): zod's,
 * valibot's and others' are such. Structural, so that none of them is needed here.
 */
export interface InputSchema<Args> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => Validated<Args> | Promise<Validated<Args>>
    readonly types?: { readonly input: unknown; readonly output: Args } | undefined
    readonly jsonSchema: {
      readonly input: (options: { readonly target: string }) => Record<string, unknown>
      readonly output: (options: { readonly target: string }) => Record<string, unknown>
    }
  }
}

/** Result of a Standard Schema validation: a value, or the issues that prevent one. */
export type Validated<Args> =
  | { readonly value: Args; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string; readonly path?: Path | undefined }[] }

type Path = readonly (PropertyKey | { readonly key: PropertyKey })[]

/** JSON Schema of the arguments, as models get it. */
export function jsonSchemaOf(schema: InputSchema<unknown>): Record<string, unknown> {
  const { $schema: _, ...jsonSchema } = schema['~standard'].jsonSchema.input({ target: 'draft-07' })
  return jsonSchema
}

/** A schema of this JSON Schema and the check that goes with it. */
export function schemaOf<Args>(
  json: Record<string, unknown>,
  check: (value: unknown) => value is Args,
): InputSchema<Args> {
  return {
    '~standard': {
      version: 1,
      vendor: 'remit',
      validate: (value) =>
        check(value) ? { value } : { issues: [{ message: 'these are not the arguments of this tool' }] },
      jsonSchema: { input: () => json, output: () => json },
    },
  }
}
