import { expectTypeOf, test } from 'vitest'
import type { approvalAsked, approvalBody, approvalInput } from '../src/approval-schemas.ts'
import type { Approval, ApprovalAsked, ApprovalInput } from '../src/approvals.ts'
import type { VaultAnswer, VaultRequest } from '../src/vault.ts'
import type { vaultAnswerSchema, vaultRequestSchema } from '../src/vault-schemas.ts'
import type { Wire, WireInput } from '../src/wire.ts'

test('the types of approvals are exactly what their schemas check', () => {
  expectTypeOf<WireInput<typeof approvalInput>>().toEqualTypeOf<ApprovalInput>()
  expectTypeOf<Wire<typeof approvalAsked>>().toEqualTypeOf<ApprovalAsked>()
  expectTypeOf<Wire<typeof approvalBody>>().toEqualTypeOf<Approval>()
})

test('the types of calls to APIs of others are exactly what their schemas check', () => {
  expectTypeOf<WireInput<typeof vaultRequestSchema>>().toEqualTypeOf<VaultRequest>()
  expectTypeOf<Wire<typeof vaultAnswerSchema>>().toEqualTypeOf<VaultAnswer>()
})
