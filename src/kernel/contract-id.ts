import { z } from 'zod'
import { isId } from './ids.ts'

const pattern = '^[A-Za-z0-9._/@+=%-]{1,200}$'

/** An id of the contract. Its pattern and its example are shown to whoever reads the schema; `isId` decides. */
export const id = z
  .string()
  .refine(isId, `must match ${pattern}, % only as %XX, no empty, "." or ".." segment`)
  .meta({ pattern, examples: ['handbook/travel.md'] })
