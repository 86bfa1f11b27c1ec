import type { ErrorCode } from '@remit/contract/errors'
import { AppError } from '../../kernel/errors.ts'

/** `scimType` of RFC 7644 §3.12, table 9. */
export type ScimType =
  | 'invalidFilter'
  | 'invalidPath'
  | 'invalidSyntax'
  | 'invalidValue'
  | 'mutability'
  | 'noTarget'
  | 'sensitive'
  | 'tooMany'
  | 'uniqueness'

const codes = {
  400: 'invalid_request',
  404: 'not_found',
  409: 'conflict',
  412: 'conflict',
  413: 'payload_too_large',
} as const satisfies Record<number, ErrorCode>

/** A refusal as SCIM says it (RFC 7644 §3.12). */
export class ScimError extends AppError {
  readonly scimType: ScimType | undefined
  readonly #status: number

  constructor(status: keyof typeof codes, detail: string, scimType?: ScimType) {
    super(codes[status], { public: detail })
    this.#status = status
    this.scimType = scimType
  }

  override get status(): number {
    return this.#status
  }
}

/** A value that does not fit, by the attribute's name. */
export const invalidValue = (attribute: string, detail: string): ScimError =>
  new ScimError(400, `${attribute}: ${detail}`, 'invalidValue')

/** The one answer for what is not there, is deleted, or is another directory's. */
export const notFound = (): ScimError => new ScimError(404, 'There is no such resource.')

/** The error document of any failure: what is not SCIM's own has no `scimType`. */
export function errorBody(error: AppError): object {
  // What the contract answers with 422, SCIM answers with 400.
  const status = statusOf(error)
  return {
    schemas: ['urn:ietf:params:scim:api:messages:2.0:Error'],
    status: String(status),
    ...(error instanceof ScimError && error.scimType !== undefined && { scimType: error.scimType }),
    detail: error.public ?? error.code,
  }
}

/** The status of any failure at a SCIM route. */
export const statusOf = ({ status }: AppError): number => (status === 422 ? 400 : status)
